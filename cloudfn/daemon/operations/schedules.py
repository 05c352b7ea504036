"""Operations on schedules: list, pause, run now, history, next, scheduled settings."""

from __future__ import annotations

from dataclasses import asdict

from cloudfn.control.operations import Fields, Group
from cloudfn.control.schedules.shown import schedule_json
from cloudfn.control.schedules.times import check_fires
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session
from cloudfn.errors import InvalidError
from cloudfn.model.cls import shown_name
from cloudfn.model.schedule import ScaleAt, check_rule, rule_from_json
from cloudfn.providers.schedules import ScheduleRecord

_HISTORY = 100
_MOST_TIMES = 1000


class ScheduleOperations(Group):
    """Operations on schedules."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._schedules = engine.schedules
        self._agenda = engine.schedules.agenda

    def op_schedule_list(self, _session: Session, fields: Fields) -> Fields:
        app, named = fields.get("app"), fields.get("function")
        function = None if named is None else shown_name(named)
        described = map(self._schedule, self._agenda.records())
        return {
            "schedules": [
                each
                for each in described
                if app in (None, each["app_name"], each["app_id"])
                and function in (None, each["function_name"])
            ]
        }

    def op_schedule_pause(self, _session: Session, fields: Fields) -> Fields:
        self._schedules.pause(fields["schedules"], paused=bool(fields["paused"]))
        return {}

    def op_schedule_run(self, _session: Session, fields: Fields) -> Fields:
        return asdict(self._schedules.run_now(fields["schedule"]))

    def op_schedule_history(self, _session: Session, fields: Fields) -> Fields:
        record = self._agenda.record(fields["schedule"])
        limit = int(fields.get("limit") or _HISTORY)
        return {"fires": list(map(asdict, self._agenda.history(record.schedule_id, limit)))}

    def op_schedule_next(self, _session: Session, fields: Fields) -> Fields:
        count = min(int(fields.get("count") or 1), _MOST_TIMES)
        now = self._engine.clock.wall()
        return {"times": self._agenda.times(fields["schedule"], now, count)}

    def op_schedule_scale(self, _session: Session, fields: Fields) -> Fields:
        function_id = fields["function_id"]
        rule = rule_from_json({"min_containers": None, **fields["rule"]})
        if not isinstance(rule, ScaleAt):
            raise InvalidError(
                "Only settings can be scheduled from outside the code.",
                hint="Declare when a function runs with `@app.function(schedule=…)`.",
            )
        check_rule(rule)
        self._engine.directory.scalable(function_id).autoscaler.merged(rule.changes)
        check_fires(rule.cron, self._engine.clock.wall())
        app_id = self._engine.directory.function(function_id).app_id
        return self._schedule(self._schedules.add(app_id, function_id, rule))

    def op_schedule_remove(self, _session: Session, fields: Fields) -> Fields:
        self._schedules.remove(fields["schedule"])
        return {}

    def _schedule(self, record: ScheduleRecord) -> Fields:
        function = self._engine.catalog.function(record.function_id)
        app_name = self._engine.app_names.get(record.app_id, "")
        return schedule_json(self._agenda, record, app_name, function.shown if function else "")
