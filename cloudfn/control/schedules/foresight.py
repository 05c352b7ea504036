"""What a deploy would make of an app's schedules, as plain data for people. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cloudfn.control.schedules.plan import Live, left_to_do, revise
from cloudfn.control.schedules.shown import rule_json
from cloudfn.model.cls import shown_name
from cloudfn.model.function import FunctionSpec
from cloudfn.model.schedule import Rule
from cloudfn.providers.schedules import ScheduleRecord

#: stands for the id that a function does not have yet
_NEW = "new/"


def foresee(
    app_id: str,
    functions: Iterable[FunctionSpec],
    known: Mapping[str, str],
    present: Iterable[ScheduleRecord],
    now: float,
    fired_by: Callable[[Rule], str],
    *,
    keeps_dynamic: bool,
) -> list[dict[str, Any]]:
    """Return the schedules that would be put, and those that would be removed.

    Args:
        app_id: The app; empty where it is new.
        functions: Those of the revision that would be live.
        known: Function ids by name, of functions that the app has had.
        present: All schedules of the environment.
        now: Seconds since the epoch.
        fired_by: Who sees to it that a rule is obeyed in time.
        keeps_dynamic: What was scheduled by hand stays.
    """
    ours = {each.schedule_id: each for each in present if each.app_id == app_id}
    kept = [each for each in ours.values() if keeps_dynamic or not each.dynamic]
    wanted = [(known.get(spec.name, _NEW + spec.name), spec) for spec in functions]
    revised = revise(Live(app_id, now, wanted), kept)
    gone = [ours[schedule_id] for schedule_id in revised.remove]
    gone += [each for each in ours.values() if each not in kept]
    return _told(revised.put, gone, known, fired_by)


def foresee_rest(
    live: Live,
    known: Mapping[str, str],
    present: Iterable[ScheduleRecord],
    fired_by: Callable[[Rule], str],
) -> list[dict[str, Any]]:
    """Return what is left of the schedules of a revision whose deploy was cut short.

    Args:
        live: The app as it is to be.
        known: Function ids by name, of functions that the app has had.
        present: All schedules of the environment.
        fired_by: Who sees to it that a rule is obeyed in time.
    """
    ours = {each.schedule_id: each for each in present if each.app_id == live.app_id}
    left = left_to_do(live, ours.values())
    return _told(left.put, [ours[schedule_id] for schedule_id in left.remove], known, fired_by)


def _told(
    put: Iterable[ScheduleRecord],
    gone: Iterable[ScheduleRecord],
    known: Mapping[str, str],
    fired_by: Callable[[Rule], str],
) -> list[dict[str, Any]]:
    names = {function_id: name for name, function_id in known.items()}

    def told(record: ScheduleRecord, action: str) -> dict[str, Any]:
        name = names.get(record.function_id) or record.function_id.removeprefix(_NEW)
        return {
            "action": action,
            "function_name": shown_name(name),
            **rule_json(record.rule),
            "fired_by": fired_by(record.rule),
        }

    return [told(each, "put") for each in put] + [told(each, "remove") for each in gone]
