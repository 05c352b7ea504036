"""Laws of the planner's policy, over random snapshots."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cloudfn.control.planner.decide import decide
from cloudfn.control.planner.room import current, serving
from cloudfn.control.planner.snapshot import ContainerView, PoolSnapshot, Snapshot
from cloudfn.model.function import AutoscalerSettings
from tests.unit.planner_pools import (
    LONG,
    NOW,
    SHORT,
    TINY,
    a_pool,
    carried_out,
    decided,
    idle,
    seen,
)

# --------------------------------------------------------------------------------------------- laws

counts = st.integers(0, 5)
moments = st.sampled_from([0.0, 1.0, 5.0, 20.0, 59.0, 60.0, 100.0]).map(lambda ago: NOW - ago)


@st.composite
def views(draw: st.DrawFn) -> ContainerView:
    kind = draw(st.sampled_from(["starting", "idle", "busy", "held up", "leaving", "left"]))
    working = kind in ("busy", "held up", "leaving")
    slots = draw(st.sampled_from([1, 4, 10]))
    return ContainerView(
        container_id=f"ta-{draw(st.integers(0, 2**40))}",
        ready=kind != "starting",
        held=draw(st.integers(1, slots)) if working else 0,
        waiting=kind == "held up" or (working and draw(st.booleans())),
        last_used=draw(moments),
        draining=kind in ("leaving", "left"),
        running=draw(st.sampled_from([0.0, 1e-5, 0.03, 0.2, 9.0])) if working else 0.0,
        slots=slots,
    )


@st.composite
def settings(draw: st.DrawFn) -> AutoscalerSettings:
    least = draw(counts)
    return AutoscalerSettings(
        min_containers=least,
        max_containers=draw(st.none() | st.integers(max(1, least), 9)),
        buffer_containers=draw(counts),
        scaledown_window=draw(st.sampled_from([2, 20, 60])),
    )


pools = st.builds(
    PoolSnapshot,
    pool=st.sampled_from(["fu-1@1", "fu-2@1", "fu-3@1"]),
    settings=settings(),
    live=st.booleans(),
    waiting=st.sampled_from([0, 0, 1, 2, 7, 1_000]),
    service=st.sampled_from([None, 0.0, TINY, SHORT, 0.06, LONG]),
    start_time=st.sampled_from([0.0, 0.05, 2.0]),
    last_active=moments | st.just(float("-inf")),
    cpu=st.sampled_from([0.125, 0.1, 0.5, 1.0]),
    memory=st.sampled_from([16, 128, 500]),
    containers=st.lists(views(), max_size=8, unique_by=lambda c: c.container_id).map(tuple),
    single_use=st.booleans(),
    target=st.sampled_from([1, 1, 3, 10]),
    alone=st.booleans(),
    blocked_until=st.sampled_from([0.0, NOW + 1]),
    last_lowered=moments,
)
snapshots = st.builds(
    Snapshot,
    now=st.just(NOW),
    pools=st.lists(pools, min_size=1, max_size=3, unique_by=lambda p: p.pool).map(tuple),
    cores=st.sampled_from([1.0, 2.0, 16.0]),
    memory=st.sampled_from([512, 2_048, 100_000]),
)


def reach(pool: PoolSnapshot) -> int:
    """The first container of a pool that can work is granted whatever the room."""
    return 1 + sum(c.busy and c.waiting for c in pool.containers)


@given(snapshots)
def test_a_decision_that_is_carried_out_is_not_made_again(snapshot):
    after = carried_out(snapshot, decide(snapshot), gone=False)

    assert [(d.start, d.stop) for d in decide(after)] == [(0, ())] * len(after.pools)


@given(snapshots)
def test_what_leaves_is_replaced_by_nothing_but_what_waits_for_its_place(snapshot):
    first = decide(snapshot)
    second = decide(carried_out(snapshot, first))

    for before, after in zip(first, second, strict=True):
        assert after.stop == ()
        assert after.start <= max(0, before.desired - before.current - before.start)


@given(snapshots)
def test_max_is_never_exceeded_and_nothing_starts_above_it(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        limit = pool.settings.max_containers
        if limit is not None:
            assert decision.desired <= limit
            assert len(serving(pool)) - len(decision.stop) <= limit
            assert not decision.start or len(pool.containers) + decision.start <= limit


@given(pools)
def test_min_is_kept_by_every_live_pool_that_can_start_containers(pool):
    decision = decided(replace(pool, blocked_until=0.0))

    if pool.live:
        assert decision.desired >= pool.settings.min_containers


@given(snapshots, st.integers(0, 2_000))
def test_more_waiting_inputs_never_mean_fewer_containers(snapshot, more):
    first, *others = snapshot.pools
    crowded = replace(snapshot, pools=(replace(first, waiting=first.waiting + more), *others))

    before, after = decide(snapshot)[0], decide(crowded)[0]

    assert after.desired >= before.desired
    assert len(after.stop) <= len(before.stop)


@given(snapshots)
def test_no_busy_container_is_stopped_while_an_idle_one_stays(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        stopped_busy = any(c.busy and c.container_id in decision.stop for c in pool.containers)
        idle_left = [c for c in serving(pool) if not c.busy and c.container_id not in decision.stop]

        assert not (stopped_busy and idle_left)
        assert not stopped_busy or decision.limiting in ("max", "machine")


@given(snapshots)
def test_only_containers_that_are_there_and_stay_are_stopped_and_each_once(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        assert len(set(decision.stop)) == len(decision.stop)
        assert set(decision.stop) <= {c.container_id for c in serving(pool)}
        assert not (decision.start and decision.stop)


@given(snapshots)
def test_a_pool_with_inputs_and_no_container_gets_one_at_once(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        if pool.waiting and not pool.containers and not pool.blocked_until:
            assert decision.start >= 1


@given(snapshots)
def test_whoever_waits_for_a_nested_call_never_keeps_the_last_inputs_from_running(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        stuck = all(
            c.busy and c.waiting and c.held >= min(c.slots, pool.target) for c in pool.containers
        )
        limit = pool.settings.max_containers
        if pool.waiting and stuck and not pool.blocked_until and limit is None:
            assert decision.start >= 1
            assert not decision.stop


@given(snapshots)
def test_no_memory_is_given_out_twice(snapshot):
    decisions = decide(snapshot)
    beyond_first = [
        pool
        for pool, decision in zip(snapshot.pools, decisions, strict=True)
        if decision.start and current(pool) + decision.start > reach(pool)
    ]
    used = sum(
        pool.memory * (len(pool.containers) + decision.start)
        for pool, decision in zip(snapshot.pools, decisions, strict=True)
    )
    granted = sum(
        pool.memory * decision.start
        for pool, decision in zip(snapshot.pools, decisions, strict=True)
        if pool not in beyond_first
    )

    assert not beyond_first or used - granted <= snapshot.memory


@given(snapshots)
def test_nothing_starts_for_a_pool_whose_starts_failed(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        assert not (pool.blocked_until and decision.start)


@given(snapshots)
def test_retired_pools_keep_no_idle_container_that_their_inputs_do_not_need(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        if not pool.live and not pool.waiting:
            spare = {c.container_id for c in serving(pool) if not c.busy}
            assert spare <= set(decision.stop)


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.sampled_from([1.0, 2.0, 4.0]),
)
def test_pools_alike_get_max_min_fair_shares(wants, cores):
    alike = [a_pool(waiting=want, service=LONG) for want in wants]

    got = [decision.desired for decision in decide(seen(*alike, cores=cores))]

    assert sum(got) == min(sum(wants), max(round(cores / 0.125), len(wants)))
    for want, have in zip(wants, got, strict=True):
        if have < want:
            assert max(got) <= have + 1


@given(snapshots)
def test_a_stored_snapshot_replays_to_the_same_decisions(snapshot):
    stored = json.dumps(snapshot.to_json(), allow_nan=False)
    replayed = Snapshot.from_json(json.loads(stored))

    assert replayed == snapshot
    assert decide(replayed) == decide(snapshot)


def test_a_snapshot_of_a_newer_writer_is_read_without_what_it_added():
    data = seen(a_pool(idle("a"))).to_json()
    data["pools"][0] |= {"mood": "good"}
    data["pools"][0]["containers"][0] |= {"colour": "red"}
    data["pools"][0]["settings"] |= {"target": 3}

    assert Snapshot.from_json(data) == seen(a_pool(idle("a")))
