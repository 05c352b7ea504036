"""What the fake EventBridge Scheduler and moto agree on."""

import json

import pytest
from botocore.exceptions import ClientError

GROUP = "cloudfn-main"


@pytest.fixture
def scheduler(account):
    client = account.client("scheduler")
    client.create_schedule_group(Name=GROUP)
    return client


def schedule(name="sc-1", **changes):
    return {
        "Name": name,
        "GroupName": GROUP,
        "ScheduleExpression": "cron(0 6 * * ? *)",
        "ScheduleExpressionTimezone": "Asia/Tokyo",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": "arn:aws:lambda:eu-central-1:123456789012:function:planner",
            "RoleArn": "arn:aws:iam::123456789012:role/scheduler",
            "Input": json.dumps({"due": "<aws.scheduler.scheduled-time>"}),
            "RetryPolicy": {"MaximumEventAgeInSeconds": 600, "MaximumRetryAttempts": 10},
        },
        **changes,
    }


def code(call, **params):
    with pytest.raises(ClientError) as found:
        call(**params)
    return found.value.response["Error"]["Code"]


def test_a_schedule_is_what_it_was_set_to(scheduler):
    made = scheduler.create_schedule(**schedule())

    found = scheduler.get_schedule(GroupName=GROUP, Name="sc-1")
    assert found["Arn"] == made["ScheduleArn"]
    assert made["ScheduleArn"].endswith(f":schedule/{GROUP}/sc-1")
    for name, value in schedule().items():
        assert found[name] == value
    assert found["State"] == "ENABLED"


def test_an_update_sets_everything_anew(scheduler):
    scheduler.create_schedule(**schedule(Description="old"))

    scheduler.update_schedule(**schedule(ScheduleExpression="rate(5 minutes)", State="DISABLED"))

    found = scheduler.get_schedule(GroupName=GROUP, Name="sc-1")
    assert found["ScheduleExpression"] == "rate(5 minutes)"
    assert found["State"] == "DISABLED"
    assert not found.get("Description")


def test_what_is_there_is_not_made_again_and_what_is_not_is_not_found(scheduler):
    scheduler.create_schedule(**schedule())

    assert code(scheduler.create_schedule, **schedule()) == "ConflictException"
    missing = "ResourceNotFoundException"
    assert code(scheduler.update_schedule, **schedule("sc-2")) == missing
    assert code(scheduler.get_schedule, GroupName=GROUP, Name="sc-2") == missing
    assert code(scheduler.delete_schedule, GroupName=GROUP, Name="sc-2") == missing
    assert code(scheduler.get_schedule_group, Name="other") == missing


def test_a_group_lists_its_schedules_by_prefix(scheduler):
    for name in ("sc-1", "sc-2", "other"):
        scheduler.create_schedule(**schedule(name))
    pages = scheduler.get_paginator("list_schedules").paginate(GroupName=GROUP, NamePrefix="sc-")

    found = [each for page in pages for each in page["Schedules"]]

    assert sorted(each["Name"] for each in found) == ["sc-1", "sc-2"]
    assert {each["GroupName"] for each in found} == {GROUP}


def test_a_schedule_that_is_deleted_is_gone_and_a_group_takes_its_own_along(scheduler):
    scheduler.create_schedule(**schedule())
    scheduler.delete_schedule(GroupName=GROUP, Name="sc-1")
    assert code(scheduler.get_schedule, GroupName=GROUP, Name="sc-1") == "ResourceNotFoundException"

    scheduler.create_schedule(**schedule())
    scheduler.delete_schedule_group(Name=GROUP)
    assert code(scheduler.get_schedule, GroupName=GROUP, Name="sc-1") == "ResourceNotFoundException"
