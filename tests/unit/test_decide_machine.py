"""The planner's policy where the machine is small: who gets how much, and what comes of it."""

from dataclasses import replace

import pytest

from cloudfn.control.planner.decide import decide
from cloudfn.control.planner.snapshot import ContainerView, PoolDecision, PoolSnapshot, Snapshot
from tests.unit.planner_pools import (
    LONG,
    NOW,
    ROOMY,
    TINY,
    a_pool,
    busy,
    carried_out,
    held_up,
    idle,
    leaving,
    seen,
    several,
    starting,
)

# -------------------------------------------------------------------------- the size of the machine


def two_cores(*pools: PoolSnapshot, memory: int = ROOMY) -> tuple[PoolDecision, ...]:
    """16 containers of the default size have room."""
    return decide(seen(*pools, cores=2, memory=memory))


def test_sleeping_inputs_start_containers_up_to_the_room_of_the_machine_at_once():
    (decision,) = two_cores(a_pool(*several(busy, 2, 0.2), waiting=98))

    assert (decision.current, decision.desired, decision.start) == (2, 16, 14)
    assert decision.limiting == "machine"
    assert decision.reason == "98 waiting and 2 busy need 100, the machine has room for 16"


def test_two_hungry_pools_share_the_machine_equally():
    first, second = two_cores(
        a_pool(waiting=10_000, service=LONG), a_pool(waiting=100, service=LONG)
    )

    assert (first.start, second.start) == (8, 8)


def test_what_a_modest_pool_leaves_goes_to_the_hungry_one():
    modest, hungry = two_cores(a_pool(waiting=3, service=LONG), a_pool(waiting=99, service=LONG))

    assert (modest.start, hungry.start) == (3, 13)


def test_shares_are_counted_in_what_the_containers_ask_for():
    small, large = two_cores(
        a_pool(waiting=99, service=LONG), a_pool(waiting=99, service=LONG, cpu=0.5)
    )

    assert (small.start, large.start) == (8, 2)


def test_a_pool_that_asks_for_memory_shares_by_memory():
    lean, fat = decide(
        seen(
            a_pool(waiting=99, service=LONG, memory=100),
            a_pool(waiting=99, service=LONG, memory=400),
            cores=100,
            memory=1_600,
        )
    )

    assert (lean.start, fat.start) == (8, 2)


def test_min_is_granted_before_need_and_need_before_buffer():
    floors, needs, buffers = two_cores(
        a_pool(min_containers=8),
        a_pool(waiting=99, service=LONG),
        a_pool(busy("a"), buffer_containers=9),
    )

    assert (floors.start, needs.start, buffers.start) == (8, 7, 0)


def test_a_late_pool_takes_the_place_of_the_idle_part_and_then_of_busy_containers():
    early = a_pool(*several(busy, 14, 3.0), *several(idle, 2), waiting=99, service=LONG)
    late = a_pool(waiting=5, service=LONG)

    first, second = two_cores(early, late)

    assert second.start == 5
    assert first.stop == ("idle-000", "idle-001", "busy-000", "busy-001", "busy-002")
    assert first.desired == 11
    assert first.reason == "99 waiting and 14 busy need 113, the machine has room for 11"


def test_a_pool_with_nothing_gets_one_container_even_of_a_machine_that_mins_fill():
    full = a_pool(*several(busy, 16), min_containers=16)
    late = a_pool(waiting=5, service=LONG)

    first, second = two_cores(full, late)

    assert second.start == 1
    assert first.stop == ("busy-000",)


def test_a_pool_over_its_share_keeps_what_it_has_while_nobody_lacks_anything():
    # A container whose input waits for a nested call gives its share back, and takes it again.
    (decision,) = two_cores(a_pool(*several(busy, 20), waiting=99, service=LONG))

    assert decision.stop == ()
    assert decision.limiting == "machine"


def test_idle_containers_take_no_cpu_from_others():
    resting = a_pool(*several(idle, 16))
    hungry = a_pool(waiting=99, service=LONG)

    first, second = two_cores(resting, hungry)

    assert first.stop == ()
    assert second.start == 16


def test_idle_containers_make_room_when_another_pool_needs_their_memory():
    resting = a_pool(idle("new", 1), idle("old", 9), idle("older", 10))
    hungry = a_pool(waiting=4, service=LONG)

    first, second = two_cores(resting, hungry, memory=5 * 128)

    assert first.stop == ("older", "old")
    assert first.limiting == "machine"
    assert first.reason == "2 idle make room for others, 0 waiting and 0 busy need 0"
    assert (second.desired, second.start) == (4, 2)
    assert second.reason == "4 waiting and 0 busy need 4, 2 of them when there is room"


def test_the_longest_idle_of_all_pools_makes_room():
    resting = [a_pool(idle("a", 8), idle("b", 3)), a_pool(idle("c", 9), idle("d", 2))]
    hungry = a_pool(waiting=2, service=LONG)

    first, second, third = two_cores(*resting, hungry, memory=4 * 128)

    assert (first.stop, second.stop) == (("a",), ("c",))
    assert third.desired == 2


def test_what_a_pool_lacks_is_asked_of_one_of_those_over_their_share_and_not_of_each():
    rich = a_pool(*several(busy, 12), waiting=99, service=LONG)
    poor = a_pool(waiting=2, service=LONG)

    first, second, _ = two_cores(rich, rich, poor)

    assert (len(first.stop), len(second.stop)) == (2, 0)


