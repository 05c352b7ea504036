"""The looks of the planner of an environment: what is told to whom, what is kept."""

import json
from dataclasses import dataclass, replace

import pytest

from cloudfn.control.planner.environment import LEASE
from cloudfn.control.planner.fleet_decide import decide_fleet
from cloudfn.control.planner.fleet_snapshot import FleetSnapshot
from cloudfn.control.planner.handler import (
    open_planner,
)
from cloudfn.control.planner.survey import described, survey
from cloudfn.control.stores.ring import Ring
from cloudfn.errors import ConflictError, ResourceExhaustedError, ServiceError
from cloudfn.model.call import Status
from cloudfn.model.schedule import Period
from cloudfn.model.terms import Terms
from cloudfn.providers.machines import MachineState, PoolReport
from cloudfn.providers.scheduled import Scheduled
from cloudfn.providers.schedules import ScheduleRecord
from tests.unit.planner_cloud import (
    SETTINGS,
    SMALL,
    World,
    a_planner,
    join,
    noted,
    raises,
    wake,
)


@pytest.fixture
def world():
    return World()


# -------------------------------------------------------------------------------------- machines


def test_machines_get_orders_when_something_changes_for_them_and_not_else(world):
    planner = a_planner(world)
    world.fleet.grow("small", 1, "t")
    join(world, "small-1")
    world.submit(3)
    planner.tick()
    first = world.machines.orders("small-1")
    given = []
    world.machines.order = given.append

    planner.tick()

    assert first.epoch == 1
    assert first.quotas[world.pool] >= 1
    assert given == []


def test_orders_of_a_new_leader_have_a_higher_epoch(world):
    world.fleet.grow("small", 1, "t")
    join(world, "small-1")
    world.submit(3)
    a_planner(world, "p1").tick()
    world.clock.advance(LEASE + 1)

    a_planner(world, "p2").tick()

    assert world.machines.orders("small-1").epoch == 2


def test_a_refused_class_is_made_up_for_in_the_same_look():
    spot = replace(SMALL, name="spot", spot=True, price=0.01)
    world = World(classes=(spot, SMALL))
    world.fleet.refuse("spot", "InsufficientInstanceCapacity")
    world.submit()

    tick = a_planner(world).tick()

    assert tick.did == (
        "no machine of spot for jobs/f: InsufficientInstanceCapacity",
        "1 machine of small is to come, for jobs/f",
    )
    assert [each.machine_class for each in world.fleet.instances()] == ["small"]


def test_what_met_another_change_is_asked_for_again_at_the_next_look(world):
    grow, world.fleet.grow = world.fleet.grow, raises(ConflictError("busy"))
    world.submit()
    planner = a_planner(world)
    planner.tick()
    world.fleet.grow = grow

    planner.tick()

    assert len(world.fleet.instances()) == 1


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(ResourceExhaustedError("no vCPU is left"), 180), (ServiceError("AWS failed"), 20)],
)
def test_a_fleet_that_refuses_with_an_error_is_left_alone_for_a_while(world, error, seconds):
    grow, world.fleet.grow = world.fleet.grow, raises(error)
    world.submit()
    planner = a_planner(world)
    assert planner.tick().did == (f"no machine of small for jobs/f: {error.message}",)
    world.fleet.grow = grow

    world.clock.advance(seconds - 1)
    assert planner.tick().did == ()
    world.clock.advance(2)
    assert len(planner.tick().did) == 1


def test_a_look_that_took_longer_than_the_lease_allows_changes_nothing(world):
    world.submit()
    classes = world.fleet.classes

    def slowly():
        world.clock.advance(7)
        return classes()

    world.fleet.classes = slowly
    planner = a_planner(world)

    assert planner.tick().decision is None
    assert world.fleet.instances() == []


def test_a_machine_that_serves_again_at_the_second_look_is_not_ended(world):
    world.fleet.grow("small", 1, "t")
    join(world, "small-1", state=MachineState.EMPTY)
    planner = a_planner(world)
    rows, looks = world.machines.list, []

    def rows_that_change():
        looks.append(1)
        if len(looks) > 1:
            join(world, "small-1")
        return rows()

    world.machines.list = rows_that_change
    assert planner.tick().did == ()
    assert world.fleet.retired == []


def _served(world):
    """Have a machine that runs an input, of which the planner knows; return the planner."""
    world.fleet.grow("small", 1, "t")
    join(world, "small-1", pools={world.pool: PoolReport(busy=1, held=1)})
    world.submit()
    world.opened_by("small-1").claim(world.pool, 1, world.clock.wall())
    planner = a_planner(world)
    planner.tick()
    assert world.machines.orders("small-1").quotas
    return planner


def _fails_for(world, planner, seconds):
    """Let nobody be answered for a while, so that leases end."""
    lead, world.leadership.lead = world.leadership.lead, raises(ServiceError("it is away"))
    with pytest.raises(ServiceError):
        planner.tick()
    world.clock.advance(seconds)
    world.leadership.lead = lead


