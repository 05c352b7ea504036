"""What a deploy makes of an app's schedules: which stay, which are new, which go. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from json import dumps

from cloudfn.control.schedules.times import check_fires
from cloudfn.model import ids
from cloudfn.model.function import FunctionSpec
from cloudfn.model.schedule import Rule, ScaleAt, check_rule, rule_to_json
from cloudfn.providers.schedules import ScheduleRecord


@dataclass(frozen=True, slots=True)
class Live:
    """The functions of an app's live revision."""

    app_id: str
    #: seconds since the epoch, of the revision
    created: float
    #: (function id, its declaration)
    functions: Sequence[tuple[str, FunctionSpec]]
    #: ids of functions whose settings were changed since the deploy
    overridden: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Revised:
    """What is to be done."""

    put: tuple[ScheduleRecord, ...]
    #: ids of schedules
    remove: tuple[str, ...]


def revise(live: Live, present: Iterable[ScheduleRecord]) -> Revised:
    """Return what makes an app's schedules those of its live revision; again, it is nothing.

    A schedule that did not change goes on as if there had been no deploy. One that is new or
    changed counts from the deploy. Of scheduled settings, those that are in force by now are due at
    once where a function has no override: the deploy cleared it, or there was none. What was made
    by hand stays with its function.

    Args:
        live: The app as it is to be.
        present: Its schedules so far.
    """
    known = {record.schedule_id: record for record in present}
    wanted: dict[str, ScheduleRecord] = {}
    for function_id, spec in live.functions:
        for rule in _rules(spec):
            record = _wanted(live, function_id, rule, known)
            wanted[record.schedule_id] = record
    functions = {function_id for function_id, _ in live.functions}
    kept = {key for key, each in known.items() if each.dynamic and each.function_id in functions}
    return Revised(
        tuple(record for key, record in wanted.items() if known.get(key) != record),
        tuple(key for key in known if key not in wanted and key not in kept),
    )


def left_to_do(live: Live, present: Iterable[ScheduleRecord]) -> Revised:
    """Return what a deploy that ended when its revision was live has left undone.

    What is as it should be goes on as it did: nothing is due once more.
    """
    known = list(present)
    revised, rules = revise(live, known), {each.schedule_id: each.rule for each in known}
    lacking = tuple(each for each in revised.put if rules.get(each.schedule_id) != each.rule)
    return replace(revised, put=lacking)


def check_schedules(functions: Iterable[FunctionSpec], now: float) -> None:
    """Raise InvalidError if a schedule makes no sense, or is never due on this machine."""
    for spec in functions:
        for rule in _rules(spec):
            check_rule(rule)
            check_fires(rule.cron if isinstance(rule, ScaleAt) else rule, now)


def _rules(spec: FunctionSpec) -> list[Rule]:
    return [*spec.scaling] if spec.schedule is None else [*spec.scaling, spec.schedule]


def _wanted(
    live: Live, function_id: str, rule: Rule, known: dict[str, ScheduleRecord]
) -> ScheduleRecord:
    if isinstance(rule, ScaleAt):
        schedule_id = ids.derive("sc", function_id, dumps(rule_to_json(rule), sort_keys=True))
        old = known.get(schedule_id)
        if old is None:
            # With settings that somebody kept, it waits for its next time.
            cursor = live.created if function_id in live.overridden else 0.0
            return ScheduleRecord(schedule_id, live.app_id, function_id, rule, live.created, cursor)
        return old if function_id in live.overridden else replace(old, cursor=0.0)
    schedule_id = ids.derive("sc", function_id)
    old = known.get(schedule_id)
    if old is not None and old.rule == rule:
        return old
    paused = old is not None and old.paused
    return ScheduleRecord(
        schedule_id, live.app_id, function_id, rule, live.created, live.created, paused
    )
