"""Laws of the planner of many machines, over random snapshots."""

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudfn.control.planner.fleet_decide import decide_fleet
from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot, Pace, Refusal
from cloudfn.model.gpu import Gpu
from cloudfn.providers.fleet import Instance, InstanceState, MachineClass
from cloudfn.providers.machines import MachineReport, MachineRow, MachineState, PoolReport
from tests.unit.fleet_worlds import LARGE, NOW, SMALL, a_pool

L4 = MachineClass("l4", 8, 32_768, (Gpu(0, "g0", "NVIDIA L4", 23_034),), max_machines=2)
CLASSES = {"small": SMALL, "large": LARGE, "l4": L4}
#: a snapshot takes long to draw
FEW = settings(max_examples=40)
POOLS = ["f@1", "g@1", "h@1"]
IDS = [f"m{n}" for n in range(6)]

reports = st.builds(
    PoolReport,
    starting=st.integers(0, 2),
    idle=st.integers(0, 3),
    busy=st.integers(0, 3),
    held=st.integers(0, 4),
    waiting=st.integers(0, 2),
    service=st.none() | st.sampled_from([0.001, 1.0, 300.0]),
    quiet=st.none() | st.sampled_from([0.0, 30.0, 5_000.0]),
    held_up=st.integers(0, 1),
)


@st.composite
def pools(draw):
    least = draw(st.integers(0, 3))
    return [
        a_pool(
            name,
            live=draw(st.booleans()),
            pending=draw(st.sampled_from([0, 0, 1, 9, 500])),
            running=draw(st.integers(0, 9)),
            cpu=draw(st.sampled_from([0.125, 1.0, 3.0, 64.0])),
            memory=draw(st.sampled_from([128, 3_000])),
            gpu=draw(st.sampled_from([(), (), ("L4",), ("H100",)])),
            target=draw(st.sampled_from([1, 4])),
            min_containers=least,
            max_containers=draw(st.none() | st.integers(max(1, least), 12)),
            buffer_containers=draw(st.integers(0, 3)),
        )
        for name in draw(st.lists(st.sampled_from(POOLS), unique=True))
    ]


@st.composite
def machines(draw):
    """Return rows and instances, some of each without the other."""
    rows, instances = [], []
    for name in draw(st.lists(st.sampled_from(IDS), unique=True)):
        machine_class = draw(st.sampled_from(list(CLASSES.values())))
        age = draw(st.sampled_from([1.0, 100.0, 10_000.0]))
        if draw(st.booleans()):
            report = MachineReport(
                name,
                machine_class.name,
                draw(st.sampled_from(list(MachineState))),
                float(machine_class.cores),
                machine_class.memory,
                machine_class.gpus,
                joined=NOW - age,
                pools=draw(st.dictionaries(st.sampled_from(POOLS), reports)),
                ends=draw(st.sampled_from([None, None, None, NOW + 60])),
            )
            heard = NOW - draw(st.sampled_from([0.0, 5.0, 40.0, 900.0]))
            rows.append(MachineRow(report, heard, heard + 30))
        if draw(st.booleans()):
            state = draw(st.sampled_from(list(InstanceState)))
            launched = draw(st.sampled_from([None, NOW - age]))
            instances.append(Instance(name, machine_class.name, state, "z", launched))
    return rows, instances


times = st.dictionaries(st.sampled_from(IDS), st.sampled_from([NOW - 900, NOW - 10]))
memories = st.builds(
    FleetMemory,
    epoch=st.sampled_from([0, 1]),
    led_since=st.sampled_from([NOW - 900, NOW - 10]),
    idle_since=times,
    parked=times,
    drained=times,
    seen=times,
    paces=st.dictionaries(st.sampled_from(POOLS), st.sampled_from([Pace(), Pace(300.0, 5.0)])),
    quotas=st.dictionaries(
        st.sampled_from(IDS), st.dictionaries(st.sampled_from(POOLS), st.integers(0, 5))
    ),
    refusals=st.sampled_from([(), (Refusal("small", NOW - 10, "none"),)]),
    active_at=st.dictionaries(st.sampled_from(POOLS), st.sampled_from([NOW - 900, NOW - 10])),
)