def test_machines_keep_what_they_run_where_nobody_could_hear_them_for_a_minute(world):
    planner = _served(world)
    _fails_for(world, planner, 60)

    for _ in range(20):  # a request of theirs rests
        assert planner.tick().did == ()
        world.clock.advance(1)
    join(world, "small-1", pools={world.pool: PoolReport(busy=1, held=1)})
    planner.tick()

    assert world.ledger.counts(world.pool).running == 1
    assert world.machines.orders("small-1").quotas
    assert len(world.fleet.instances()) == 1


def test_a_machine_that_says_nothing_when_it_could_be_heard_again_is_gone(world):
    planner = _served(world)
    _fails_for(world, planner, 60)

    for _ in range(36):
        planner.tick()
        world.clock.advance(1)

    assert world.ledger.counts(world.pool).pending == 1
    assert len(world.fleet.instances()) == 2


def test_a_silent_machine_finds_that_others_run_what_it_had_when_it_is_heard_again(world):
    planner = _served(world)
    [held] = world.opened_by("looker").held("fc-1")
    for _ in range(40):
        world.clock.advance(1)
        planner.tick()

    assert world.ledger.counts(world.pool).pending == 1
    assert world.machines.orders("small-1").cancelled == ((held.seq, held.fence),)


def test_schedules_are_fired_while_machines_are_waited_for(world):
    planner = _served(world)
    _fails_for(world, planner, 60)
    ago, rule = world.clock.wall() - 90, Period(seconds=60)
    record = ScheduleRecord("sc-1", world.app.app_id, world.function_id, rule, ago, ago)
    world.schedules.put([record])

    planner.tick()

    assert world.schedules.history("sc-1", 9)


def test_an_empty_machine_is_ended_and_its_row_goes_later(world):
    world.fleet.grow("small", 1, "t")
    join(world, "small-1", state=MachineState.EMPTY)
    planner = a_planner(world)

    assert planner.tick().did == ("machine small-1 is ended: it has drained",)
    world.clock.advance(200)
    assert planner.tick().did == ("machine small-1 is gone",)
    assert world.machines.list() == []


# --------------------------------------------------------------------------------------- janitor


def test_inputs_of_machines_whose_lease_is_over_run_again(world):
    world.submit(2)
    join(world, "alive")
    for holder in ("alive", "gone"):
        world.opened_by(holder).claim(world.pool, 1, world.clock.wall())

    a_planner(world).tick()

    assert world.ledger.counts(world.pool) == (1, 0, 1)


@pytest.mark.parametrize("before", ["unknown", "known"])
def test_a_machine_that_spoke_after_the_look_is_alive(world, before):
    world.submit(1)
    if before == "known":
        join(world, "new")
        world.clock.advance(31)
    world.opened_by("new").claim(world.pool, 1, world.clock.wall())
    rows, looks = world.machines.list, []

    def rows_that_change():
        looks.append(1)
        if len(looks) == 2:
            join(world, "new")
        return rows()

    world.machines.list = rows_that_change
    a_planner(world).tick()

    assert world.ledger.counts(world.pool).running == 1


def test_overdue_inputs_end_and_their_client_is_told(world):
    address = world.wakeups.open()
    world.submit(1, reply=address, terms=Terms(deadline=world.clock.wall() + 5))
    world.clock.advance(6)

    a_planner(world).tick()

    (outcome,) = world.ledger.outcomes("fc-1")
    assert outcome.status == Status.TIMED_OUT
    assert b"DeadlineExceededError" in outcome.payload
    (note,) = world.wakeups.listen(0)
    assert (note.call_id, note.indices, note.statuses) == ("fc-1", (0,), (Status.TIMED_OUT,))


def test_doorbells_of_what_nobody_heard_are_rung_and_dead_ones_forgotten(world):
    world.doorbells.ring(world.submit(1).rings())
    world.doorbells.listen(world.function_id, 0, 1)
    world.clock.advance(11)
    world.doorbells.listen(world.function_id, 0, 1)
    assert world.doorbells.dead(1)

    a_planner(world).tick()

    assert world.doorbells.dead(1) == []
    assert len(world.doorbells.listen(world.function_id, 0, 1)) == 1


def test_machines_are_asked_for_before_anything_that_can_wait(world):
    world.submit(1)
    asked_before = []
    dead = world.doorbells.dead

    def slow_look(limit):
        asked_before.append(len(world.fleet.instances()))
        return dead(limit)

    world.doorbells.dead = slow_look

    a_planner(world).tick()

    assert asked_before == [1]


def test_jobs_are_done_although_the_look_failed(world):
    world.cloud.catalog.apps = raises(ServiceError("away"))
    repaired = noted(world.ledger, "repair")

    with pytest.raises(ServiceError):
        a_planner(world).tick()

    assert len(repaired) == 1


