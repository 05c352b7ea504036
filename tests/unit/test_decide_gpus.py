"""The planner's policy where GPUs are short: who gets which, and what comes of it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.control.planner.decide import decide
from cloudfn.control.planner.places import TURN, Rack
from cloudfn.control.planner.room import serving
from cloudfn.control.planner.snapshot import ContainerView, PoolDecision, PoolSnapshot, Snapshot
from cloudfn.model.gpu import Gpu, GpuWish, wish_for
from tests.unit.planner_pools import LONG, NOW, a_pool, busy, carried_out, idle, leaving, seen

GIB = 1_024
SMALL, LARGE = Gpu(0, name="T4", memory=16 * GIB), Gpu(1, name="A100", memory=80 * GIB)


def a10gs(number: int) -> tuple[Gpu, ...]:
    return tuple(Gpu(index, name="A10G", memory=24 * GIB) for index in range(number))


def holding(view: ContainerView, *devices: int) -> ContainerView:
    return replace(view, gpus=tuple(map(str, devices)))


def box(*pools: PoolSnapshot, gpus: tuple[Gpu, ...]) -> Snapshot:
    return replace(seen(*pools), gpus=gpus)


def whole(*containers: ContainerView, of: tuple[Gpu, ...], number: int = 1, **more) -> PoolSnapshot:
    wish = GpuWish(tuple(gpu.device_id for gpu in of), number)
    return a_pool(*containers, **{"service": LONG, **more, "gpu": wish})


def part(*containers: ContainerView, of: tuple[Gpu, ...], gib: int, **more) -> PoolSnapshot:
    wish = GpuWish(tuple(gpu.device_id for gpu in of), 1, gib * GIB)
    return a_pool(*containers, **{"service": LONG, **more, "gpu": wish})


TWO = a10gs(2)


# --------------------------------------------------------------------------------------- who gets


def test_containers_start_on_as_many_devices_as_there_are():
    (decision,) = decide(box(whole(of=TWO, waiting=5), gpus=TWO))

    assert (decision.start, decision.gpus) == (2, (("0",), ("1",)))
    assert decision.limiting == "gpu"
    assert decision.reason == "5 waiting and 0 busy need 5, no GPU is free for more than 2"


def test_a_container_may_have_several_devices_and_gets_them_all_or_none():
    gpus = a10gs(3)

    (decision,) = decide(box(whole(of=gpus, number=2, waiting=5), gpus=gpus))

    assert (decision.start, decision.gpus) == (1, (("0", "1"),))


def test_two_hungry_pools_share_the_devices():
    gpus = a10gs(4)

    first, second = decide(box(*[whole(of=gpus, waiting=9)] * 2, gpus=gpus))

    assert (first.gpus, second.gpus) == ((("0",), ("2",)), (("1",), ("3",)))


def test_what_needs_no_gpu_is_not_held_up_by_those_that_do():
    first, second = decide(box(whole(of=TWO, waiting=9), a_pool(waiting=3), gpus=TWO))

    assert (first.start, second.start, second.gpus) == (2, 3, ())


def test_a_pool_with_many_devices_gives_one_to_a_pool_that_has_none():
    gpus = a10gs(3)
    rich = whole(
        holding(busy("a", 9.0), 0), holding(idle("b"), 1), holding(busy("c", 1.0), 2), of=gpus,
        waiting=9,
    )  # fmt: skip

    first, second = decide(box(rich, whole(of=gpus, waiting=1), gpus=gpus))

    assert (first.stop, first.desired) == (("b",), 2)
    assert (second.desired, second.start) == (1, 0)
    assert second.limiting == "gpu"
    assert second.reason == "1 waiting and 0 busy need 1, no GPU is free yet for 1 of them"


def test_idle_containers_keep_their_devices_while_nobody_waits_for_them():
    resting = whole(holding(idle("a", 30), 0), of=TWO)

    first, second = decide(box(resting, whole(of=TWO, waiting=1), gpus=TWO))

    assert first.stop == ()
    assert second.gpus == (("1",),)


def test_the_longest_idle_container_goes_when_somebody_needs_its_device():
    resting = whole(holding(idle("a", 5), 0), holding(idle("b", 10), 1), of=TWO)

    first, second = decide(box(resting, whole(of=TWO, waiting=1), gpus=TWO))

    assert (first.stop, second.start) == (("b",), 0)
    assert first.reason == "1 idle make room for others, 0 waiting and 0 busy need 0"


def test_a_device_is_not_given_out_again_before_its_container_has_gone():
    old = whole(holding(leaving("a"), 0), of=TWO, live=False)

    first, second = decide(box(old, whole(of=TWO, waiting=2), gpus=TWO))

    assert first.stop == ()
    assert (second.desired, second.gpus) == (1, (("1",),))
    assert second.reason == "2 waiting and 0 busy need 2, no GPU is free for more than 1"


def test_nobody_goes_for_a_device_while_another_one_is_about_to_be_free():
    resting = whole(holding(idle("a", 10), 0), of=TWO)
    old = whole(holding(leaving("b"), 1), of=TWO, turned=NOW - TURN)

    first, _, third = decide(box(resting, old, whole(of=TWO, waiting=1), gpus=TWO))

    assert (first.stop, third.desired, third.start) == ((), 1, 0)


def test_min_and_buffer_get_no_more_than_there_is():
    (decision,) = decide(box(whole(of=TWO, min_containers=5), gpus=TWO))

    assert (decision.start, decision.limiting) == (2, "gpu")


def test_nothing_starts_above_max():
    pool = whole(holding(leaving("a"), 0), of=TWO, waiting=5, max_containers=1)

    (decision,) = decide(box(pool, gpus=TWO))

    assert decision.start == 0


# -------------------------------------------------------------------------------------------- turns


def test_a_pool_keeps_its_only_device_for_a_turn():
    holder = whole(holding(busy("a"), 0), of=TWO[:1], waiting=9, turned=NOW - TURN + 1)
    late = whole(of=TWO[:1], waiting=1)

    first, second = decide(box(holder, late, gpus=TWO[:1]))

    assert (first.stop, second.desired) == ((), 0)
    assert second.reason == "1 waiting and 0 busy need 1, no GPU is free"


def test_when_its_turn_is_over_it_goes_to_who_has_been_without_for_the_longest():
    gpus = TWO[:1]
    holder = whole(holding(busy("a"), 0), of=gpus, waiting=9, turned=NOW - TURN)
    later = whole(of=gpus, waiting=1, turned=NOW - 50)
    longest = whole(of=gpus, waiting=1, turned=NOW - 60)

    decisions = decide(box(holder, later, longest, gpus=gpus))

    assert [decision.desired for decision in decisions] == [0, 0, 1]
    assert decisions[0].stop == ("a",)
    assert decisions[0].reason == (
        "9 waiting and 1 busy need 10, no GPU is free, 1 make room for others"
    )


def test_a_turn_is_longer_where_starts_take_long():
    gpus = TWO[:1]
    holder = whole(holding(busy("a"), 0), of=gpus, waiting=9, turned=NOW - 99, start_time=20.0)

    first, _ = decide(box(holder, whole(of=gpus, waiting=1), gpus=gpus))

    assert first.stop == ()


def test_pools_that_only_want_to_be_ready_do_not_take_turns():
    ready = whole(holding(idle("a", 999), 0), of=TWO[:1], min_containers=1, turned=NOW - 999)
    other = whole(of=TWO[:1], min_containers=1)

    first, second = decide(box(ready, other, gpus=TWO[:1]))
    third, _ = decide(box(ready, replace(other, waiting=1), gpus=TWO[:1]))

    assert (first.stop, second.desired) == ((), 0)
    assert third.stop == ("a",)


def test_a_pool_without_rivals_never_ends_its_turn():
    holder = whole(holding(busy("a"), 0), of=TWO[:1], waiting=9, turned=NOW - 999)

    (decision,) = decide(box(holder, gpus=TWO[:1]))

    assert decision.stop == ()


# ------------------------------------------------------------------------------------------- parts


def test_parts_fill_one_device_before_they_begin_the_next():
    (decision,) = decide(box(part(of=TWO, gib=8, waiting=5), gpus=TWO))

    assert decision.gpus == (("0",), ("0",), ("0",), ("1",), ("1",))


def test_a_part_goes_to_the_fullest_device_that_has_room_for_it():
    gpus = a10gs(3)
    there = part(
        holding(busy("a"), 1), holding(busy("b"), 2), holding(busy("c"), 2), of=gpus, gib=8
    )

    first, second = decide(box(there, part(of=gpus, gib=9, waiting=1), gpus=gpus))

    assert first.stop == ()
    assert second.gpus == (("1",),)
    assert decide(box(there, part(of=gpus, gib=8, waiting=1), gpus=gpus))[1].gpus == (("2",),)


def test_no_device_is_both_whole_and_divided():
    parts, wholes = decide(box(part(of=TWO, gib=8, waiting=9), whole(of=TWO, waiting=9), gpus=TWO))

    assert (set(parts.gpus), wholes.gpus) == ({("0",)}, (("1",),))
    assert len(parts.gpus) == 3


def test_parts_on_two_devices_move_together_for_somebody_who_needs_a_whole_one():
    scattered = part(
        holding(busy("a", 9.0), 0), holding(busy("b", 1.0), 1), of=TWO, gib=8, turned=NOW - TURN
    )
    late = whole(of=TWO, waiting=1)

    first, second = decide(box(scattered, late, gpus=TWO))
    after = carried_out(box(scattered, late, gpus=TWO), (first, second))
    gone = replace(scattered, containers=scattered.containers[1:], waiting=1)
    moved, served = decide(replace(after, pools=(gone, late)))

    assert (first.stop, first.desired) == (("a",), 2)
    assert moved.gpus == (("1",),)
    assert served.gpus == (("0",),)


def test_any_takes_the_smallest_device_that_is_free():
    (decision,) = decide(box(whole(of=(LARGE, SMALL), waiting=1), gpus=(LARGE, SMALL)))

    assert decision.gpus == (("0",),)


def test_devices_that_suit_nobody_else_do_not_count():
    picky = whole(of=(LARGE,), waiting=3)

    (decision,) = decide(box(picky, gpus=(SMALL, LARGE)))

    assert decision.gpus == (("1",),)


# --------------------------------------------------------------------------------------------- laws

machines = st.sampled_from([a10gs(1), a10gs(2), a10gs(4), (SMALL, LARGE), (Gpu(0), Gpu(1))])
requests = st.sampled_from([(), ("ANY",), ("A10G",), ("ANY:2",), ("A100", "ANY"), ("H100",)])
moments = st.sampled_from([0.0, 1.0, 5.0, 20.0, 60.0]).map(lambda ago: NOW - ago)


@st.composite
def situations(draw: st.DrawFn) -> Snapshot:
    """Pools whose containers have devices in one of the ways in which they can have them."""
    gpus = draw(machines)
    rack, ids, pools = Rack(gpus), count(), []
    for number in range(draw(st.integers(1, 4))):
        request = draw(requests)
        memory = draw(st.sampled_from([0, 0, 5 * GIB, 10 * GIB])) if request[:1] == ("ANY",) else 0
        wish = wish_for(request, memory or None, gpus)
        containers = []
        for _ in range(draw(st.integers(0, 4))):
            room = [
                each for each in (wish.devices if wish else ())
                if rack.has_room((each,), wish.memory if wish else 0)
            ]  # fmt: skip
            if wish is not None and len(room) < wish.count:
                break
            devices = tuple(draw(st.permutations(room))[: wish.count]) if wish else ()
            rack.take(devices, wish.memory if wish else 0)
            containers.append(draw(views(f"ta-{next(ids)}", devices)))
        least = draw(st.integers(0, 2))
        pools.append(
            a_pool(
                *containers,
                pool=f"fu-{number}@1",
                waiting=draw(st.sampled_from([0, 1, 2, 9])),
                live=draw(st.booleans()),
                service=draw(st.sampled_from([None, LONG])),
                gpu=wish,
                turned=draw(moments),
                min_containers=least,
                max_containers=draw(st.none() | st.integers(max(1, least), 4)),
                buffer_containers=draw(st.integers(0, 1)),
                last_active=NOW - 1,
            )
        )
    return box(*pools, gpus=gpus)


@st.composite
def views(draw: st.DrawFn, name: str, devices: tuple[str, ...]) -> ContainerView:
    kind = draw(st.sampled_from(["starting", "idle", "busy", "leaving"]))
    return ContainerView(
        name,
        ready=kind != "starting",
        held=int(kind in ("busy", "leaving")),
        waiting=kind == "busy" and draw(st.booleans()),
        last_used=draw(moments),
        draining=kind == "leaving",
        running=0.2 if kind in ("busy", "leaving") else 0.0,
        gpus=devices,
    )


def with_starts(
    snapshot: Snapshot, decisions: tuple[PoolDecision, ...], name: str = "new"
) -> Snapshot:
    """What there is when the decisions are carried out, before anything has gone."""
    pools = []
    for pool, decision in zip(snapshot.pools, decisions, strict=True):
        started = [
            ContainerView(f"{pool.pool}-{name}-{n}", False, 0, False, snapshot.now, gpus=devices)
            for n, devices in enumerate(decision.gpus or ((),) * decision.start)
        ]
        stayed = [
            replace(c, draining=c.draining or c.container_id in decision.stop)
            for c in pool.containers
        ]
        pools.append(
            replace(
                pool,
                containers=(*stayed, *started),
                turned=snapshot.now if started and not stayed else pool.turned,
                last_lowered=snapshot.now if decision.stop else pool.last_lowered,
            )
        )
    return replace(snapshot, pools=tuple(pools))


def held(snapshot: Snapshot) -> Iterator[tuple[str, int]]:
    """Yield (device, MiB) of everything that a container has; 0: all of it."""
    for pool in snapshot.pools:
        for container in pool.containers:
            for device in container.gpus:
                yield device, pool.gpu.memory if pool.gpu else 0


def check_capacity(snapshot: Snapshot) -> None:
    for gpu in snapshot.gpus:
        parts = [memory for device, memory in held(snapshot) if device == gpu.device_id]
        if 0 in parts:
            assert parts == [0], "a whole device has one container"
        assert sum(parts) <= gpu.memory


@given(situations())
def test_no_device_is_ever_given_out_beyond_what_it_is(snapshot):
    check_capacity(snapshot)
    check_capacity(with_starts(snapshot, decide(snapshot)))


@given(situations())
def test_each_new_container_gets_different_devices_that_suit_it(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        if pool.gpu is None:
            assert decision.gpus == ()
            continue
        assert len(decision.gpus) == decision.start
        for devices in decision.gpus:
            assert len(set(devices)) == pool.gpu.count
            assert set(devices) <= set(pool.gpu.devices)


@given(situations())
def test_only_containers_that_are_there_and_stay_are_stopped_and_each_once(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        assert len(set(decision.stop)) == len(decision.stop)
        assert set(decision.stop) <= {c.container_id for c in serving(pool)}
        # What has a part of a device may move to another one.
        moves = pool.gpu is not None and pool.gpu.memory > 0
        assert moves or not (decision.start and decision.stop)


@given(situations())
def test_what_is_decided_and_carried_out_again_and_again_comes_to_rest(snapshot):
    rounds = 0
    while any(d.start or d.stop for d in decide(snapshot)):
        rounds += 1
        snapshot = with_starts(snapshot, decide(snapshot), f"new-{rounds}")
        # Parts move together, and who may have any device gives way to who needs a certain one.
        alike = {pool.gpu and (pool.gpu.devices, pool.gpu.memory) for pool in snapshot.pools}
        assert rounds <= (
            1 if alike <= {None, (tuple(g.device_id for g in snapshot.gpus), 0)} else 6
        )


@given(situations())
def test_no_device_stays_free_while_a_pool_that_could_use_it_gets_nothing(snapshot):
    decisions = decide(snapshot)
    rack = Rack(snapshot.gpus)
    for device, memory in held(with_starts(snapshot, decisions)):
        rack.take((device,), memory)
    for pool, decision in zip(snapshot.pools, decisions, strict=True):
        if pool.gpu is None or pool.containers or decision.start or not pool.waiting:
            continue
        free = [each for each in pool.gpu.devices if rack.has_room((each,), pool.gpu.memory)]
        # A device may be kept for a container that waits for a second one.
        assert len(free) < pool.gpu.count or any(
            "no GPU is free yet" in d.reason for d in decisions
        )


@given(situations())
def test_a_stored_snapshot_replays_to_the_same_decisions(snapshot):
    replayed = Snapshot.from_json(json.loads(json.dumps(snapshot.to_json())))

    assert replayed == snapshot
    assert decide(replayed) == decide(snapshot)


# --------------------------------------------------------------------------------- in a small world


class World:
    """A machine that does what the planner says, a step each second; inputs take some steps."""

    def __init__(self, gpus: tuple[Gpu, ...], *wishes: GpuWish) -> None:
        self.now = NOW
        self.gpus = gpus
        self.pools = [
            a_pool(pool=f"fu-{n}@1", service=LONG, gpu=wish, turned=NOW)
            for n, wish in enumerate(wishes)
        ]
        self.left: dict[str, int] = {}
        self.ids = count()
        #: seconds of work that each pool got done
        self.done = [0] * len(wishes)

    def step(self, arrivals: list[int], length: int) -> None:
        self.now += 1.0
        self.pools = [self._work(n, arrivals[n], length) for n in range(len(self.pools))]
        snapshot = replace(seen(*self.pools), now=self.now, gpus=self.gpus)
        decisions = decide(snapshot)
        self.pools = [self._obey(*each) for each in zip(self.pools, decisions, strict=True)]
        check_capacity(replace(snapshot, pools=tuple(self.pools)))

    def _work(self, number: int, arriving: int, length: int) -> PoolSnapshot:
        pool, containers = self.pools[number], []
        waiting = pool.waiting + arriving
        for container in pool.containers:
            view = container
            if view.busy:
                self.left[view.container_id] -= 1
                self.done[number] += 1
                if not self.left[view.container_id]:
                    view = replace(view, held=0, last_used=self.now)
            if view.draining and not view.busy:
                continue
            if not view.draining and not view.busy and waiting:
                waiting -= 1
                self.left[view.container_id] = length
                view = replace(view, ready=True, held=1, last_used=self.now)
            containers.append(view)
        turned = self.now if pool.containers and not containers else pool.turned
        return replace(pool, waiting=waiting, containers=tuple(containers), turned=turned)

    def _obey(self, pool: PoolSnapshot, decision: PoolDecision) -> PoolSnapshot:
        containers = [
            replace(c, draining=c.draining or c.container_id in decision.stop)
            for c in pool.containers
        ]
        containers = [c for c in containers if c.busy or not c.draining]
        turned = pool.turned
        if bool(containers or decision.gpus) != bool(pool.containers):
            turned = self.now
        for devices in decision.gpus:
            name = f"ta-{next(self.ids)}"
            containers.append(ContainerView(name, False, 0, False, self.now, gpus=devices))
        return replace(pool, containers=tuple(containers), turned=turned)


@pytest.mark.parametrize(
    ("gpus", "wishes"),
    [
        pytest.param(TWO[:1], [GpuWish(("0",))] * 3, id="three pools and one device"),
        pytest.param(TWO, [GpuWish(("0", "1"))] * 3, id="three pools and two devices"),
        pytest.param(
            TWO,
            [GpuWish(("0", "1"), 2), GpuWish(("0", "1")), GpuWish(("0", "1"), 1, 10 * GIB)],
            id="both, one, and a part",
        ),
        pytest.param(
            TWO,
            [
                GpuWish(("0", "1"), 1, 10 * GIB),
                GpuWish(("0", "1"), 1, 6 * GIB),
                GpuWish(("0", "1")),
            ],
            id="parts beside whole ones",
        ),
    ],
)
@pytest.mark.parametrize("length", [1, 7], ids=["short inputs", "long inputs"])
def test_everybody_gets_a_good_part_of_the_devices_however_few(gpus, wishes, length):
    world = World(gpus, *wishes)

    for _ in range(600):
        world.step([1, 1, 1], length)

    assert min(world.done) > 100, world.done


def test_when_the_work_is_done_every_device_is_free_again():
    world = World(TWO, GpuWish(("0", "1")), GpuWish(("0", "1"), 1, 10 * GIB))
    for _ in range(20):
        world.step([1, 1], 2)

    for _ in range(200):
        world.step([0, 0], 2)

    assert [pool.containers for pool in world.pools] == [(), ()]
