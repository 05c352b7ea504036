"""Operations on schedules, which the planner fires."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.operations import Fields, Group
from cloudfn.control.schedules.agenda import Agenda, Due
from cloudfn.control.schedules.request import chosen, parse_scaling
from cloudfn.control.schedules.shown import schedule_json
from cloudfn.errors import InvalidError
from cloudfn.model.call import CallKind
from cloudfn.model.schedule import ScaleAt
from cloudfn.providers.ledger import CallSpec
from cloudfn.providers.schedules import Fire, ScheduleRecord

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front

#: fires in an answer when nobody says how many, and times to come at most
_HISTORY = 20
_MOST_TIMES = 1000


class ScheduleOperations(Group):
    """Operations on schedules."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def op_schedule_list(self, _conversation: Conversation, fields: Fields) -> Fields:
        agenda = self._agenda()
        described = (self._schedule(agenda, record) for record in agenda.records())
        return {"schedules": chosen(described, fields)}

    def op_schedule_pause(self, _conversation: Conversation, fields: Fields) -> Fields:
        now, paused = self._front.clock.wall(), bool(fields["paused"])
        self._agenda().pause(fields["schedules"], now, paused=paused)
        return {}

    def op_schedule_run(self, _conversation: Conversation, fields: Fields) -> Fields:
        agenda = self._agenda()
        due = agenda.by_hand(fields["schedule"], self._front.clock.wall())
        fire = self._fire(due)
        agenda.kept(fire)
        self._front.calls.alarm.ring()
        return asdict(fire)

    def op_schedule_history(self, _conversation: Conversation, fields: Fields) -> Fields:
        agenda = self._agenda()
        record = agenda.record(fields["schedule"])
        limit = int(fields.get("limit") or _HISTORY)
        return {"fires": list(map(asdict, agenda.history(record.schedule_id, limit)))}

    def op_schedule_next(self, _conversation: Conversation, fields: Fields) -> Fields:
        count = min(int(fields.get("count") or 1), _MOST_TIMES)
        now = self._front.clock.wall()
        return {"times": self._agenda().times(fields["schedule"], now, count)}

    def op_schedule_scale(self, _conversation: Conversation, fields: Fields) -> Fields:
        function_id, directory = fields["function_id"], self._front.directory
        now, agenda = self._front.clock.wall(), self._agenda()
        rule = parse_scaling(fields, now)
        directory.scalable(function_id).autoscaler.merged(rule.changes)
        app_id = directory.function(function_id).app_id
        return self._schedule(agenda, agenda.add_dynamic(app_id, function_id, rule, now))

    def op_schedule_remove(self, _conversation: Conversation, fields: Fields) -> Fields:
        self._agenda().remove_dynamic(fields["schedule"])
        return {}

    def _agenda(self) -> Agenda:
        """Return the schedules as they are now: others change them as well."""
        return Agenda(self._front.cloud.schedules)

    def _schedule(self, agenda: Agenda, record: ScheduleRecord) -> Fields:
        function = self._front.cloud.catalog.function(record.function_id)
        app_name = self._front.directory.app_name(record.function_id)
        return schedule_json(agenda, record, app_name, function.shown if function else "")

    def _fire(self, due: Due) -> Fire:
        """Do what is due; raises an Error where it cannot be done."""
        from cloudfn.wire.codec import no_arguments

        fire, record = due.fire, due.record
        if isinstance(record.rule, ScaleAt):
            changes = record.rule.changes
            by = f"schedule {record.rule}"
            self._front.apps.update_settings(record.function_id, changes, by)
            told = ", ".join(f"{name}={value}" for name, value in changes.items())
            return replace(fire, outcome=told)
        spec = CallSpec(
            fire.call_id,
            record.function_id,
            self._front.pools.pool_for(record.function_id),
            CallKind.SPAWN,
            self._front.clock.wall(),
            durable=True,
        )
        admission = self._front.cloud.ledger.submit(
            spec, 0, [no_arguments()], sealed=True, now=spec.created
        )
        if admission.refused:
            raise InvalidError(admission.refused)
        return fire