def test_one_job_that_fails_does_not_keep_others_from_being_done(world):
    world.ledger.fail_next("overdue", ServiceError("away"))
    world.ledger.repair = raises(ValueError("a bug"))
    expired = noted(world.ledger, "expire")

    a_planner(world).tick()

    assert len(expired) == 1


def test_rare_jobs_are_rare_also_over_many_planners(world):
    expired = noted(world.ledger, "expire")

    for number in range(3):
        wake(world, f"p{number}")
        world.clock.advance(60)
    world.clock.advance(600)
    wake(world, "p9")

    assert len(expired) == 2


# ----------------------------------------------------------------------------------------- story


def test_reasons_are_told_in_the_log_of_the_app(world):
    world.submit(3)

    a_planner(world).tick()

    (line,) = world.said()
    assert line.startswith("0 → 3 containers: 3 waiting and 0 running need 3")


def test_a_log_that_cannot_be_written_does_not_matter(world):
    world.logs.flush = raises(ServiceError("away"))
    world.submit(3)

    assert a_planner(world).tick().led
    assert len(world.fleet.instances()) == 1


def test_each_change_is_kept_with_what_was_seen_and_can_be_decided_again(world):
    world.submit(3)

    tick = a_planner(world).tick()

    (chapter,) = Ring(world.dicts).latest(9, world.clock.wall())
    assert chapter["did"] == ["1 machine of small is to come, for jobs/f"]
    again = decide_fleet(FleetSnapshot.from_json(chapter["saw"]))
    assert again.grow == tick.decision.grow


def test_a_memory_that_cannot_be_read_is_begun_anew(world):
    Ring(world.dicts).put("memory", {"heard": {"m1": 3}}, world.clock.wall())
    world.submit(1)

    assert a_planner(world).tick().did


def test_a_story_that_cannot_be_kept_does_not_matter(world):
    world.dicts.put = raises(ServiceError("away"))
    world.submit(3)

    assert a_planner(world).tick().did


def test_a_ring_keeps_the_latest_and_says_the_oldest_of_them_first(world):
    ring = Ring(world.dicts, size=3)
    for number in range(5):
        ring.add({"at": number}, 1.0)
    Ring(world.dicts, size=3).add({"at": 5}, 1.0)

    assert [each["at"] for each in ring.latest(2, 1.0)] == [4, 5]
    assert [each["at"] for each in ring.latest(9, 1.0)] == [3, 4, 5]


def test_people_see_what_is_planned_and_what_it_costs(world):
    asleep = described(survey(world.cloud, world.clock.wall()))
    world.submit(3)
    planner = a_planner(world)
    planner.tick()
    join(world, "small-1")
    active = described(survey(world.cloud, world.clock.wall()))

    assert asleep["cost"] == "no machines: nothing bills by the hour"
    assert not asleep["active"]
    assert not asleep["led"]
    assert active["cost"] == "1 machine: $0.10 an hour"
    assert active["led"]
    world.fleet.change("small", price=None)
    guessed = described(survey(world.cloud, world.clock.wall()))
    assert guessed["cost"] == "1 machine: about $0.08 an hour, by guess"
    assert active["pools"][0]["name"] == "jobs/f"
    assert active["machines"][0]["state"] == "serving"
    assert active["story"][0]["did"]
    json.dumps(active)


def test_people_see_what_is_warm_and_what_that_costs():
    world = World(classes=[replace(SMALL, warm_price=0.006)], warm=2)
    asleep = described(survey(world.cloud, world.clock.wall()))
    world.submit(3)
    a_planner(world).tick()
    join(world, "small-1")
    active = described(survey(world.cloud, world.clock.wall()))

    assert asleep["cost"] == "0 machines and 2 warm: $0.01 an hour"
    assert not asleep["active"]
    assert [each["state"] for each in asleep["machines"]] == ["warm", "warm"]
    assert active["cost"] == "1 machine and 1 warm: $0.11 an hour"
    assert [each["state"] for each in active["machines"]] == ["serving", "warm"]


def test_settings_that_a_schedule_of_the_provider_wrote_count(world):
    written = Scheduled({"min_containers": 5}, "schedule sc-1", world.clock.wall())
    cloud = replace(world.cloud, scheduled=Wrote({world.function_id: written}))
    planner = open_planner(cloud, "p1", world.clock, SETTINGS)

    (fate,) = planner.tick().decision.pools

    assert (fate.desired, fate.limiting) == (5, "min")


@dataclass
class Wrote:
    """What schedules wrote."""

    found: dict[str, Scheduled]

    def read(self):
        return self.found


# ------------------------------------------------------------------------------------- processes


def test_two_planners_take_turns(world):
    first, second = a_planner(world, "p1"), a_planner(world, "p2")
    world.submit(1)

    assert first.tick().led
    assert not second.tick().led
    first.leave()
    assert second.tick().led
    assert len(world.fleet.instances()) == 1