@st.composite
def snapshots(draw):
    rows, instances = draw(machines())
    names = draw(st.lists(st.sampled_from(list(CLASSES)), unique=True))
    classes = [
        replace(CLASSES[name], no_retiring=draw(st.sampled_from(["", "", "a refresh"])))
        for name in names
    ]
    return FleetSnapshot(
        NOW, 1, tuple(draw(pools())), tuple(classes), tuple(instances), tuple(rows), draw(memories)
    )


def have(row, pool):
    report = row.report.pools.get(pool, PoolReport())
    return report.starting + report.idle + report.busy


@FEW
@given(snapshots())
def test_a_pool_can_never_have_more_containers_than_its_maximum(snapshot):
    """Neither now nor while machines have not heard what they may have."""
    decision = decide_fleet(snapshot)

    rows = {row.report.machine_id: row for row in snapshot.machines}
    for pool in snapshot.pools:
        limit = pool.settings.max_containers
        if limit is None:
            continue
        quotas = {name: each.get(pool.pool, 0) for name, each in decision.quotas.items()}
        assert sum(quotas.values()) <= limit
        before = {
            name: max(
                have(rows[name], pool.pool), snapshot.memory.quotas.get(name, {}).get(pool.pool, 0)
            )
            for name in quotas
        }
        if sum(before.values()) <= limit:
            assert sum(max(quotas[name], before[name]) for name in quotas) <= limit


@FEW
@given(snapshots())
def test_no_class_can_have_more_machines_than_it_may(snapshot):
    decision = decide_fleet(snapshot)

    for grow in decision.grow:
        there = [i for i in snapshot.present if i.state != InstanceState.ENDING]
        alive = sum(i.machine_class == grow.machine_class for i in there)
        assert grow.count > 0
        assert alive + grow.count <= CLASSES[grow.machine_class].max_machines
        assert not any(
            each.machine_class == grow.machine_class for each in snapshot.memory.refusals
        )


@FEW
@given(snapshots())
def test_only_machines_that_say_that_they_are_empty_or_say_nothing_are_ended(snapshot):
    decision = decide_fleet(snapshot)

    rows = {row.report.machine_id: row for row in snapshot.machines}
    for gone in decision.retire:
        row = rows.get(gone.machine_id)
        assert row is None or row.lease_until < NOW or row.report.state == MachineState.EMPTY
        assert gone.machine_id in {each.machine_id for each in snapshot.instances}


@FEW
@given(snapshots())
def test_no_machine_drains_that_work_needs_or_that_is_not_settled(snapshot):
    decision = decide_fleet(snapshot)

    rows = {row.report.machine_id: row for row in snapshot.machines}
    for drain in decision.drain:
        report = rows[drain.machine_id].report
        assert report.state == MachineState.READY
        assert all(not have(rows[drain.machine_id], pool) for pool in report.pools)
        assert decision.quotas[drain.machine_id] == {}


@FEW
@given(snapshots())
def test_quotas_are_for_machines_that_serve_alone(snapshot):
    decision = decide_fleet(snapshot)

    rows = {row.report.machine_id: row for row in snapshot.machines}
    for name, quotas in decision.quotas.items():
        row = rows[name]
        assert row.lease_until > NOW
        assert row.report.state == MachineState.READY
        assert row.report.ends is None
        assert all(count > 0 for count in quotas.values())
        kept = decision.kept.get(name, {})
        assert all(kept[pool] <= quotas.get(pool, 0) for pool in kept)


@FEW
@given(snapshots())
def test_a_stored_snapshot_gives_the_same_decision(snapshot):
    stored = FleetSnapshot.from_json(json.loads(json.dumps(snapshot.to_json())))

    assert stored == snapshot
    assert decide_fleet(stored) == decide_fleet(snapshot)


@FEW
@given(snapshots())
def test_what_was_asked_for_one_pool_is_not_asked_for_again(snapshot):
    # Others may be packed otherwise once they have a place; a buffer comes when the need has its.
    alone = [
        replace(pool, settings=replace(pool.settings, buffer_containers=0))
        for pool in snapshot.pools[:1]
    ]
    snapshot = replace(snapshot, pools=tuple(alone))
    first = decide_fleet(snapshot)
    memory = first.memory
    for grow in first.grow:
        memory = memory.after_asking(grow.machine_class, grow.count, (), "", NOW)

    second = decide_fleet(replace(snapshot, memory=memory))

    assert second.grow == ()
