"""How an environment with many machines is planned: containers, machines, and reasons."""

import json
from dataclasses import replace

import pytest

from cloudfn.control.planner.fleet_decide import decide_fleet
from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot, Refusal
from cloudfn.model.gpu import Gpu
from cloudfn.providers.fleet import Instance, InstanceState, MachineClass
from cloudfn.providers.machines import ContainerReport, ContainerState, MachineState
from tests.unit.fleet_worlds import (
    IDLE,
    LARGE,
    NOW,
    SETTLED,
    SMALL,
    a_machine,
    a_pool,
    a_snapshot,
    asked,
    fate,
    has,
    instance_of,
    knowing,
    total,
)

# ---------------------------------------------------------------------------------------- growing


def test_an_environment_without_work_has_no_machines_and_is_asleep():
    decision = decide_fleet(a_snapshot([a_pool()]))

    assert not decision.grow
    assert not decision.active


def test_the_first_input_of_a_pool_gets_a_machine_however_short_it_is():
    decision = decide_fleet(a_snapshot([a_pool(pending=1)], memory=knowing(0.001)))

    assert asked(decision) == {"small": 1}
    assert decision.active


def test_machines_are_booted_only_for_work_that_will_still_be_there():
    short = decide_fleet(a_snapshot([a_pool(pending=200)], memory=knowing(1.0)))
    long = decide_fleet(a_snapshot([a_pool(pending=200)], memory=knowing(300.0)))

    assert asked(short) == {"small": 1}
    assert asked(long) == {"small": 10}
    assert "not worth another machine" in fate(short).reason


def test_machines_that_boot_count():
    booting = [Instance(f"i{n}", "small", InstanceState.PENDING, "", NOW - 10) for n in range(3)]
    snapshot = a_snapshot([a_pool(pending=12)], memory=knowing(300.0), instances=booting)

    decision = decide_fleet(snapshot)

    assert not decision.grow
    assert fate(decision).coming == 12


def test_machines_that_were_asked_for_count_before_the_fleet_lists_them():
    memory = knowing(300.0).after_asking("small", 3, ("i1",), "", NOW - 2)

    decision = decide_fleet(a_snapshot([a_pool(pending=12)], memory=memory))

    assert not decision.grow


def test_what_was_asked_for_is_counted_once_when_it_appears():
    memory = knowing(300.0).after_asking("small", 2, ("i1",), "", NOW - 2)
    booting = [Instance(f"i{n}", "small", InstanceState.PENDING, "", NOW - 2) for n in (1, 2)]

    decision = decide_fleet(a_snapshot([a_pool(pending=12)], memory=memory, instances=booting))

    assert asked(decision) == {"small": 1}
    assert not decision.memory.asked


def test_no_class_gets_more_machines_than_it_may_have():
    decision = decide_fleet(
        a_snapshot([a_pool(pending=10_000)], memory=knowing(600.0), classes=(SMALL, LARGE))
    )

    assert asked(decision) == {"small": 10, "large": 4}
    assert any("has all of its 10" in note for note in decision.notes)


def test_a_refused_class_is_left_alone_for_three_minutes_and_the_next_one_asked_at_once():
    spot = replace(SMALL, name="spot", spot=True)
    refused = Refusal("spot", NOW - 100, "InsufficientInstanceCapacity", 3)
    pools, classes = [a_pool(pending=4)], (spot, SMALL)

    before = decide_fleet(a_snapshot(pools, classes=classes, memory=knowing(300.0)))
    within = decide_fleet(
        a_snapshot(pools, classes=classes, memory=replace(knowing(300.0), refusals=(refused,)))
    )
    later = decide_fleet(
        a_snapshot(
            pools,
            classes=classes,
            memory=replace(knowing(300.0), refusals=(replace(refused, at=NOW - 180),)),
        )
    )

    assert asked(before) == asked(later) == {"spot": 1}
    assert asked(within) == {"small": 1}


def test_people_are_told_what_capacity_is_waited_for():
    refused = Refusal("small", NOW - 1, "InsufficientInstanceCapacity", 3)

    decision = decide_fleet(
        a_snapshot([a_pool(pending=4)], memory=replace(knowing(9.0), refusals=(refused,)))
    )

    assert not decision.grow
    assert decision.notes == (
        "1 of f@1: waiting for capacity: small (InsufficientInstanceCapacity ×3)",
    )


