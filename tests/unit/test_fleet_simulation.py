"""A whole environment in virtual time: bursts, refusals, deaths, and planners that come and go."""

from dataclasses import replace

import pytest

from cloudfn.providers.fleet import InstanceState
from tests.unit.fleet_sim import SMALL, World

SEEDS = range(3)


@pytest.fixture(params=SEEDS)
def world(request):
    return World(request.param)


def test_a_burst_is_served_by_many_machines_and_none_is_left(world):
    pool = world.add_function("f")
    world.add_planner("p1")

    world.ledger.add(pool, *[world.random.uniform(20, 200) for _ in range(60)])
    world.settle()

    assert world.wrong == []
    assert 3 <= world.most_machines <= 12


def test_many_short_inputs_do_not_open_many_machines(world):
    pool = world.add_function("f")
    world.add_planner("p1")

    world.ledger.add(pool, *[world.random.uniform(0.1, 1) for _ in range(200)])
    world.settle()

    assert world.wrong == []
    assert world.most_machines == 1


def test_a_drip_keeps_one_machine(world):
    pool = world.add_function("f")
    world.add_planner("p1")

    def drip():
        if world.random.random() < 0.1:
            world.ledger.add(pool, world.random.uniform(0.5, 5))

    world.run(1_200, drip)
    assert world.most_machines == 1
    world.settle()

    assert world.wrong == []


def test_several_pools_share_machines_and_none_exceeds_its_maximum(world):
    pools = [
        world.add_function(f"f{n}", max_containers=world.random.randint(1, 6)) for n in range(6)
    ]
    world.add_planner("p1")

    def arrive():
        if world.random.random() < 0.3:
            pool = world.random.choice(pools)
            world.ledger.add(pool, *[world.random.uniform(1, 20)] * world.random.randint(1, 4))

    world.run(600, arrive)
    world.settle()

    assert world.wrong == []


def test_refused_capacity_is_waited_for_and_the_other_class_is_used_meanwhile(world):
    spot = replace(SMALL, name="spot", spot=True, price=0.03)
    world = World(world.random.random(), classes=(spot, replace(SMALL, max_machines=4)))
    pool = world.add_function("f")
    world.add_planner("p1")
    world.fleet.refuse("spot", "InsufficientInstanceCapacity", left=1)

    world.ledger.add(pool, *[300.0] * 40)
    world.run(150)
    first = [each.machine_class for each in world.fleet.instances()]
    world.fleet.refuse("spot", "")
    world.run(150)
    second = [each.machine_class for each in world.fleet.instances()]
    world.settle()

    assert (first.count("spot"), first.count("small")) == (1, 4)
    assert second.count("spot") > 1
    assert world.wrong == []


def test_where_nothing_can_be_had_work_waits_and_people_are_told(world):
    pool = world.add_function("f")
    planner = world.add_planner("p1")
    world.fleet.refuse("small", "InsufficientInstanceCapacity")

    world.ledger.add(pool, 10.0)
    world.run(1)
    notes = planner.tick().decision.notes
    world.run(200)
    world.fleet.refuse("small", "")
    world.settle()

    assert notes == ("1 of f/f: waiting for capacity: small (InsufficientInstanceCapacity)",)
    assert world.wrong == []


def test_machines_that_die_are_replaced_and_their_inputs_run_again(world):
    pool = world.add_function("f")
    world.add_planner("p1")
    world.ledger.add(pool, *[60.0] * 60)

    def disaster():
        if world.random.random() < 0.02 and world.serving():
            world.kill(world.random.choice(world.serving()))

    world.run(600, disaster)
    world.settle()

    assert world.wrong == []


def test_machines_that_are_reclaimed_are_left_in_time(world):
    pool = world.add_function("f")
    world.add_planner("p1")
    world.ledger.add(pool, *[30.0] * 100)
    world.run(120)
    taken = world.serving()[:2]

    for machine_id in taken:
        world.reclaim(machine_id)
    world.run(60)
    having = [w.holder for w in world.ledger.running(pool)]
    world.settle()

    assert not set(having) & set(taken)
    assert world.wrong == []


def test_a_planner_that_dies_while_machines_drain_is_followed_by_another(world):
    pool = world.add_function("f")
    world.add_planner("p1")
    world.ledger.add(pool, *[world.random.uniform(30, 90) for _ in range(60)])

    while world.machines.list() == [] or all(
        row.report.state == "ready" for row in world.machines.list()
    ):
        world.run(1)
    world.planners.clear()
    world.run(world.random.randint(1, 30))
    world.ledger.add(pool, *[5.0] * 10)
    world.add_planner("p2")
    world.settle()

    assert world.wrong == []


def test_two_planners_are_no_worse_than_one(world):
    pool = world.add_function("f", max_containers=20)
    world.add_planner("p1")
    world.add_planner("p2")
    world.ledger.add(pool, *[world.random.uniform(5, 120) for _ in range(80)])

    def stumble():
        # The leader misses its lease now and then.
        if world.random.random() < 0.05:
            world.planners.rotate()
            world.clock.advance(world.random.choice([0, 11]))

    world.run(400, stumble)
    world.settle()

    assert world.wrong == []


def test_min_containers_are_kept_on_few_machines_for_ever(world):
    pool = world.add_function("f", min_containers=3)
    world.add_planner("p1")
    world.ledger.add(pool, *[world.random.uniform(30, 120) for _ in range(40)])

    world.run(1_500)

    assert not world.ledger.left
    assert len(world.fleet.instances()) == 1
    assert [len(agent.containers) for agent in world.agents.values()] == [3]
    assert world.wrong == []


def test_a_planner_that_sleeps_between_invocations_ends_idle_machines_too(world):
    pool = world.add_function("f")
    world.ledger.add(pool, *[world.random.uniform(10, 60) for _ in range(20)])

    for number in range(15):
        planner = world.add_planner(f"p{number}")
        world.run(55)
        planner.leave()
        world.planners.clear()
        world.run(5)

    assert not world.ledger.left
    assert world.fleet.instances() == []
    assert world.wrong == []


def test_instances_that_never_join_are_replaced(world):
    pool = world.add_function("f")
    world.add_planner("p1")
    world.ledger.add(pool, 10.0)
    world.run(1)
    (first,) = world.fleet.instances()
    world.fleet.hang(first.machine_id)

    world.settle()

    assert first.machine_id in world.fleet.retired
    assert first.state == InstanceState.PENDING
    assert world.wrong == []
