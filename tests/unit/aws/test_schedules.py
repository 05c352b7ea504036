"""Schedules on AWS: what EventBridge is told, when, and what comes of it."""

import json
from dataclasses import replace

import pytest

from cloudfn.errors import (
    ConnectionError,  # noqa: A004 - ours
    NotFoundError,
)
from cloudfn.model.schedule import Cron, Period, ScaleAt
from cloudfn.providers.aws.schedule_records import ScheduleRecords
from cloudfn.providers.aws.schedules import Aims, AwsSchedules, published
from cloudfn.providers.aws.table import Table
from cloudfn.providers.schedules import Fire, ScheduleRecord
from cloudfn.testing.aws import FakeAws
from cloudfn.testing.clock import FakeClock

#: a Wednesday, at 06:00 in UTC
START = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 6 * 3_600
GROUP = "cloudfn-main"
CALLS = ("CreateSchedule", "UpdateSchedule", "DeleteSchedule")


class World:
    def __init__(self):
        self.aws = FakeAws(FakeClock(START, sleepless=True))
        self.aws.client("scheduler").create_schedule_group(Name=GROUP)
        self.events = []
        self.aims = Aims(
            GROUP,
            "arn:aws:iam::123456789012:role/cloudfn-main-scheduler",
            self.aws.functions.define("cloudfn-main-planner", self.events.append),
            "/cloudfn/main/pools",
        )
        self.table = self.aws.make_table()
        self.schedules = self.opened()

    def opened(self, **changes):
        clients = self.aws.clients()
        records = ScheduleRecords(Table(clients, self.table, self.aws.clock), self.aws.clock)
        return AwsSchedules(clients, records, replace(self.aims, **changes), self.aws.clock)

    def pass_time(self, seconds):
        self.aws.clock.advance(seconds)
        self.aws.scheduler.run()
        # An event may take a moment to its function.
        self.aws.clock.advance(5.0)
        self.aws.functions.run()

    def told(self):
        """Return what EventBridge has: name → expression, or its state where that is off."""
        client = self.aws.client("scheduler", attempts=8)
        found = {}
        for page in client.get_paginator("list_schedules").paginate(GroupName=GROUP):
            for each in page["Schedules"]:
                one = client.get_schedule(GroupName=GROUP, Name=each["Name"])
                on = one["State"] == "ENABLED"
                found[each["Name"]] = one["ScheduleExpression"] if on else "off"
        return found

    def calls(self):
        return sum(self.aws.faults.calls["scheduler", each] for each in CALLS)


@pytest.fixture
def world():
    return World()


def record(rule, **changes):
    return replace(ScheduleRecord("sc-1", "ap-1", "fu-1", rule, START, START), **changes)


def test_the_planner_hears_of_a_due_time_with_its_name_within_a_minute(world):
    world.schedules.put([record(Cron("30 6 * * *"))])
    assert world.told() == {"sc-1-0": "cron(30 6 * * ? *)"}

    world.pass_time(1_799.0)
    assert world.events == []
    world.pass_time(70.0)
    first = {"source": "schedule", "schedule": "sc-1", "due": "2027-01-15T06:30:00Z"}
    assert world.events
    assert all(event == first for event in world.events)


def test_a_zone_is_kept(world):
    world.schedules.put([record(Cron("30 15 * * *", "Asia/Tokyo"))])

    world.pass_time(1_870.0)

    assert {event["due"] for event in world.events} == {"2027-01-15T06:30:00Z"}


def test_both_kinds_of_days_are_two_schedules_of_one_name(world):
    world.schedules.put([record(Cron("0 7 1 * MON"))])
    assert world.told() == {"sc-1-0": "cron(0 7 1 * ? *)", "sc-1-1": "cron(0 7 ? * 2 *)"}

    world.schedules.put([record(Cron("0 7 1 * *"))])
    assert world.told() == {"sc-1-0": "cron(0 7 1 * ? *)"}


def test_what_is_too_long_to_describe_a_schedule_is_cut(world):
    minutes = ",".join(["0"] * 400)
    world.schedules.put([record(Cron(f"{minutes} 7 * * *"))])

    assert world.told() == {"sc-1-0": "cron(0 7 * * ? *)"}


def test_settings_are_written_by_the_eventbridge_of_the_accounts_partition(world):
    aims = replace(world.aims, role="arn:aws-us-gov:iam::123456789012:role/cloudfn-main-scheduler")
    scaling = record(ScaleAt("0 6 * * *", min_containers=1))

    [told] = published(scaling, aims, START).values()

    assert told["Target"]["Arn"] == "arn:aws-us-gov:scheduler:::aws-sdk:ssm:putParameter"


@pytest.mark.parametrize(
    "rule",
    [
        Period(seconds=10),
        Period(months=1),
        Cron("0 6 L * *"),
        ScaleAt("0 6 * * FRI#1", min_containers=1),
    ],
)
def test_what_eventbridge_cannot_say_is_on_record_alone(world, rule):
    world.schedules.put([record(rule)])

    assert world.schedules.schedules() == [record(rule)]
    assert world.told() == {}


def test_a_period_begins_one_period_after_its_anchor(world):
    world.schedules.put([record(Period(minutes=30), anchor=START - 3_000.5)])

    world.pass_time(1_000.0)
    world.pass_time(1_000.0)

    assert {event["due"] for event in world.events} == {"2027-01-15T06:10:00Z"}