def test_no_further_machine_is_asked_for_what_cannot_start_where_it_was_tried():
    row = a_machine(pools=has(trouble="its image is gone"))

    decision = decide_fleet(a_snapshot([a_pool(pending=900)], [row], memory=knowing(300.0)))

    assert not decision.grow
    assert decision.notes == ("f@1: its image is gone",)
    assert decision.quotas["m1"]["f@1"] > 0


def test_min_and_buffer_get_machines_although_there_is_no_work():
    idle = decide_fleet(a_snapshot([a_pool(min_containers=9)]))
    active = replace(SETTLED, active_at={"f@1": NOW - 5})
    buffered = decide_fleet(a_snapshot([a_pool(buffer_containers=5)], memory=active))
    inactive = decide_fleet(a_snapshot([a_pool(buffer_containers=5)]))

    assert asked(idle) == {"small": 3}
    assert asked(buffered) == {"small": 2}
    assert asked(inactive) == {}


def test_max_wins_over_min_and_need():
    decision = decide_fleet(
        a_snapshot([a_pool(pending=100, max_containers=3)], memory=knowing(300.0))
    )

    assert fate(decision).desired == 3
    assert fate(decision).limiting == "max"
    assert asked(decision) == {"small": 1}


def test_a_class_that_cannot_grow_just_now_is_passed_over():
    frozen = replace(SMALL, name="frozen", no_growth="its launches are suspended")

    one = decide_fleet(a_snapshot([a_pool(pending=1)], classes=(frozen, SMALL)))
    none = decide_fleet(a_snapshot([a_pool(pending=1)], classes=(frozen,)))

    assert asked(one) == {"small": 1}
    assert "its launches are suspended" in none.notes[0]


# ------------------------------------------------------------------------------------------- gpus

L4 = MachineClass(
    "l4", cores=8, memory=32_768, gpus=(Gpu(0, "", "NVIDIA L4", 23_034),), max_machines=5
)


def test_work_without_gpus_opens_no_machine_with_one():
    decision = decide_fleet(
        a_snapshot([a_pool(pending=100)], classes=(L4, SMALL), memory=knowing(300.0))
    )

    assert asked(decision) == {"small": 10}


def test_work_without_gpus_stays_away_from_machines_that_have_one():
    row = a_machine("g1", "l4", cores=8.0, memory=32_768, gpus=L4.gpus)

    decision = decide_fleet(a_snapshot([a_pool(pending=2)], [row], classes=(L4, SMALL)))

    assert asked(decision) == {"small": 1}
    assert decision.quotas["g1"] == {}


def test_work_without_gpus_runs_where_there_are_no_other_machines():
    decision = decide_fleet(a_snapshot([a_pool(pending=1)], classes=(L4,)))

    assert asked(decision) == {"l4": 1}


def test_a_gpu_is_for_one_container_or_for_parts_of_several():
    whole = a_pool("w@1", pending=2, gpu=("L4",))
    parts = a_pool("p@1", pending=6, gpu=("L4",), gpu_memory=11_000)
    memory = knowing(300.0, "w@1", knowing(300.0, "p@1"))

    one = decide_fleet(a_snapshot([whole], classes=(L4,), memory=memory))
    other = decide_fleet(a_snapshot([parts], classes=(L4,), memory=memory))

    assert asked(one) == {"l4": 2}
    assert asked(other) == {"l4": 3}


def test_a_gpu_that_no_class_has_is_said():
    decision = decide_fleet(a_snapshot([a_pool(pending=1, gpu=("H100",))], classes=(L4, SMALL)))

    assert not decision.grow
    assert decision.notes == (
        "1 of f@1 cannot run: no machine class has machines with H100 for them",
    )


def test_what_is_larger_than_any_machine_gets_the_largest():
    decision = decide_fleet(a_snapshot([a_pool(pending=1, cpu=64)], classes=(SMALL, LARGE)))

    assert asked(decision) == {"large": 1}


def test_a_class_whose_machines_are_smaller_than_it_says_is_not_asked_for_ever():
    row = a_machine(memory=4_000)
    pool = a_pool(pending=1, memory=4_050)

    decision = decide_fleet(a_snapshot([pool], [row], memory=knowing(300.0)))

    assert not decision.grow
    assert total(decision) == 1


# ----------------------------------------------------------------------------------------- quotas


