"""Schedules as clients see them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cloudfn.control.schedules.agenda import Agenda
from cloudfn.model.schedule import Period, Rule, ScaleAt
from cloudfn.providers.schedules import ScheduleRecord


def schedule_json(
    agenda: Agenda, record: ScheduleRecord, app_name: str, function_name: str
) -> dict[str, Any]:
    """Return a schedule as plain data, with its last fire and when it is due next.

    Args:
        agenda: Has it.
        record: The schedule.
        app_name: Of its app.
        function_name: Of its function, for people.
    """
    last = agenda.history(record.schedule_id, 1)
    return {
        "schedule_id": record.schedule_id,
        "app_id": record.app_id,
        "app_name": app_name,
        "function_name": function_name,
        **rule_json(record.rule),
        "paused": record.paused,
        "dynamic": record.dynamic,
        "next": agenda.next_of(record.schedule_id),
        "last": asdict(last[0]) if last else None,
    }


def rule_json(rule: Rule) -> dict[str, Any]:
    """Return a rule as plain data."""
    return {
        "kind": type(rule).__name__.lower(),
        "when": str(rule) if isinstance(rule, Period) else rule.cron_string,
        "timezone": "UTC" if isinstance(rule, Period) else rule.timezone,
        "overlap": isinstance(rule, ScaleAt) or rule.overlap,
        "changes": rule.changes if isinstance(rule, ScaleAt) else {},
    }
