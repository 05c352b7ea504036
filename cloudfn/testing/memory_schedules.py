"""Schedules in memory, for tests: the same promises, but for the durability. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cloudfn.model.schedule import Rule
from cloudfn.providers.schedules import HISTORY, Fire, ScheduleRecord


class MemorySchedules:
    """The `Schedules` port as dictionaries."""

    def __init__(self) -> None:
        self._records: dict[str, ScheduleRecord] = {}
        #: schedule → due time → what happened
        self._fires: dict[str, dict[float, Fire]] = {}

    def put(self, records: Sequence[ScheduleRecord]) -> None:
        for record in records:
            self._records[record.schedule_id] = record

    def remove(self, schedule_ids: Sequence[str]) -> None:
        for schedule_id in schedule_ids:
            self._records.pop(schedule_id, None)
            self._fires.pop(schedule_id, None)

    def schedules(self) -> list[ScheduleRecord]:
        return list(self._records.values())

    def record(self, fires: Sequence[Fire]) -> None:
        for fire in fires:
            record = self._records.get(fire.schedule_id)
            if record is None:
                continue
            known = self._fires.setdefault(fire.schedule_id, {})
            present = known.get(fire.due)
            if present is None:
                known[fire.due] = fire
            elif not present.outcome:
                known[fire.due] = replace(present, outcome=fire.outcome)
            for due in sorted(known, reverse=True)[HISTORY:]:
                del known[due]
            if not fire.manual:
                cursor = max(record.cursor, fire.due)
                self._records[fire.schedule_id] = replace(record, cursor=cursor)

    def history(self, schedule_id: str, limit: int) -> list[Fire]:
        fires = self._fires.get(schedule_id, {})
        return [fires[due] for due in sorted(fires, reverse=True)[:limit]]

    def unfinished(self) -> list[Fire]:
        fires = (fire for known in self._fires.values() for fire in known.values())
        return sorted((fire for fire in fires if not fire.outcome), key=lambda fire: fire.due)

    def fired_by(self, rule: Rule) -> str:
        return "the planner"
