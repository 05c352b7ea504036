"""Fake EventBridge Scheduler: schedules in groups that deliver, at least once and within a minute.

From the API reference, "Schedule types in EventBridge Scheduler", "Using universal targets",
"Adding context attributes" and "Quotas for Amazon EventBridge Scheduler". `run` delivers what is
due.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cloudfn.testing.aws.knobs import SchedulerKnobs
from cloudfn.testing.aws.models import operations
from cloudfn.testing.aws.scheduler_times import Times, times_of
from cloudfn.testing.aws.service import Answer, Bucket, Refused, Request, Service
from cloudfn.testing.clock import FakeClock

_NAME = re.compile(r"[0-9a-zA-Z-_.]{1,64}\Z")
_ROLE = re.compile(r"arn:aws:iam::\d{12}:role/[\w+=,.@/-]+\Z")
_FUNCTION = re.compile(r"arn:aws:lambda:[\w-]+:\d{12}:function:([\w-]+)\Z")
_UNIVERSAL = re.compile(r"arn:aws:scheduler:::aws-sdk:(\w+):(\w+)\Z")
#: characters at most
_LONGEST = {
    "Description": 512,
    "ScheduleExpression": 256,
    "ScheduleExpressionTimezone": 50,
    "ClientToken": 64,
}
_PAGE = 100
_DEFAULT = "default"


@dataclass(slots=True)
class _Schedule:
    """A schedule as it was last set."""

    params: Mapping[str, Any]
    created: float
    changed: float
    times: Times
    #: up to when its due times have been looked at
    seen: float


@dataclass(order=True, slots=True)
class _Delivery:
    """What is on its way to a target."""

    at: float
    due: float
    arn: str
    number: int
    target: Mapping[str, Any] = field(compare=False)


class Scheduler(Service):
    """All schedules of an account and region.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
        knobs: How nasty.
        client: Gives the clients that targets are reached by, by service.

    Attributes:
        failed: (ARN of the schedule, error) of what no target took.
    """

    name = "scheduler"

    def __init__(
        self,
        clock: FakeClock,
        random: Random,
        region: str,
        account: str,
        knobs: SchedulerKnobs,
        client: Callable[[str], Any],
    ) -> None:
        super().__init__(clock, random, region, account)
        self._knobs = knobs
        self._client = client
        self._groups: dict[str, float] = {_DEFAULT: clock.wall()}
        self._schedules: dict[tuple[str, str], _Schedule] = {}
        self._coming: list[_Delivery] = []
        self._numbers = count(1)
        self._calls = Bucket(knobs.calls)
        self.failed: list[tuple[str, Exception]] = []

    def run(self) -> None:
        """Deliver what is due by now."""
        with self.changed:
            self.pass_time(self.clock.wall())

    def pass_time(self, now: float) -> None:
        for (group, name), schedule in self._schedules.items():
            for due in schedule.times.between(schedule.seen, now):
                if _is_on(schedule, due):
                    self._send(self._arn(group, name), due, schedule.params["Target"])
            schedule.seen = now
        self._coming.sort()
        while self._coming and self._coming[0].at <= now:
            self._deliver(self._coming.pop(0))

    # ------------------------------------------------------------------------------------ groups

    def create_schedule_group(self, request: Request) -> Answer:
        name = request["Name"]
        _check_name(name)
        if name in self._groups:
            raise _conflict(f"Schedule group {name} already exists.")
        self._groups[name] = request.now
        return {"ScheduleGroupArn": self.arn(f"schedule-group/{name}")}

    def get_schedule_group(self, request: Request) -> Answer:
        name = request["Name"]
        self._check_group(name)
        return {
            "Arn": self.arn(f"schedule-group/{name}"),
            "Name": name,
            "State": "ACTIVE",
            "CreationDate": datetime.fromtimestamp(self._groups[name], UTC),
        }

    def delete_schedule_group(self, request: Request) -> None:
        name = request["Name"]
        if name == _DEFAULT:
            raise _invalid("The default group cannot be deleted.")
        self._check_group(name)
        del self._groups[name]
        for key in [key for key in self._schedules if key[0] == name]:
            del self._schedules[key]

    # --------------------------------------------------------------------------------- schedules

    def create_schedule(self, request: Request) -> Answer:
        self._spend(request)
        key = self._key(request)
        self._check_group(key[0])
        if key in self._schedules:
            raise _conflict(f"Schedule {key[1]} already exists.")
        times = self._checked(request, request.now)
        self._schedules[key] = _Schedule(
            dict(request.params), request.now, request.now, times, request.now
        )
        return {"ScheduleArn": self._arn(*key)}

    def update_schedule(self, request: Request) -> Answer:
        self._spend(request)
        key = self._key(request)
        known = self._known(key)
        if self.chance(self._knobs.conflicts):
            raise _conflict("Updating the resource can cause an inconsistent state.")
        times = self._checked(request, known.created)
        self._schedules[key] = _Schedule(
            dict(request.params), known.created, request.now, times, request.now
        )
        return {"ScheduleArn": self._arn(*key)}

    def get_schedule(self, request: Request) -> Answer:
        self._spend(request)
        key = self._key(request)
        known = self._known(key)
        return {
            "ScheduleExpressionTimezone": "UTC",
            "State": "ENABLED",
            "ActionAfterCompletion": "NONE",
            **{name: value for name, value in known.params.items() if name != "ClientToken"},
            **self._summary(key, known),
            "Target": known.params["Target"],
        }

    def delete_schedule(self, request: Request) -> None:
        self._spend(request)
        key = self._key(request)
        self._known(key)
        del self._schedules[key]

    def list_schedules(self, request: Request) -> Answer:
        self._spend(request)
        group, prefix = request.get("GroupName"), request.get("NamePrefix", "")
        if group is not None:
            self._check_group(group)
        start = request.get("NextToken", "")
        found = [
            (f"{key[0]}/{key[1]}", self._summary(key, each))
            for key, each in sorted(self._schedules.items())
            if key[1].startswith(prefix)
            and group in (None, key[0])
            and request.get("State", _state(each)) == _state(each)
        ]
        found = [each for each in found if each[0] > start]
        limit = request.get("MaxResults", _PAGE)
        page = found[:limit]
        answer: Answer = {"Schedules": [summary for _, summary in page]}
        return answer | ({"NextToken": page[-1][0]} if len(found) > limit else {})

    # ------------------------------------------------------------------------------------ parts

    def _send(self, arn: str, due: float, target: Mapping[str, Any]) -> None:
        for _ in range(1 + self.chance(self._knobs.doubled)):
            at = due + self.random.uniform(0, self._knobs.precision)
            self._coming.append(_Delivery(at, due, arn, next(self._numbers), target))

    def _deliver(self, delivery: _Delivery) -> None:
        target = delivery.target
        text = _filled(target.get("Input", ""), delivery)
        try:
            if found := _FUNCTION.match(target["Arn"]):
                self._client("lambda").invoke(
                    FunctionName=found[1], InvocationType="Event", Payload=text.encode()
                )
            elif found := _UNIVERSAL.match(target["Arn"]):
                service, operation = found.groups()
                names = {name.lower(): method for method, name in operations(service).items()}
                call = getattr(self._client(service), names[operation.lower()])
                call(**json.loads(text))
        except (ClientError, BotoCoreError) as error:
            self.failed.append((delivery.arn, error))
            if letters := target.get("DeadLetterConfig", {}).get("Arn"):
                self._client("sqs").send_message(QueueUrl=_url(letters), MessageBody=text)

    def _checked(self, request: Request, created: float) -> Times:
        """Return when a schedule is due; refuse what the service refuses."""
        for name, longest in _LONGEST.items():
            if len(request.get(name, "")) > longest:
                raise _invalid(f"{name} has more than {longest} characters.")
        window = request["FlexibleTimeWindow"]
        if (window["Mode"] == "FLEXIBLE") != ("MaximumWindowInMinutes" in window):
            raise _invalid("MaximumWindowInMinutes goes with the mode FLEXIBLE, and only with it.")
        _check_target(request["Target"])
        start = request.get("StartDate")
        begin = created if start is None else start.timestamp()
        try:
            return times_of(
                request["ScheduleExpression"],
                request.get("ScheduleExpressionTimezone", "UTC"),
                begin,
            )
        except ValueError as error:
            raise _invalid(str(error)) from None

    def _summary(self, key: tuple[str, str], schedule: _Schedule) -> Answer:
        return {
            "Arn": self._arn(*key),
            "GroupName": key[0],
            "Name": key[1],
            "State": _state(schedule),
            "CreationDate": datetime.fromtimestamp(schedule.created, UTC),
            "LastModificationDate": datetime.fromtimestamp(schedule.changed, UTC),
            "Target": {"Arn": schedule.params["Target"]["Arn"]},
        }

    def _arn(self, group: str, name: str) -> str:
        return self.arn(f"schedule/{group}/{name}")

    def _key(self, request: Request) -> tuple[str, str]:
        group = request.get("GroupName", _DEFAULT)
        for name in (group, request["Name"]):
            _check_name(name)
        return group, request["Name"]

    def _known(self, key: tuple[str, str]) -> _Schedule:
        if key not in self._schedules:
            raise Refused("ResourceNotFoundException", f"Schedule {key[1]} does not exist.", 404)
        return self._schedules[key]

    def _check_group(self, name: str) -> None:
        if name not in self._groups:
            raise Refused(
                "ResourceNotFoundException", f"Schedule group {name} does not exist.", 404
            )

    def _spend(self, request: Request) -> None:
        if not self._calls.take(1, request.now):
            raise Refused("ThrottlingException", "Rate exceeded", 429)


def _is_on(schedule: _Schedule, due: float) -> bool:
    start, end = schedule.params.get("StartDate"), schedule.params.get("EndDate")
    return (
        _state(schedule) == "ENABLED"
        and (start is None or due >= start.timestamp())
        and (end is None or due <= end.timestamp())
    )


def _state(schedule: _Schedule) -> str:
    return str(schedule.params.get("State", "ENABLED"))


def _filled(text: str, delivery: _Delivery) -> str:
    """Return an input with what stands for the circumstances."""
    due = datetime.fromtimestamp(delivery.due, UTC)
    words = {
        "schedule-arn": delivery.arn,
        "scheduled-time": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "execution-id": f"execution-{delivery.number}",
        "attempt-number": "1",
    }
    for word, value in words.items():
        text = text.replace(f"<aws.scheduler.{word}>", value)
    return text


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise _invalid(
            f"The name {name!r} must match [0-9a-zA-Z-_.]+ and have up to 64 characters."
        )


def _check_target(target: Mapping[str, Any]) -> None:
    if not _ROLE.match(target["RoleArn"]):
        raise _invalid("The role is no ARN of one.")
    retries = target.get("RetryPolicy", {})
    age, attempts = (
        retries.get("MaximumEventAgeInSeconds", 86_400),
        retries.get("MaximumRetryAttempts", 185),
    )
    if not (60 <= age <= 86_400 and 0 <= attempts <= 185):
        raise _invalid("The retry policy is out of range.")
    if not (_FUNCTION.match(target["Arn"]) or _UNIVERSAL.match(target["Arn"])):
        raise NotImplementedError(f"The fake of scheduler has no target {target['Arn']}.")
    try:
        json.loads(target.get("Input", "{}"))
    except ValueError:
        raise _invalid("The input is no JSON.") from None


def _url(arn: str) -> str:
    _, _, _, region, account, name = arn.split(":")
    return f"https://sqs.{region}.amazonaws.com/{account}/{name}"


def _conflict(message: str) -> Refused:
    return Refused("ConflictException", message, 409)


def _invalid(message: str) -> Refused:
    return Refused("ValidationException", message)
