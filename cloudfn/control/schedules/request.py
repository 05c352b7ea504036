"""What clients send that is about schedules. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloudfn.control.schedules.times import check_fires
from cloudfn.errors import InvalidError
from cloudfn.model.cls import shown_name
from cloudfn.model.schedule import ScaleAt, check_rule, rule_from_json


def parse_scaling(fields: dict[str, Any], now: float) -> ScaleAt:
    """Return the rule by which settings are to change from now on; raises InvalidError."""
    rule = rule_from_json({"min_containers": None, **fields["rule"]})
    if not isinstance(rule, ScaleAt):
        raise InvalidError(
            "Only settings can be scheduled from outside the code.",
            hint="Declare when a function runs with `@app.function(schedule=…)`.",
        )
    check_rule(rule)
    check_fires(rule.cron, now)
    return rule


def chosen(schedules: Iterable[dict[str, Any]], fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return those schedules, as `schedule_json` shows them, that are asked for."""
    app, named = fields.get("app"), fields.get("function")
    function = None if named is None else shown_name(named)
    return [
        each
        for each in schedules
        if app in (None, each["app_name"], each["app_id"])
        and function in (None, each["function_name"])
    ]
