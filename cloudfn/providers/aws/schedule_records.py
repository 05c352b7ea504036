"""Schedules and their fires as items. Thin I/O.

`SC#records` has the schedules, `SC#<schedule>` the fires of one in the order of their due times,
`SC#open` those of all that have no outcome yet. A fire is noted in one transaction with the cursor,
the number of fires that are kept, and the oldest one that goes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import count, islice
from json import dumps, loads

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError
from cloudfn.model.schedule import rule_from_json, rule_to_json
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.table import Item, Table, Write, delete, put, update
from cloudfn.providers.schedules import HISTORY, Fire, ScheduleRecord

_RECORDS = "SC#records"
_OPEN = "SC#open"
_NEW = "attribute_not_exists(pk)"
#: tries to note a fire while others change its schedule
_TRIES = 20


class ScheduleRecords:
    """The `Schedules` port as items of the environment's table. Thread-safe.

    Args:
        table: The table.
        clock: Says in which order schedules were added.
    """

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._numbers = count()

    # The port

    def put(self, records: Sequence[ScheduleRecord]) -> None:
        for record in records:
            self._table.write(
                update(
                    _RECORDS,
                    record.schedule_id,
                    "SET #app_id = :app_id, #function_id = :function_id, #rule = :rule, "
                    "#anchor = :anchor, #cursor = :cursor, #paused = :paused, "
                    "#dynamic = :dynamic, #place = if_not_exists(#place, :place), "
                    "#fires = if_not_exists(#fires, :none)",
                    app_id=record.app_id,
                    function_id=record.function_id,
                    rule=dumps(rule_to_json(record.rule), sort_keys=True),
                    anchor=record.anchor,
                    cursor=record.cursor,
                    paused=record.paused,
                    dynamic=record.dynamic,
                    place=f"{self._clock.wall():017.6f} {next(self._numbers):09}",
                    none=0,
                )
            )

    def remove(self, schedule_ids: Sequence[str]) -> None:
        for schedule_id in schedule_ids:
            # Without it no further fires are noted.
            self._table.write(delete(_RECORDS, schedule_id))
            fires = list(self._table.query(_fires(schedule_id)))
            gone = [delete(each["pk"], each["sk"]) for each in fires]
            gone += [delete(_OPEN, _open(each)) for each in fires if not each["outcome"]]
            self._table.write_all(gone)

    def schedules(self) -> list[ScheduleRecord]:
        items = self._table.query(_RECORDS)
        return [_record(item) for item in sorted(items, key=lambda item: str(item["place"]))]

    def record(self, fires: Sequence[Fire]) -> None:
        for fire in fires:
            self._note(fire)

    def history(self, schedule_id: str, limit: int) -> list[Fire]:
        limit = min(limit, HISTORY)
        items = self._table.query(_fires(schedule_id), forward=False, limit=max(limit, 1))
        return [_fire(item) for item in islice(items, limit)]

    def unfinished(self) -> list[Fire]:
        return [_fire(item) for item in self._table.query(_OPEN)]

    def get(self, schedule_id: str) -> ScheduleRecord | None:
        """Return a schedule."""
        item = self._table.get(_RECORDS, schedule_id)
        return None if item is None else _record(item)

    # What EventBridge was told

    def told(self, schedule_id: str) -> Mapping[str, str]:
        """Return the names of a schedule's EventBridge schedules, with what each was told."""
        item = self._table.get(_RECORDS, schedule_id)
        return {} if item is None else item.get("told", {})

    def tell(self, schedule_id: str, told: Mapping[str, str]) -> None:
        """Note what EventBridge is told; nothing where the schedule is gone."""
        try:
            self._table.write(
                update(
                    _RECORDS,
                    schedule_id,
                    "SET #told = :told",
                    "attribute_exists(pk)",
                    told=dict(told),
                )
            )
        except ConditionFailed:
            return

    # How

    def _note(self, fire: Fire) -> None:
        for _ in range(_TRIES):
            item = self._table.get(_RECORDS, fire.schedule_id)
            if item is None:
                return
            known = self._table.get(_fires(fire.schedule_id), _key(fire.due))
            writes = self._first(item, fire) if known is None else _settled(known, fire)
            moved = not fire.manual and fire.due > item["cursor"]
            if not writes and not moved:
                return
            added = int(known is None and bool(writes) and item["fires"] < HISTORY)
            try:
                self._table.transact([_moved(item, fire, added, moved=moved), *writes])
            except ConditionFailed:
                continue
            return
        raise ConflictError(
            f"The fire of the schedule {fire.schedule_id} could not be noted: others changed it "
            f"{_TRIES} times meanwhile.",
            hint="Do it again.",
        )

    def _first(self, item: Item, fire: Fire) -> list[Write]:
        """Return the writes that note a fire for the first time; none where it is too old."""
        noted = _item(fire)
        writes = [put(noted, _NEW)]
        if not fire.outcome:
            writes.append(put({**noted, "pk": _OPEN, "sk": _open(noted)}))
        if item["fires"] >= HISTORY:
            oldest = next(self._table.query(_fires(fire.schedule_id), limit=1))
            if noted["sk"] < oldest["sk"]:
                return []
            writes.append(delete(oldest["pk"], oldest["sk"], "attribute_exists(pk)"))
            if not oldest["outcome"]:
                writes.append(delete(_OPEN, _open(oldest)))
        return writes


def _settled(known: Item, fire: Fire) -> list[Write]:
    """Return the writes that give a fire its outcome; none where it has one."""
    if known["outcome"] or not fire.outcome:
        return []
    return [
        update(
            known["pk"],
            known["sk"],
            "SET #outcome = :outcome",
            "#outcome = :none",
            outcome=fire.outcome,
            none="",
        ),
        delete(_OPEN, _open(known)),
    ]


def _moved(item: Item, fire: Fire, added: int, *, moved: bool) -> Write:
    """Return the write of the schedule that goes with those of a fire: it is still as it was."""
    return update(
        _RECORDS,
        fire.schedule_id,
        "SET #cursor = :cursor, #fires = :fires",
        "#cursor = :before AND #fires = :kept",
        cursor=fire.due if moved else item["cursor"],
        fires=item["fires"] + added,
        before=item["cursor"],
        kept=item["fires"],
    )


def _fires(schedule_id: str) -> str:
    return f"SC#{schedule_id}"


def _key(due: float) -> str:
    """Return a sort key: times that are not negative have the order of their bytes."""
    return struct.pack(">d", due).hex()


def _open(item: Item) -> str:
    return f"{item['sk']}#{item['schedule_id']}"


def _record(item: Item) -> ScheduleRecord:
    return ScheduleRecord(
        item["sk"],
        item["app_id"],
        item["function_id"],
        rule_from_json(loads(item["rule"])),
        float(item["anchor"]),
        float(item["cursor"]),
        item["paused"],
        item["dynamic"],
    )


def _item(fire: Fire) -> Item:
    return {
        "pk": _fires(fire.schedule_id),
        "sk": _key(fire.due),
        "schedule_id": fire.schedule_id,
        "due": fire.due,
        "at": fire.at,
        "call_id": fire.call_id,
        "late": fire.late,
        "manual": fire.manual,
        "outcome": fire.outcome,
    }


def _fire(item: Item) -> Fire:
    return Fire(
        item["schedule_id"],
        float(item["due"]),
        float(item["at"]),
        item["call_id"],
        item["late"],
        item["manual"],
        item["outcome"],
    )
