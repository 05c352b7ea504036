"""Invocations of the planner: who leads, when it looks, and what it fires."""

import re
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from cloudfn.control.planner import handler
from cloudfn.control.planner.environment import LEASE
from cloudfn.control.planner.handler import (
    INVOCATION,
    LONGER_PAUSE,
    PAUSE,
    RELIEF,
    plan,
)
from cloudfn.control.schedules.firing import Firing
from cloudfn.errors import ServiceError
from cloudfn.model.call import Status
from cloudfn.model.schedule import Cron, Period, ScaleAt
from cloudfn.providers.ledger import Entry
from cloudfn.providers.schedules import ScheduleRecord
from tests.unit.planner_cloud import (
    World,
    a_planner,
    raises,
    wake,
)


@pytest.fixture
def world():
    return World()


def test_terraform_names_the_handler_that_there_is():
    variables = Path(__file__).parents[2] / "infra/terraform/modules/planner/variables.tf"
    (name,) = re.findall(r'default += "(cloudfn\.[\w.]+)"', variables.read_text())
    module, _, function = name.rpartition(".")

    assert callable(getattr(import_module(module), function))


def test_an_invocation_leaves_at_once_where_there_is_nothing_to_do(world):
    assert wake(world) == {"ticks": 1, "led": True, "active": False}
    assert not world.leadership.led(world.clock.wall())


def test_an_invocation_that_nobody_relieves_looks_each_second_for_75_seconds(world):
    world.submit()
    began = world.clock.wall()

    answer = wake(world)

    assert answer["active"]
    assert INVOCATION - 2 <= answer["ticks"] <= INVOCATION + 1
    assert INVOCATION - 2 <= world.clock.wall() - began <= INVOCATION
    assert len(world.fleet.instances()) == 1


def test_an_invocation_leaves_at_once_where_another_leads(world):
    world.leadership.lead("other", world.clock.wall(), LEASE)
    world.submit()

    assert wake(world) == {"ticks": 1, "led": False, "active": False}
    assert world.fleet.instances() == []


def test_an_invocation_of_a_minute_relieves_the_one_before_it_at_once(world):
    world.submit()
    began, next_one = world.clock.wall(), []
    sleep = world.clock.sleep

    def sleeping(seconds):
        world.clock.sleep = sleep
        sleep(seconds)
        if not next_one:
            world.clock.sleep = sleeping
            if world.clock.wall() - began >= 20:
                next_one.append(world.clock.wall())
                world.leadership.relieve()

    world.clock.sleep = sleeping
    assert wake(world, "p1")["active"]
    gone = world.clock.wall()
    assert not world.leadership.led(gone)

    answer = wake(world, "p2", source="minute")

    assert gone - next_one[0] < PAUSE
    assert world.clock.wall() - gone > INVOCATION - 2  # what relieved one leader relieves no other
    assert answer["led"]


def test_an_invocation_of_a_minute_waits_a_little_for_a_lead_and_says_that_it_does(world):
    world.leadership.lead("other", world.clock.wall(), 60.0)
    world.submit()
    began = world.clock.wall()

    assert wake(world, source="minute") == {"ticks": 1, "led": False, "active": False}
    assert world.leadership.called().reliefs == 1
    assert RELIEF <= world.clock.wall() - began < RELIEF + 1


def test_an_invocation_of_a_minute_waits_for_nobody_where_nobody_leads(world):
    began = world.clock.wall()

    assert wake(world, source="minute") == {"ticks": 1, "led": True, "active": False}
    assert world.clock.wall() == began
    assert world.leadership.called().reliefs == 0


def test_what_one_invocation_learned_the_next_one_knows(world):
    world.submit()
    wake(world, "p1")
    world.clock.advance(5)

    wake(world, "p2")

    assert len(world.fleet.instances()) == 1


def test_trouble_in_one_look_does_not_end_an_invocation(world):
    world.submit()
    world.ledger.fail_next("counts", ServiceError("DynamoDB is away"))

    answer = wake(world)

    assert answer["ticks"] > 50
    assert len(world.fleet.instances()) == 1


def test_who_calls_while_an_invocation_ends_is_heard_by_it(world):
    resign = world.leadership.resign

    def called_meanwhile(holder):
        resign(holder)
        world.leadership.resign = resign
        world.submit()
        world.leadership.call()

    world.leadership.resign = called_meanwhile

    assert wake(world)["ticks"] > 1
    assert len(world.fleet.instances()) == 1


def looks(world, act, seconds):
    """Return the times of looks while a planner plans for so long; `act` comes in its pauses."""
    began, times = world.clock.monotonic(), []
    sleep = world.clock.sleep

    def sleeping(pause):
        act(world.clock.monotonic() - began)
        sleep(pause)

    world.clock.sleep = sleeping

    def goes_on(_tick):
        times.append(world.clock.monotonic() - began)
        return times[-1] < seconds

    plan(a_planner(world), world.clock, goes_on)
    return times


def once(do):
    """Return an act that does something once, two seconds in."""
    done = []

    def act(now):
        if now >= 2.0 and not done:
            done.append(now)
            do()

    return act