def test_what_is_busy_stays_where_it_is_and_further_ones_go_to_the_fullest_machine():
    rows = [a_machine("m1", pools=has(busy=1, held=1)), a_machine("m2", pools=has(busy=2, held=2))]

    decision = decide_fleet(
        a_snapshot([a_pool(pending=1, running=3, max_containers=4)], rows, memory=knowing(300.0))
    )

    assert decision.quotas == {"m1": {"f@1": 1}, "m2": {"f@1": 3}}


def test_idle_containers_get_the_work_before_new_ones_start():
    rows = [
        a_machine("m1", pools=has(idle=1)),
        a_machine("m2", pools=has("g@1", busy=2, held=2)),
    ]
    pools = [a_pool(pending=1, max_containers=1), a_pool("g@1", running=2, max_containers=2)]

    decision = decide_fleet(a_snapshot(pools, rows))

    assert decision.quotas == {"m1": {"f@1": 1}, "m2": {"g@1": 2}}


def test_idle_containers_keep_their_place_for_their_window():
    rows = [a_machine("m1", pools=has(idle=3, quiet=5.0))]

    decision = decide_fleet(a_snapshot([a_pool(max_containers=3)], rows))

    assert decision.quotas == {"m1": {"f@1": 3}}
    assert decision.kept == {}


def test_min_is_kept_once_and_not_on_each_machine():
    rows = [
        a_machine("m1", pools=has(idle=2, quiet=5.0)),
        a_machine("m2", pools=has(idle=1, quiet=5.0)),
    ]

    decision = decide_fleet(a_snapshot([a_pool(min_containers=2)], rows))

    assert decision.kept == {"m1": {"f@1": 2}}


def test_a_pool_that_had_work_lately_may_grow_at_once_on_the_fullest_machine_alone():
    rows = [a_machine("m1"), a_machine("m2", pools=has("g@1", busy=1, held=1))]
    memory = replace(SETTLED, active_at={"f@1": NOW - 100})

    decision = decide_fleet(
        a_snapshot([a_pool(), a_pool("g@1", running=1, max_containers=1)], rows, memory=memory)
    )

    assert decision.quotas == {"m1": {}, "m2": {"g@1": 1, "f@1": 3}}


def test_a_pool_that_had_work_lately_goes_on_to_have_what_it_may_have_although_it_has_a_maximum():
    rows = [a_machine("m1", pools=has(idle=1, quiet=5.0))]
    memory = replace(SETTLED, quotas={"m1": {"f@1": 3}}, active_at={"f@1": NOW - 5})
    snapshot = a_snapshot([a_pool(max_containers=3)], rows, memory=memory)

    first = decide_fleet(snapshot)
    second = decide_fleet(replace(snapshot, memory=first.memory))

    assert (first.quotas, second.quotas) == ({"m1": {"f@1": 3}}, {"m1": {"f@1": 3}})


@pytest.mark.parametrize("idle", [0, 1, 3])
def test_a_maximum_that_was_lowered_holds_for_what_a_pool_might_have_had(idle):
    rows = [a_machine("m1", pools=has(idle=idle, quiet=5.0)), a_machine("m2")]
    quotas = {"m1": {"f@1": 3}, "m2": {"f@1": 1}}
    memory = replace(SETTLED, quotas=quotas, active_at={"f@1": NOW - 5})

    decision = decide_fleet(a_snapshot([a_pool(max_containers=2)], rows, memory=memory))

    assert total(decision) <= 2


def test_a_maximum_holds_while_a_machine_has_not_heard_that_its_quota_was_lowered():
    rows = [
        a_machine("m1", heard=NOW - 3, pools=has(busy=1, held=1)),
        a_machine("m2", pools=has(busy=3, held=3)),
    ]
    memory = replace(knowing(300.0), quotas={"m1": {"f@1": 4}, "m2": {"f@1": 3}})
    pool = a_pool(pending=9, running=4, max_containers=7, cpu=0.6)

    first = decide_fleet(a_snapshot([pool], rows, memory=memory))
    later = decide_fleet(
        a_snapshot(
            [pool],
            [a_machine("m1", heard=NOW, pools=has(busy=1, held=1)), rows[1]],
            memory=replace(
                first.memory, lowered=tuple(replace(x, at=NOW - 9) for x in first.memory.lowered)
            ),
        )
    )

    assert total(first) + 4 - first.quotas["m1"]["f@1"] <= 7
    assert total(later) == 6


