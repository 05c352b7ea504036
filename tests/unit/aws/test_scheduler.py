"""The fakes of EventBridge Scheduler, Lambda and STS are as strict as the documentation."""

import json
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from cloudfn.testing.aws import FakeAws, Knobs, LambdaKnobs, SchedulerKnobs
from cloudfn.testing.clock import FakeClock

NOW = 1_800_000_000.0
FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:planner"
ROLE = "arn:aws:iam::123456789012:role/scheduler"


def account(**changes):
    knobs = Knobs(scheduler=SchedulerKnobs(**changes), functions=LambdaKnobs.calm())
    aws = FakeAws(FakeClock(NOW, sleepless=True), knobs=knobs)
    events = []
    arn = aws.functions.define("planner", events.append)
    told = '{"due": "<aws.scheduler.scheduled-time>"}'
    return aws, events, {"Arn": arn, "RoleArn": ROLE, "Input": told}


def create(aws, target, **changes):
    params = {
        "Name": "a", "ScheduleExpression": "rate(1 minute)",
        "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": target, **changes,
    }  # fmt: skip
    return aws.client("scheduler").create_schedule(**params)


@pytest.mark.parametrize(
    "changes",
    [
        {"Name": "a b"},
        {"Name": "a" * 65},
        {"ScheduleExpression": "cron(0 6 * * * *)"},
        {"ScheduleExpression": f"cron({','.join(map(str, range(60))) * 2} 6 * * ? *)"},
        {"ScheduleExpressionTimezone": "Mars/Olympus"},
        {"Description": "x" * 513},
        {"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 5}},
        {"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}},
        {"Target": {"Arn": FUNCTION, "RoleArn": "me"}},
        {"Target": {"Arn": FUNCTION, "RoleArn": ROLE, "Input": "{"}},
    ],
)  # fmt: skip
def test_what_the_service_refuses_is_refused(changes):
    aws, _, target = account()

    with pytest.raises(ClientError, match="ValidationException"):
        create(aws, target, **changes)


def test_every_due_time_is_delivered_at_least_once_and_within_a_minute():
    aws, events, target = account(doubled=0.5)
    create(aws, target)

    for _ in range(31 * 60):
        aws.clock.advance(1.0)
        aws.scheduler.run()
        aws.functions.run()
        for event in events:
            due = datetime.fromisoformat(event["due"]).timestamp()
            assert due <= aws.clock.wall()

    dues = [event["due"] for event in events]
    assert len(set(dues)) >= 30
    assert len(dues) > len(set(dues))


def test_a_schedule_keeps_to_its_dates_and_to_its_state():
    aws, events, target = account(precision=0, doubled=0)
    begin = datetime.fromtimestamp(NOW + 150, UTC)
    end = datetime.fromtimestamp(NOW + 300, UTC)
    create(aws, target, StartDate=begin, EndDate=end)
    create(aws, target, Name="b", State="DISABLED")

    aws.clock.advance(600.0)
    aws.scheduler.run()
    aws.functions.run()

    assert len(events) == 3
    assert datetime.fromisoformat(events[0]["due"]) == begin


def test_a_group_has_to_be_there_and_calls_are_throttled():
    aws, _, target = account(calls=2.0)

    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        create(aws, target, GroupName="other")
    create(aws, target)
    with pytest.raises(ClientError, match="ThrottlingException"):
        create(aws, target, Name="b")


def test_a_list_has_pages():
    aws, _, target = account(calls=1_000.0)
    for number in range(105):
        create(aws, target, Name=f"s{number:03}")

    pages = list(aws.client("scheduler").get_paginator("list_schedules").paginate())

    assert [len(page["Schedules"]) for page in pages] == [100, 5]


# ----------------------------------------------------------------------------------------- lambda


def test_a_function_answers_or_says_what_it_raised():
    aws, _, _ = account()
    client = aws.client("lambda")
    aws.functions.define("double", lambda event: event["n"] * 2)

    told = client.invoke(FunctionName="double", Payload=json.dumps({"n": 3}))
    assert (told["StatusCode"], json.load(told["Payload"])) == (200, 6)
    failed = client.invoke(FunctionName=aws.functions.arn("function:double"), Payload=b"{}")
    assert failed["FunctionError"] == "Unhandled"
    assert json.load(failed["Payload"])["errorType"] == "KeyError"


def test_an_event_is_carried_out_later_and_perhaps_twice():
    aws = FakeAws(FakeClock(NOW, sleepless=True), knobs=Knobs(functions=LambdaKnobs(2.0, 1.0)))
    events = []
    aws.functions.define("planner", events.append)
    aws.client("lambda").invoke(
        FunctionName="planner", InvocationType="Event", Payload=b'{"source": "test"}'
    )
    assert events == []

    aws.clock.advance(2.0)
    aws.functions.run()

    assert events == [{"source": "test"}] * 2


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"FunctionName": "gone"}, "ResourceNotFoundException"),
        ({"FunctionName": "planner", "Payload": b"{"}, "InvalidRequestContentException"),
        ({"FunctionName": "planner", "Payload": b"0" * (7 << 20)}, "RequestTooLargeException"),
        (
            {"FunctionName": "planner", "InvocationType": "Event", "Payload": b"0" * (2 << 20)},
            "RequestTooLargeException",
        ),
    ],
)
def test_an_invocation_that_cannot_be_is_refused(params, code):
    aws, _, _ = account()

    with pytest.raises(ClientError, match=code):
        aws.client("lambda").invoke(**params)


def test_a_function_without_concurrency_is_throttled():
    aws, _, _ = account()
    client = aws.client("lambda")
    client.put_function_concurrency(FunctionName="planner", ReservedConcurrentExecutions=0)

    with pytest.raises(ClientError, match="TooManyRequestsException"):
        client.invoke(FunctionName="planner")


# -------------------------------------------------------------------------------------------- sts


def test_one_is_told_who_one_is_and_can_be_another():
    aws, _, _ = account()
    sts = aws.client("sts")

    assert sts.get_caller_identity()["Account"] == "123456789012"
    told = sts.assume_role(RoleArn=ROLE, RoleSessionName="ada")
    assert told["AssumedRoleUser"]["Arn"].endswith(":assumed-role/scheduler/ada")
    assert told["Credentials"]["Expiration"].timestamp() == NOW + 3_600
    with pytest.raises(ClientError):
        sts.assume_role(RoleArn=ROLE, RoleSessionName="ada", DurationSeconds=1_000_000)