def test_a_planner_without_anything_to_do_that_is_called_looks_before_its_pause_ends(world):
    def submit():
        world.submit()
        world.leadership.call()

    times = looks(world, once(submit), 5.0)

    assert times[1] < LONGER_PAUSE
    assert len(world.fleet.instances()) == 1


def test_a_change_of_settings_is_acted_on_by_the_look_after_it_and_before_its_pause_ends(world):
    def update():
        handler.rescale(world.cloud, world.function_id, {"min_containers": 1}, by="ada", now=1.0)

    times = looks(world, once(update), 3.0)

    assert times[1] < LONGER_PAUSE
    assert len(world.fleet.instances()) == 1


def test_while_inputs_wait_calls_because_of_work_make_nobody_look_more_often(world):
    world.submit()

    calm = looks(world, lambda _now: None, 6.0)
    world.clock.advance(LEASE)
    called = looks(world, lambda _now: world.leadership.call(), 6.0)

    assert len(called) == len(calm)


def test_a_change_of_settings_while_inputs_wait_is_looked_at_before_the_pause_ends(world):
    world.submit()

    def update():
        world.leadership.call(changed=True)

    times = looks(world, once(update), 4.0)
    pauses = [later - sooner for sooner, later in pairwise(times)]

    assert min(pauses) < PAUSE <= max(pauses)


def test_a_planner_that_cannot_hear_calls_waits_for_its_next_look(world):
    planner = a_planner(world)
    planner.tick()
    world.leadership.call(changed=True)
    assert planner.is_called()
    world.leadership.called = raises(ServiceError("DynamoDB is away"))

    assert not planner.is_called()


def test_a_schedule_that_invokes_is_fired_once_however_often_it_does(world):
    due = world.clock.wall() + 3600
    record = ScheduleRecord(
        "sc-1", world.app.app_id, world.function_id, Period(hours=1), due - 3600, due - 3600
    )
    world.schedules.put([record])
    world.clock.advance(3600)

    wake(world, "p1", source="schedule", schedule="sc-1", due=due)
    wake(world, "p2", source="schedule", schedule="sc-1", due="2027-01-15T09:00:00Z")

    (call,) = world.ledger.calls(limit=10)
    assert call.spec.pool == world.pool
    assert [fire.call_id for fire in world.schedules.history("sc-1", 9)] == [call.spec.call_id]
    assert [h.ring.pool for h in world.doorbells.listen(world.function_id, 0, 1)] == [world.pool]


def test_a_schedule_that_nobody_invokes_for_is_fired_by_whoever_plans(world):
    now = world.clock.wall()
    record = ScheduleRecord(
        "sc-1", world.app.app_id, world.function_id, Period(seconds=20), now, now
    )
    world.schedules.put([record])

    answer = wake(world)

    assert answer["ticks"] > 50
    assert [fire.due for fire in world.schedules.history("sc-1", 9)] == [
        now + 60,
        now + 40,
        now + 20,
    ]


def test_scheduled_settings_become_an_override(world):
    now = world.clock.wall()
    rule = ScaleAt("* * * * *", min_containers=2)
    world.schedules.put(
        [ScheduleRecord("sc-1", world.app.app_id, world.function_id, rule, now, now)]
    )
    world.clock.advance(60)

    wake(world)

    assert dict(world.catalog.override(world.function_id).changes) == {"min_containers": 2}
    assert world.schedules.history("sc-1", 1)[0].outcome == "min_containers=2"
    assert len(world.fleet.instances()) == 1


def test_a_schedule_whose_run_has_not_ended_may_leave_one_out(world):
    now = world.clock.wall()
    rule = Cron("* * * * *", overlap=False)
    record = ScheduleRecord("sc-1", world.app.app_id, world.function_id, rule, now, now)
    world.schedules.put([record])
    world.clock.advance(60)
    wake(world, "p1")
    world.clock.advance(60)
    wake(world, "p2")
    (claim,) = world.ledger.claim(world.pool, 9, world.clock.wall())
    world.ledger.record([Entry(claim.seq, claim.fence, Status.RETURNED, b"r")])
    world.clock.advance(20)
    wake(world, "p3")

    outcomes = [fire.outcome for fire in reversed(world.schedules.history("sc-1", 9))]

    assert outcomes[0] == "returned"
    assert outcomes[1].startswith("skipped")


def test_a_schedule_of_an_app_that_is_stopped_is_no_call(world):
    now = world.clock.wall()
    record = ScheduleRecord(
        "sc-1", world.app.app_id, world.function_id, Period(minutes=1), now, now
    )
    world.schedules.put([record])
    world.catalog.stop_app(world.app.app_id, now)
    world.clock.advance(60)

    Firing(world.cloud, partial(handler.rescale, world.cloud)).look(world.clock.wall())

    assert world.ledger.calls(limit=9) == []
    assert world.schedules.history("sc-1", 1)[0].outcome.startswith("failed: its app is stopped")

    wake(world)  # which ends what is left of apps that are stopped

    assert world.schedules.schedules() == []
