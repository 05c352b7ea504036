"""Schedules on AWS: records in DynamoDB, and EventBridge schedules that wake the planner in time.

Whatever EventBridge can say exactly (`cron.py`) is an EventBridge schedule in the environment's
group, which sends the planner its name and the due time. Scheduled settings are written into
Parameter Store by EventBridge itself. The planner looks at all schedules when it is woken, so that
one that EventBridge cannot say is fired by the planner alone, and a fire that comes twice is one
call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from json import dumps
from typing import Any

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import NotFoundError
from cloudfn.model.schedule import Rule, ScaleAt
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.cron import AwsRule, aws_rules
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.overrides import parameter_name
from cloudfn.providers.aws.retries import conflicts
from cloudfn.providers.aws.schedule_records import ScheduleRecords
from cloudfn.providers.schedules import Fire, ScheduleRecord

#: what EventBridge puts in place of it
_DUE = "<aws.scheduler.scheduled-time>"
_PUT_PARAMETER = "scheduler:::aws-sdk:ssm:putParameter"
#: characters of a description
_DESCRIBED = 512
#: how long and how often EventBridge tries to deliver; what comes later the planner has noticed
_RETRIES = {"MaximumEventAgeInSeconds": 600, "MaximumRetryAttempts": 10}


@dataclass(frozen=True, slots=True)
class Aims:
    """What schedules of an environment act on, and with what.

    Attributes:
        group: Name of the schedule group.
        role: ARN of the role that schedules act with.
        planner: ARN of the planner's function.
        pools: Path of the parameters of pools, such as "/cloudfn/main/pools".
        dead_letters: ARN of a queue for what could not be delivered; empty for none.
    """

    group: str
    role: str
    planner: str
    pools: str
    dead_letters: str = ""


class AwsSchedules:
    """The `Schedules` port. Thread-safe.

    Args:
        clients: Where the client of `scheduler` comes from.
        records: The durable truth.
        aims: What schedules act on.
        clock: The time.
    """

    def __init__(
        self,
        clients: ClientSource,
        records: ScheduleRecords,
        aims: Aims,
        clock: Clock | None = None,
    ) -> None:
        self._clients = clients
        self._records = records
        self._aims = aims
        self._clock = clock or SystemClock()

    def put(self, records: Sequence[ScheduleRecord]) -> None:
        # Recorded first: when it is fired, the planner knows it.
        self._records.put(records)
        for record in records:
            self._publish(record)

    def remove(self, schedule_ids: Sequence[str]) -> None:
        for schedule_id in schedule_ids:
            told = self._records.told(schedule_id)
            for name in told:
                self._delete(name)
            record = self._records.get(schedule_id) if told else None
            if record is not None and isinstance(record.rule, ScaleAt):
                self._take_back(record)
        self._records.remove(schedule_ids)

    def schedules(self) -> list[ScheduleRecord]:
        return self._records.schedules()

    def record(self, fires: Sequence[Fire]) -> None:
        self._records.record(fires)

    def history(self, schedule_id: str, limit: int) -> list[Fire]:
        return self._records.history(schedule_id, limit)

    def unfinished(self) -> list[Fire]:
        return self._records.unfinished()

    def fired_by(self, rule: Rule) -> str:
        return "EventBridge" if aws_rules(rule, 0.0, 0.0) else "the planner"

    def _publish(self, record: ScheduleRecord) -> None:
        """Have EventBridge know what it can of a schedule; nothing where it knows it."""
        wanted = published(record, self._aims, self._clock.wall())
        marks = {name: _mark(record, each) for name, each in wanted.items()}
        told = self._records.told(record.schedule_id)
        if told == marks:
            return
        # What is begun is noted, so that whoever comes after a crash knows of it.
        self._records.tell(record.schedule_id, {**told, **dict.fromkeys(marks, "")})
        for name, schedule in wanted.items():
            if told.get(name) != marks[name]:
                self._set(name, schedule)
        for name in told:
            if name not in wanted:
                self._delete(name)
        self._records.tell(record.schedule_id, marks)

    def _set(self, name: str, schedule: Mapping[str, Any]) -> None:
        """Create an EventBridge schedule, or change the one that is there."""
        scheduler = self._clients.of("scheduler")
        about = f"schedule {self._aims.group}/{name}"
        with explained("scheduler", "CreateSchedule", about):
            try:
                scheduler.create_schedule(**schedule)
            except scheduler.exceptions.ConflictException:
                # It is there.
                with explained("scheduler", "UpdateSchedule", about):
                    conflicts(self._clock)(scheduler.update_schedule, **schedule)
            except scheduler.exceptions.ResourceNotFoundException as error:
                raise NotFoundError(
                    f"There is no schedule group {self._aims.group}.",
                    hint="`cloudfn infra apply` makes it.",
                ) from error

    def _delete(self, name: str) -> None:
        scheduler = self._clients.of("scheduler")
        with explained("scheduler", "DeleteSchedule", f"schedule {self._aims.group}/{name}"):
            try:
                conflicts(self._clock)(
                    scheduler.delete_schedule, GroupName=self._aims.group, Name=name
                )
            except scheduler.exceptions.ResourceNotFoundException:
                return

    def _take_back(self, record: ScheduleRecord) -> None:
        """Delete what a schedule wrote last, unless somebody else has written since."""
        ssm, name = self._clients.of("ssm"), _written_to(record, self._aims)
        with explained("ssm", "GetParametersByPath", name):
            answer = ssm.get_parameters_by_path(Path=name.rpartition("/")[0])
        for each in answer["Parameters"]:
            if each["Name"] == name and each["Value"] == scheduled_value(record):
                with suppress(NotFoundError), explained("ssm", "DeleteParameter", name):
                    ssm.delete_parameter(Name=name)


def published(record: ScheduleRecord, aims: Aims, now: float) -> dict[str, dict[str, Any]]:
    """Return the EventBridge schedules that a schedule has, by name. Pure.

    Args:
        record: The schedule.
        aims: What schedules act on.
        now: Seconds since the epoch.

    Returns:
        Parameters of CreateSchedule; nothing where the planner alone fires it.
    """
    rules = aws_rules(record.rule, record.anchor, now)
    found = {}
    for number, rule in enumerate(rules):
        name = f"{record.schedule_id}-{number}"
        found[name] = {
            "Name": name,
            "GroupName": aims.group,
            "Description": f"{record.rule} of {record.function_id}"[:_DESCRIBED],
            **_when(rule),
            "State": "DISABLED" if record.paused else "ENABLED",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": _target(record, aims),
        }
    return found


def scheduled_value(record: ScheduleRecord) -> str:
    """Return what scheduled settings write into their pool's parameter. Pure."""
    assert isinstance(record.rule, ScaleAt)
    return dumps({**record.rule.changes, "by": f"schedule {record.schedule_id}"})