def test_scheduled_settings_are_written_without_any_code(world):
    rule = ScaleAt("30 6 * * *", min_containers=4, scaledown_window=90)
    world.schedules.put([record(rule, function_id="fu-1+v2")])

    world.pass_time(1_900.0)

    assert world.events == world.aws.scheduler.failed == []
    written = world.aws.ssm.truth()
    assert set(written) == {"/cloudfn/main/pools/fu-1.v2/scheduled"}
    [value] = map(json.loads, written.values())
    assert value == {"min_containers": 4, "scaledown_window": 90, "by": "schedule sc-1"}


def test_what_a_schedule_wrote_goes_with_it_and_what_others_wrote_stays(world):
    rule = ScaleAt("30 6 * * *", min_containers=4)
    rules = [record(rule), record(rule, schedule_id="sc-2", function_id="fu-2")]
    world.schedules.put(rules)
    world.pass_time(1_900.0)
    ours = '{"min_containers": 1, "by": "mornings"}'
    name = "/cloudfn/main/pools/fu-2/scheduled"
    world.aws.client("ssm", attempts=8).put_parameter(Name=name, Value=ours, Overwrite=True)
    world.aws.clock.advance(5.0)

    for _ in range(2):
        world.schedules.remove(["sc-1", "sc-2"])

    assert world.aws.ssm.truth() == {name: ours}


def test_a_schedule_that_rests_is_off_and_comes_back(world):
    hourly = record(Cron("30 * * * *"))
    world.schedules.put([hourly])
    world.schedules.put([replace(hourly, paused=True)])
    assert world.told() == {"sc-1-0": "off"}

    world.pass_time(7_200.0)
    assert world.events == []
    world.schedules.put([hourly])
    world.pass_time(3_600.0)
    assert world.events != []


def test_what_did_not_change_costs_no_call(world):
    records = [record(Cron("30 6 * * *")), record(Period(hours=1), schedule_id="sc-2")]
    world.schedules.put(records)
    before = world.calls()

    world.pass_time(100_000.0)
    world.schedules.record([Fire("sc-1", START + 1_800, START + 1_801, "fc-1")])
    world.opened().put(world.schedules.schedules())

    assert world.calls() == before


def test_what_is_removed_is_removed_from_eventbridge_and_again_is_nothing(world):
    world.schedules.put([record(Cron("0 7 1 * MON")), record(Period(hours=1), schedule_id="sc-2")])

    world.schedules.remove(["sc-1"])
    world.schedules.remove(["sc-1", "sc-never"])

    assert world.told() == {"sc-2-0": "rate(60 minutes)"}
    assert [each.schedule_id for each in world.schedules.schedules()] == ["sc-2"]


def test_what_a_crash_left_half_done_is_done_by_the_next_put_or_removal(world):
    rule = record(Cron("0 7 1 * MON"))
    world.aws.faults.fail("scheduler", "CreateSchedule", "AccessDeniedException", times=1)
    with pytest.raises(Exception, match="scheduler:CreateSchedule"):
        world.schedules.put([rule])
    world.opened().put([rule])
    assert len(world.told()) == 2

    world.aws.faults.fail("scheduler", "DeleteSchedule", "AccessDeniedException", times=1)
    with pytest.raises(Exception, match="scheduler:DeleteSchedule"):
        world.schedules.remove(["sc-1"])
    world.opened().remove(["sc-1"])
    assert world.told() == {}


def test_an_answer_that_was_lost_is_no_second_schedule(world):
    for operation in ("CreateSchedule", "UpdateSchedule", "DeleteSchedule"):
        world.aws.faults.lose_answer("scheduler", operation)

    world.schedules.put([record(Cron("30 6 * * *"))])
    world.schedules.put([record(Cron("40 6 * * *"))])
    assert world.told() == {"sc-1-0": "cron(40 6 * * ? *)"}
    world.schedules.remove(["sc-1"])
    assert world.told() == {}


def test_a_group_that_is_missing_is_named_with_what_makes_it(world):
    schedules = world.opened(group="cloudfn-other")

    with pytest.raises(NotFoundError, match="group cloudfn-other") as caught:
        schedules.put([record(Cron("30 6 * * *"))])

    assert "cloudfn infra apply" in caught.value.hint


def test_what_nobody_takes_goes_to_the_dead_letters_if_there_are_any(world):
    url = world.aws.client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    schedules = world.opened(
        planner="arn:aws:lambda:eu-central-1:123456789012:function:gone",
        dead_letters=world.aws.sqs.arn("dead"),
    )
    schedules.put([record(Cron("30 6 * * *"))])

    world.pass_time(1_900.0)

    assert world.aws.scheduler.failed
    assert all("sc-1" in body for body in world.aws.sqs.truth("dead"))
    assert url.endswith("/dead")


def test_fires_are_noted_while_others_change_the_schedule(world):
    hourly = record(Period(hours=1))
    world.schedules.put([hourly])
    other = world.opened()

    for hour in range(1, 20):
        fire = Fire("sc-1", START + 3_600.0 * hour, START + 3_600.0 * hour, f"fc-{hour}")
        (world.schedules if hour % 2 else other).record([fire, fire])

    assert world.schedules.history("sc-1", 100) == world.schedules.unfinished()[::-1]
    assert len(other.unfinished()) == 19
    assert other.schedules() == [replace(hourly, cursor=START + 19 * 3_600.0)]


def test_records_need_no_scheduler_at_all(world):
    world.schedules.put([record(Period(hours=1))])
    world.aws.faults.cut("scheduler")

    assert world.schedules.schedules() == [record(Period(hours=1))]
    world.schedules.record([Fire("sc-1", START + 3_600, START + 3_600, "fc-1")])
    assert len(world.schedules.unfinished()) == 1
    with pytest.raises(ConnectionError):
        world.schedules.put([record(Period(hours=2))])
