"""Schedules and their fires, in the catalog's file. Thin I/O."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps, loads
from typing import Any

from cloudfn.model.schedule import Rule, rule_from_json, rule_to_json
from cloudfn.providers.local.database import Database
from cloudfn.providers.schedules import HISTORY, Fire, ScheduleRecord

_FIRE = "SELECT schedule_id, due, at, call_id, late, manual, outcome FROM fires"


class SqliteSchedules:
    """The `Schedules` port.

    Args:
        file: The catalog's, which has the tables.
    """

    def __init__(self, file: Database) -> None:
        self._file = file

    def put(self, records: Sequence[ScheduleRecord]) -> None:
        with self._file.writing():
            self._file.execute_many(
                "INSERT INTO schedules VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (schedule_id) "
                "DO UPDATE SET rule = excluded.rule, anchor = excluded.anchor, "
                "cursor = excluded.cursor, paused = excluded.paused, dynamic = excluded.dynamic",
                map(_row, records),
            )

    def remove(self, schedule_ids: Sequence[str]) -> None:
        with self._file.writing():
            self._file.execute_many(
                "DELETE FROM schedules WHERE schedule_id = ?", [(each,) for each in schedule_ids]
            )

    def schedules(self) -> list[ScheduleRecord]:
        rows = self._file.rows(
            "SELECT schedule_id, app_id, function_id, rule, anchor, cursor, paused, dynamic "
            "FROM schedules ORDER BY rowid"
        )
        return list(map(_schedule, rows))

    def record(self, fires: Sequence[Fire]) -> None:
        with self._file.writing():
            for fire in fires:
                self._record(fire)

    def _record(self, fire: Fire) -> None:
        schedule_id = fire.schedule_id
        if not self._file.rows("SELECT 1 FROM schedules WHERE schedule_id = ?", schedule_id):
            return
        self._file.execute(
            "INSERT INTO fires VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (schedule_id, due) "
            "DO UPDATE SET outcome = excluded.outcome WHERE outcome = ''",
            *(schedule_id, fire.due, fire.at, fire.call_id, fire.late, fire.manual, fire.outcome),
        )
        self._file.execute(
            "DELETE FROM fires WHERE schedule_id = ? AND due <= (SELECT due FROM fires "
            "WHERE schedule_id = ? ORDER BY due DESC LIMIT 1 OFFSET ?)",
            *(schedule_id, schedule_id, HISTORY),
        )
        if not fire.manual:
            self._file.execute(
                "UPDATE schedules SET cursor = max(cursor, ?) WHERE schedule_id = ?",
                *(fire.due, schedule_id),
            )

    def history(self, schedule_id: str, limit: int) -> list[Fire]:
        query = f"{_FIRE} WHERE schedule_id = ? ORDER BY due DESC LIMIT ?"
        return list(map(_fire, self._file.rows(query, schedule_id, limit)))

    def unfinished(self) -> list[Fire]:
        return list(map(_fire, self._file.rows(f"{_FIRE} WHERE outcome = '' ORDER BY due")))

    def fired_by(self, rule: Rule) -> str:
        return "the daemon"


def _row(record: ScheduleRecord) -> tuple[object, ...]:
    rule = dumps(rule_to_json(record.rule), sort_keys=True)
    return (
        record.schedule_id,
        record.app_id,
        record.function_id,
        rule,
        record.anchor,
        record.cursor,
        record.paused,
        record.dynamic,
    )


def _schedule(row: Any) -> ScheduleRecord:
    schedule_id, app_id, function_id, text, anchor, cursor, paused, dynamic = row
    rule = rule_from_json(loads(text))
    return ScheduleRecord(
        schedule_id, app_id, function_id, rule, anchor, cursor, bool(paused), bool(dynamic)
    )


def _fire(row: Any) -> Fire:
    schedule_id, due, at, call_id, late, manual, outcome = row
    return Fire(schedule_id, due, at, call_id, bool(late), bool(manual), outcome)
