"""Who plans is called, or woken where nobody does."""

from pathlib import Path

import pytest

from cloudfn.control.invocation.alarm import Alarm
from cloudfn.errors import ServiceError
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.testing.memory_leadership import MemoryLeadership


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def did():
    return []


@pytest.fixture
def leadership(did):
    made = MemoryLeadership(lambda: did.append("wake"))
    for name in ("call", "led"):
        setattr(made, name, noted(did, name, getattr(made, name)))
    return made


@pytest.fixture
def alarm(leadership, clock, tmp_path):
    cloud = MemoryCloud(Path(tmp_path)).open("client")
    return Alarm(cloud.ledger, cloud.doorbells, leadership, clock)


def noted(did, name, do):
    def act(*args, **more):
        did.append(name)
        return do(*args, **more)

    return act


def test_who_leads_is_called_first_and_woken_where_nobody_does_afterwards(alarm, did):
    alarm.ring()

    assert did == ["call", "led", "wake"]


def test_who_leads_is_not_woken(alarm, did, leadership, clock):
    leadership.lead("pl-1", clock.wall(), 10.0)

    alarm.changed()

    assert did == ["call", "led"]


def test_work_is_called_for_now_and_then_and_a_change_each_time(alarm, leadership, clock):
    for tell in (alarm.ring, alarm.ring, alarm.wake, alarm.changed, alarm.changed):
        tell()
    clock.advance(2.0)
    alarm.ring()

    assert leadership.called() == (2, 2, 0)


def test_who_only_waits_wakes_and_calls_nobody(alarm, did):
    alarm.wake()

    assert did == ["led", "wake"]


@pytest.mark.parametrize("name", ["call", "led"])
def test_a_planner_that_cannot_be_called_stops_nobody(alarm, leadership, name, caplog):
    def fail(*_args, **_more):
        raise ServiceError("DynamoDB is away")

    setattr(leadership, name, fail)

    alarm.changed()

    assert "the planner cannot be woken" in caplog.text