def _written_to(record: ScheduleRecord, aims: Aims) -> str:
    """Return the name of the parameter that scheduled settings of a function are written to."""
    return f"{parameter_name(aims.pools, record.function_id)}/scheduled"


def _when(rule: AwsRule) -> dict[str, Any]:
    when: dict[str, Any] = {
        "ScheduleExpression": rule.expression,
        "ScheduleExpressionTimezone": rule.timezone,
    }
    if rule.start is not None:
        when["StartDate"] = datetime.fromtimestamp(rule.start, UTC)
    return when


def _target(record: ScheduleRecord, aims: Aims) -> dict[str, Any]:
    if isinstance(record.rule, ScaleAt):
        arn = f"arn:{aims.role.split(':')[1]}:{_PUT_PARAMETER}"
        told: dict[str, Any] = {
            "Name": _written_to(record, aims),
            "Value": scheduled_value(record),
            "Type": "String",
            "Overwrite": True,
        }
    else:
        arn = aims.planner
        told = {"source": "schedule", "schedule": record.schedule_id, "due": _DUE}
    target: dict[str, Any] = {
        "Arn": arn,
        "RoleArn": aims.role,
        "Input": dumps(told),
        "RetryPolicy": _RETRIES,
    }
    if aims.dead_letters:
        target["DeadLetterConfig"] = {"Arn": aims.dead_letters}
    return target


def _mark(record: ScheduleRecord, schedule: Mapping[str, Any]) -> str:
    """Return what tells whether EventBridge has to be told anew: all but when a rate begins."""
    said = {name: value for name, value in schedule.items() if name != "StartDate"}
    said["anchor"] = record.anchor if "StartDate" in schedule else None
    return sha256(dumps(said, sort_keys=True).encode()).hexdigest()[:16]
