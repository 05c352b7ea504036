"""Operations on schedules: list, pause, run now, history, next, scheduled settings."""

from __future__ import annotations

from dataclasses import asdict

from cloudfn.control.operations import Fields, Group
from cloudfn.control.schedules.request import chosen, parse_scaling
from cloudfn.control.schedules.shown import schedule_json
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session
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
        return {"schedules": chosen(map(self._schedule, self._agenda.records()), fields)}

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
        function_id, directory = fields["function_id"], self._engine.directory
        rule = parse_scaling(fields, self._engine.clock.wall())
        directory.scalable(function_id).autoscaler.merged(rule.changes)
        app_id = directory.function(function_id).app_id
        return self._schedule(self._schedules.add(app_id, function_id, rule))

    def op_schedule_remove(self, _session: Session, fields: Fields) -> Fields:
        self._agenda.remove_dynamic(fields["schedule"])
        return {}

    def _schedule(self, record: ScheduleRecord) -> Fields:
        function = self._engine.catalog.function(record.function_id)
        app_name = self._engine.app_names.get(record.app_id, "")
        return schedule_json(self._agenda, record, app_name, function.shown if function else "")