def test_machines_that_leave_or_are_silent_or_reclaimed_get_nothing():
    rows = [
        a_machine("draining", state=MachineState.DRAINING),
        a_machine("silent", heard=NOW - 40),
        a_machine("spot", spot=True, ends=NOW + 110),
        a_machine("taken"),
    ]
    instances = [
        *(instance_of(row) for row in rows[:3]),
        instance_of(rows[3], InstanceState.ENDING),
    ]

    decision = decide_fleet(
        a_snapshot([a_pool(pending=5)], rows, instances=instances, memory=knowing(300.0))
    )

    assert decision.quotas == {}
    assert asked(decision) == {"small": 2}
    assert decision.draining == {"draining", "spot", "taken"}
    assert not decision.retire


def test_inputs_of_a_silent_machine_wait_for_others():
    rows = [a_machine("silent", heard=NOW - 40, pools=has(busy=3, held=3)), a_machine("m2")]

    decision = decide_fleet(a_snapshot([a_pool(running=3)], rows, memory=knowing(300.0)))

    assert decision.quotas["m2"]["f@1"] >= 3


def test_a_pool_without_any_place_may_run_one_beyond_the_room():
    rows = [a_machine(pools=has("g@1", busy=4, held=4))]
    pools = [a_pool("g@1", running=4), a_pool("f@1", pending=1)]
    full = replace(SMALL, max_machines=1)

    decision = decide_fleet(a_snapshot(pools, rows, classes=(full,), memory=knowing(9.0, "g@1")))

    assert decision.quotas["m1"]["f@1"] == 1


def test_what_takes_much_longer_than_it_used_to_is_not_waited_for():
    rows = [a_machine(pools=has(busy=2, held=2))]
    pool = a_pool(pending=2, running=2)
    memory = knowing(0.01)

    before = decide_fleet(a_snapshot([pool], rows, memory=memory))
    after = decide_fleet(
        a_snapshot([pool], rows, memory=replace(memory, waiting_since={"f@1": NOW - 30}))
    )

    assert fate(before).desired == 2
    assert fate(after).desired == 4


# ------------------------------------------------------------------------------------------ facts


def test_the_cost_is_that_of_all_machines_that_there_are():
    priced, unknown = replace(SMALL, price=0.25), replace(LARGE, price=None)
    instances = [
        Instance("i1", "small", InstanceState.PENDING),
        Instance("i2", "small", InstanceState.ENDING),
        Instance("i3", "large", InstanceState.IN_SERVICE),
    ]

    decision = decide_fleet(a_snapshot([], instances=instances, classes=(priced, unknown)))

    assert (decision.cost, decision.guessed) == (round(0.5 + 16 * 0.033 + 64 * 0.0042, 4), 1)


def test_a_stored_snapshot_gives_the_same_decision():
    rows = [
        a_machine("m1", pools=has(busy=2, held=2, service=3.0, start_time=0.5)),
        a_machine("g1", "l4", cores=8.0, memory=32_768, gpus=L4.gpus),
        a_machine("m3", state=MachineState.DRAINING),
    ]
    memory = replace(
        knowing(7.0, "g@1", IDLE),
        refusals=(Refusal("small", NOW - 5, "none", 2),),
        quotas={"m1": {"f@1": 4}},
        heard={"m1": (3, NOW - 5)},
    ).after_asking("l4", 1, (), "", NOW)
    pools = [a_pool(pending=9, running=2), a_pool("g@1", pending=2, gpu=("L4",))]
    snapshot = a_snapshot(pools, rows, memory=memory, classes=(SMALL, L4), keep_alive=90.0)
    first = decide_fleet(snapshot)
    second = a_snapshot(pools, rows, memory=first.memory, classes=(SMALL, L4))

    for each in (snapshot, second):
        stored = FleetSnapshot.from_json(json.loads(json.dumps(each.to_json())))
        assert stored == each
        assert decide_fleet(stored) == decide_fleet(each)


def test_a_stored_snapshot_names_no_containers_which_decide_nothing():
    named = (ContainerReport("ta-1", ContainerState.BUSY, 5),)
    rows = [a_machine("m1", pools=has(busy=1, containers=named))]
    snapshot = a_snapshot([a_pool(running=1)], rows)

    text = json.dumps(snapshot.to_json())

    assert "ta-1" not in text
    assert decide_fleet(FleetSnapshot.from_json(json.loads(text))) == decide_fleet(snapshot)


def test_a_memory_of_a_newer_writer_is_read_as_far_as_it_is_known():
    data = {**knowing(1.0).to_json(), "invented": 1}

    assert FleetMemory.from_json(json.loads(json.dumps(data))) == knowing(1.0)


