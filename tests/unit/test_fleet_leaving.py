"""Which machines leave an environment, when, and in what order."""

from dataclasses import replace

import pytest

from cloudfn.control.planner.fleet_decide import decide_fleet
from cloudfn.providers.fleet import Instance, InstanceState
from cloudfn.providers.machines import MachineState
from tests.unit.fleet_worlds import (
    IDLE,
    LARGE,
    NOW,
    SETTLED,
    SMALL,
    a_machine,
    a_pool,
    a_snapshot,
    has,
)


def test_an_idle_machine_is_parked_then_drained_then_retired():
    row = a_machine("m1")

    parked = decide_fleet(a_snapshot([a_pool()], [row], memory=IDLE))
    memory = replace(parked.memory, parked={"m1": NOW - 3})
    drained = decide_fleet(a_snapshot([a_pool()], [row], memory=memory))
    empty = a_machine("m1", state=MachineState.EMPTY)
    retired = decide_fleet(a_snapshot([a_pool()], [empty], memory=drained.memory))

    assert parked.memory.parked == {"m1": NOW}
    assert not parked.drain
    assert [each.machine_id for each in drained.drain] == ["m1"]
    assert drained.draining == {"m1"}
    assert not drained.retire
    assert [each.machine_id for each in retired.retire] == ["m1"]


def test_a_parked_machine_that_is_needed_again_stays():
    memory = replace(IDLE, parked={"m1": NOW - 3})

    decision = decide_fleet(a_snapshot([a_pool(pending=1)], [a_machine("m1")], memory=memory))

    assert not decision.drain
    assert decision.memory.parked == {}
    assert decision.quotas["m1"]["f@1"] == 1


@pytest.mark.parametrize(
    "memory",
    [
        replace(IDLE, led_since=NOW - 30),
        replace(IDLE, epoch=0),
        replace(IDLE, grown={"small": NOW - 30}),
        replace(IDLE, idle_since={"m1": NOW - 100, "m2": NOW - 100}),
    ],
    ids=["leads for 30 s", "leads since now", "grew 30 s ago", "idle for 100 s"],
)
def test_nothing_is_parked_too_early(memory):
    decision = decide_fleet(
        a_snapshot([a_pool()], [a_machine("m1"), a_machine("m2")], memory=memory)
    )

    assert not decision.memory.parked
    assert not decision.drain


def test_a_new_leader_ends_nothing_until_all_were_heard_twice():
    rows = [a_machine("m1"), a_machine("m2")]
    memory = replace(IDLE, led_since=NOW - 12, heard={"m1": (1, NOW - 5), "m2": (1, NOW)})

    once = decide_fleet(a_snapshot([a_pool()], rows, memory=memory))
    twice = decide_fleet(
        a_snapshot([a_pool()], [rows[0], a_machine("m2", heard=NOW + 1)], memory=memory)
    )

    assert not once.memory.parked
    assert twice.memory.parked


def test_few_machines_leave_at_once():
    rows = [a_machine(f"m{n}") for n in range(30)]
    memory = replace(SETTLED, idle_since={f"m{n}": NOW - 500 - n for n in range(30)})
    wide = replace(SMALL, max_machines=100)

    first = decide_fleet(a_snapshot([a_pool()], rows, memory=memory, classes=(wide,)))

    assert sorted(first.memory.parked) == ["m27", "m28", "m29"]


def test_a_machine_that_finishes_something_long_keeps_no_idle_one_from_leaving():
    busy = a_machine("m1", state=MachineState.DRAINING, pools=has(busy=1, held=1))
    idle = a_machine("m2")
    memory = replace(SETTLED, idle_since={"m2": NOW - 500}, drained={"m1": NOW - 3_000})

    decision = decide_fleet(a_snapshot([a_pool(running=1)], [busy, idle], memory=memory))

    assert decision.memory.parked == {"m2": NOW}


def test_no_machine_is_ended_during_an_instance_refresh():
    frozen = replace(SMALL, no_retiring="an instance refresh is under way")
    empty = a_machine("m2", state=MachineState.EMPTY)

    decision = decide_fleet(
        a_snapshot([a_pool()], [a_machine("m1"), empty], memory=IDLE, classes=(frozen,))
    )

    assert not decision.memory.parked
    assert not decision.retire
    assert decision.notes == ("no machine of small is ended: an instance refresh is under way",)


def test_instances_that_never_join_are_ended():
    instances = [
        Instance("slow", "small", InstanceState.PENDING, "", NOW - 119),
        Instance("never", "small", InstanceState.PENDING, "", NOW - 121),
        Instance("first", "large", InstanceState.PENDING, "", NOW - 400),
        Instance("stranger", "small", InstanceState.IN_SERVICE, "", NOW - 9_000),
        Instance("new", "small", InstanceState.IN_SERVICE, "", NOW - 9_000),
    ]
    memory = replace(SETTLED, seen={"stranger": NOW - 601, "new": NOW - 500}, boots={"small": 60.0})

    decision = decide_fleet(
        a_snapshot([], instances=instances, memory=memory, classes=(SMALL, LARGE))
    )

    assert [each.machine_id for each in decision.retire] == ["never", "stranger"]


def test_a_class_whose_machines_do_not_join_is_left_alone_for_longer_each_time():
    stuck = Instance("never", "small", InstanceState.PENDING, "", NOW - 500)
    pools, now = [a_pool(pending=1)], NOW

    memory, waits = SETTLED, []
    for _ in range(3):
        snapshot = replace(a_snapshot(pools, instances=[stuck], memory=memory), now=now)
        memory = decide_fleet(snapshot).memory
        alone = replace(snapshot, instances=(), memory=memory)
        while not decide_fleet(replace(alone, now=now)).grow:
            now += 10
        waits.append(now - memory.refusals[0].at)
        stuck = replace(stuck, launched=now - 500)
    joined = a_machine(joined=now, heard=now)
    after = decide_fleet(replace(a_snapshot(pools, [joined], memory=memory), now=now + 1))

    assert waits == [180, 360, 720]
    assert after.memory.refusals == ()


def test_rows_of_machines_that_are_gone_are_forgotten():
    rows = [a_machine("gone", heard=NOW - 200), a_machine("lost", heard=NOW - 100)]

    decision = decide_fleet(a_snapshot([], rows, instances=()))

    assert decision.forget == ("gone",)


def test_the_row_of_a_machine_that_drained_goes_with_the_machine():
    row = a_machine("done", state=MachineState.EMPTY)

    ended = decide_fleet(a_snapshot([], [row], instances=()))
    ending = decide_fleet(a_snapshot([], [row]))

    assert (ended.forget, ending.forget) == (("done",), ())


def test_a_machine_with_containers_or_inputs_is_not_idle():
    rows = [a_machine("m1", pools=has(idle=1)), a_machine("m2", pools=has(waiting=1))]

    decision = decide_fleet(a_snapshot([a_pool()], rows, memory=IDLE))

    assert not decision.memory.idle_since