def test_what_a_pool_lacks_is_asked_for_once():
    rich = a_pool(*several(busy, 20), waiting=99, service=LONG)
    poor = a_pool(waiting=2, service=LONG)
    snapshot = seen(rich, poor, cores=2, memory=20 * 128)
    decisions = decide(snapshot)
    assert [len(decision.stop) for decision in decisions] == [2, 0]
    assert decisions[1].start == 1

    later = decide(carried_out(snapshot, decisions))

    assert [len(decision.stop) for decision in later] == [0, 0]


def test_memory_is_not_given_out_twice_while_containers_leave():
    hungry = a_pool(*several(leaving, 3), waiting=4, service=LONG)

    (decision,) = two_cores(hungry, memory=5 * 128)

    assert (decision.desired, decision.start) == (5, 2)


def test_what_one_pool_starts_is_not_free_for_the_next_one():
    gone = tuple(replace(container, draining=True) for container in several(idle, 4))
    hungry = a_pool(waiting=4, service=LONG)

    decisions = two_cores(hungry, hungry, a_pool(*gone), memory=8 * 128)

    assert [decision.start for decision in decisions] == [4, 1, 0]
    assert decisions[1].reason == "4 waiting and 0 busy need 4, 3 of them when there is room"


@pytest.mark.parametrize(
    "memory", [ROOMY, 16 * 128], ids=["cores are short", "memory is short too"]
)
def test_a_chain_of_waiting_parents_always_gets_one_more_container(memory):
    (decision,) = two_cores(
        a_pool(*several(held_up, 16), waiting=1, service=LONG, cpu=2.0), memory=memory
    )

    assert decision.start == 1


def test_a_waiting_chain_gets_one_at_a_time_beyond_the_memory():
    chain = a_pool(*several(held_up, 16), starting("next"), waiting=9, service=LONG)

    (decision,) = two_cores(chain, memory=16 * 128)

    assert (decision.start, decision.stop) == (0, ())


def test_a_waiting_chain_ends_at_max():
    (decision,) = two_cores(a_pool(*several(held_up, 4), waiting=1, max_containers=4))

    assert (decision.start, decision.desired) == (0, 4)


def test_parents_that_wait_leave_their_cpu_to_their_children():
    parents = a_pool(*several(held_up, 16), waiting=99, service=LONG)
    children = a_pool(waiting=16, service=LONG)

    above, below = two_cores(parents, children)

    assert (above.start, below.start) == (8, 8)


def test_single_use_containers_never_outgrow_the_machine():
    (decision,) = two_cores(a_pool(*several(leaving, 16), waiting=99, single_use=True))

    assert decision.start == 0


# --------------------------------------------------------------------------------- in a small world


class World:
    """A machine that does what the planner says, in steps of 10 ms; for one pool."""

    def __init__(self, service: float, start_time: float = 0.05, cores: float = 2) -> None:
        self.service, self.start_time, self.cores = service, start_time, cores
        self.tick = 0
        self.waiting = 0
        self.measured: float | None = None
        self.containers: dict[str, list[float | None]] = {}
        self.started = 0
        self.most = 0
        self.changes: list[int] = []
        self.last_active = float("-inf")
        self.last_lowered = 0.0

    @property
    def now(self) -> float:
        return NOW + self.tick / 100

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            self._work()
            self._plan()
            self.tick += 1

    def _work(self) -> None:
        """Each container is [when it is ready, when its input is done or None, when last used]."""
        for state in self.containers.values():
            ready, done, _ = state
            room = 0.01
            while ready is not None and ready <= self.now and room > 0:
                if done is not None and done > self.now:
                    break
                if done is not None:
                    self.measured = self.service
                    state[2], self.last_active = self.now, self.now
                    done = None
                if not self.waiting:
                    break
                self.waiting -= 1
                room -= self.service
                done = self.now + self.service if self.service > 0.01 else self.now
            state[1] = done

    def _plan(self) -> None:
        views = tuple(
            ContainerView(
                name,
                ready=ready is not None and ready <= self.now,
                held=int(done is not None),
                waiting=False,
                last_used=used or 0.0,
                running=0.0 if done is None else max(0.0, self.now - (done - self.service)),
            )
            for name, (ready, done, used) in self.containers.items()
        )
        pool = a_pool(
            *views,
            waiting=self.waiting,
            service=self.measured,
            start_time=self.start_time,
            last_active=self.last_active,
            last_lowered=self.last_lowered,
        )
        (decision,) = decide(Snapshot(self.now, (pool,), self.cores, ROOMY))
        for name in decision.stop:
            del self.containers[name]
        for _ in range(decision.start):
            self.started += 1
            ready = self.now + self.start_time
            self.containers[f"ta-{self.started}"] = [ready, None, ready]
        if decision.stop:
            self.last_lowered = self.now
        if decision.stop or decision.start:
            self.changes.append(decision.start - len(decision.stop))
        self.most = max(self.most, len(self.containers))


def test_a_thousand_tiny_inputs_are_done_by_as_many_containers_as_cores():
    world = World(service=TINY)
    world.waiting = 1_000
    world.run(2)

    assert world.waiting == 0
    assert world.started == 2


def test_a_hundred_sleeping_inputs_fill_the_machine_within_a_quarter_of_a_second():
    world = World(service=LONG)
    world.waiting = 100
    world.run(0.25)

    assert len(world.containers) == 16


def test_a_burst_starts_each_container_once_and_lets_it_go_once():
    world = World(service=LONG)
    world.waiting = 100
    world.run(90)

    ups = [change for change in world.changes if change > 0]
    assert sum(ups) == 16
    assert world.changes == ups + [change for change in world.changes if change < 0]
    assert world.containers == {}