def test_learned_boots_and_shapes_are_kept():
    row = a_machine("m1", joined=NOW - 10, memory=4_000)
    instances = [Instance("m1", "small", InstanceState.IN_SERVICE, "", NOW - 55)]

    memory = decide_fleet(a_snapshot([], [row], instances=instances)).memory

    assert memory.boots == {"small": 45.0}
    assert memory.shapes["small"].memory == 4_000


def test_an_agent_that_starts_anew_on_an_old_machine_says_nothing_about_boots():
    row = a_machine("m1", joined=NOW - 10)
    instances = [Instance("m1", "small", InstanceState.IN_SERVICE, "", NOW - 3_600)]

    assert decide_fleet(a_snapshot([], [row], instances=instances)).memory.boots == {}


# ------------------------------------------------------------------------------------------ warm


def warm(count, machine_class="small"):
    return [Instance(f"w{n}", machine_class, InstanceState.WARM) for n in range(count)]


def test_warm_machines_neither_serve_nor_boot_and_nobody_ends_them():
    decision = decide_fleet(a_snapshot([a_pool(pending=1)], instances=warm(3)))

    assert asked(decision) == {"small": 1}
    assert not decision.retire
    assert decide_fleet(a_snapshot([a_pool()], instances=warm(3))).active is False


def test_warm_machines_leave_a_class_all_that_it_may_have():
    snapshot = a_snapshot([a_pool(pending=200)], memory=knowing(300.0), instances=warm(5))

    assert asked(decide_fleet(snapshot)) == {"small": 10}


def test_a_warm_machine_that_is_called_is_the_one_that_was_asked_for():
    memory = knowing(300.0).after_asking("small", 1, (), "", NOW - 2)
    first = decide_fleet(a_snapshot([a_pool(pending=4)], memory=memory, instances=warm(2)))
    assert len(first.memory.asked) == 1
    called = [Instance("w0", "small", InstanceState.PENDING), *warm(2)[1:]]

    decision = decide_fleet(a_snapshot([a_pool(pending=4)], memory=first.memory, instances=called))

    assert not decision.memory.asked
    assert not decision.grow


def test_a_machine_that_was_warm_for_long_has_all_its_time_to_join():
    seen = decide_fleet(a_snapshot(instances=warm(1))).memory
    called = [Instance("w0", "small", InstanceState.PENDING)]
    later = replace(a_snapshot(instances=called, memory=seen), now=NOW + 86_400)

    assert not decide_fleet(later).retire


def test_what_is_warm_costs_its_disk():
    stopped = replace(SMALL, price=0.1, warm_price=0.01)
    serving = [instance_of(a_machine())]

    decision = decide_fleet(
        a_snapshot([], [a_machine()], classes=[stopped], instances=[*serving, *warm(2)])
    )

    assert (decision.cost, decision.guessed) == (0.12, 0)
    running = decide_fleet(a_snapshot(classes=[replace(SMALL, price=0.1)], instances=warm(2)))
    assert running.cost == 0.2


# ------------------------------------------------------------------------------------- platforms

ARM = replace(SMALL, name="arm", architecture="arm64")


def test_a_pool_gets_machines_of_its_platform_alone():
    arm = a_pool("a@1", pending=1, platform="linux/arm64")
    amd = a_pool("b@1", pending=1, platform="linux/amd64")

    decision = decide_fleet(a_snapshot([arm, amd], classes=[SMALL, ARM]))

    assert asked(decision) == {"small": 1, "arm": 1}
    assert asked(decide_fleet(a_snapshot([arm, arm], classes=[SMALL, ARM]))) == {"arm": 1}


def test_room_on_a_machine_of_another_platform_is_none():
    pool = a_pool(pending=1, platform="linux/arm64")

    decision = decide_fleet(a_snapshot([pool], [a_machine()], classes=[SMALL, ARM]))

    assert total(decision) == 0
    assert asked(decision) == {"arm": 1}


def test_a_pool_without_a_platform_runs_anywhere():
    decision = decide_fleet(a_snapshot([a_pool(pending=1)], [a_machine()], classes=[SMALL, ARM]))

    assert total(decision) >= 1
    assert not decision.grow


def test_it_is_said_that_no_class_is_of_a_platform():
    pool = a_pool(pending=1, platform="linux/arm64")

    decision = decide_fleet(a_snapshot([pool]))

    assert not decision.grow
    assert "no machine class of linux/arm64 has machines" in decision.notes[0]
