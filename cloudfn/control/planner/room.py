"""Who gets how much of a machine that is too small for all. Pure.

Everybody gets one container that can work, then come the `min_containers`, the need and the
buffers of all pools, each by max-min fair shares. A container whose input waits for a nested call
takes no CPU. An idle container that is only kept for its window takes none either; it holds its
memory until somebody needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import ceil

from cloudfn.control.planner.snapshot import ContainerView, PoolSnapshot, Snapshot

_ROUNDING = 1e-9

#: ids of the containers to let go, for each pool
Stops = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Ask:
    """What one pool asks for, in containers; each number is a total, and `desired` the largest."""

    #: the one that can work, beside those that wait for nested calls: granted whatever the room
    first: int
    minimum: int
    needed: int
    desired: int


def serving(pool: PoolSnapshot) -> list[ContainerView]:
    """Return the containers that take inputs, or will when they are ready."""
    return [c for c in pool.containers if not c.draining]


def current(pool: PoolSnapshot) -> int:
    """Return how many containers the pool has, without those that leave and hold no input."""
    return sum(c.busy or not c.draining for c in pool.containers)


def least_useful(containers: Sequence[ContainerView], count: int) -> tuple[str, ...]:
    """Return which to let go first: starting ones, then the longest idle, then the least busy."""
    ranked = sorted(containers, key=lambda c: (c.held, c.ready, c.last_used, c.container_id))
    return tuple(c.container_id for c in ranked[: max(0, count)])


def targets(snapshot: Snapshot, asks: Sequence[Ask]) -> list[int]:
    """Return how many containers each pool may have."""
    pools = snapshot.pools
    granted = [ask.first for ask in asks]
    free = snapshot.cores + sum(pool.cpu * _held_up(pool) for pool in pools)
    free -= sum(pool.cpu * count for pool, count in zip(pools, granted, strict=True))
    memory = snapshot.memory
    memory -= sum(pool.memory * count for pool, count in zip(pools, granted, strict=True))
    for level in ("minimum", "needed", "desired"):
        goals = [getattr(ask, level) for ask in asks]
        hungry = [
            (_share(snapshot, pool, granted[i]), i)
            for i, pool in enumerate(pools)
            if granted[i] < goals[i]
        ]
        heapify(hungry)
        while hungry:
            _, poorest = heappop(hungry)
            pool = pools[poorest]
            if pool.cpu > free + _ROUNDING or pool.memory > memory:
                continue
            granted[poorest] += 1
            free -= pool.cpu
            memory -= pool.memory
            if granted[poorest] < goals[poorest]:
                heappush(hungry, (_share(snapshot, pool, granted[poorest]), poorest))
    return granted


def starts(snapshot: Snapshot, asks: Sequence[Ask], goals: Sequence[int]) -> list[int]:
    """Return how many containers each pool starts now: what max and the free memory allow.

    CPU is no obstacle: what still runs beyond its share leaves soon, and time is shared until then.
    """
    free = _free_memory(snapshot)
    counts = []
    for pool, ask, goal in zip(snapshot.pools, asks, goals, strict=True):
        have = current(pool)
        count = min(goal - have, max(free // pool.memory, ask.first - have))
        if pool.settings.max_containers is not None:
            count = min(count, pool.settings.max_containers - len(pool.containers))
        counts.append(max(0, count))
        free -= counts[-1] * pool.memory
    return counts


def make_room(snapshot: Snapshot, goals: Sequence[int], stops: Stops) -> Stops:
    """Return further containers to let go, because other pools have not got their share yet.

    Idle ones first, the longest idle of all pools; then pools that are over their share give it up.
    Nobody stops anything when nobody lacks anything: to be over one's share is no harm by itself.
    """
    cpu, memory = _lack(snapshot, goals, stops)
    evicted: list[list[str]] = [[] for _ in snapshot.pools]
    for i, container_id in _idle_surplus(snapshot, goals, stops):
        if memory <= 0:
            break
        evicted[i].append(container_id)
        memory -= snapshot.pools[i].memory
    further: Stops = []
    for pool, goal, stopped, idle in zip(snapshot.pools, goals, stops, evicted, strict=True):
        left = [c for c in serving(pool) if c.container_id not in {*stopped, *idle}]
        spare = sum(not c.busy for c in left)
        count = ceil(memory / pool.memory)
        if cpu > _ROUNDING:
            # Only busy ones compute, and idle ones go before them.
            count = max(count, spare + ceil(cpu / pool.cpu - _ROUNDING))
        count = max(0, min(len(left) - goal, count))
        further.append((*idle, *least_useful(left, count)))
        cpu -= max(0, count - spare) * pool.cpu
        memory -= count * pool.memory
    return further


def _lack(snapshot: Snapshot, goals: Sequence[int], stops: Stops) -> tuple[float, int]:
    """Return the cores and MiB that pools lack beyond what is free or about to be."""
    cpu, memory = 0.0, -_free_memory(snapshot)
    free = snapshot.cores
    for pool, goal, stopped in zip(snapshot.pools, goals, stops, strict=True):
        have = current(pool)
        missing = max(0, goal - have)
        leaving = [c for c in pool.containers if c.draining or c.container_id in stopped]
        freed = sum(c.busy and not c.waiting for c in leaving)
        cpu += (missing - freed) * pool.cpu
        memory += (missing - len(leaving)) * pool.memory
        spare = sum(not c.busy for c in serving(pool))
        free -= pool.cpu * (have - _held_up(pool) - min(spare, max(0, have - goal)))
    return cpu - max(0.0, free), memory


def _idle_surplus(
    snapshot: Snapshot, goals: Sequence[int], stops: Stops
) -> Iterator[tuple[int, str]]:
    """Yield (pool's number, id) of idle containers beyond its target, the longest idle first."""
    found = []
    for i, (pool, goal, stopped) in enumerate(zip(snapshot.pools, goals, stops, strict=True)):
        left = [c for c in serving(pool) if c.container_id not in stopped]
        idle = sorted((c.last_used, c.container_id) for c in left if c.ready and not c.busy)
        found += [(*each, i) for each in idle[: max(0, len(left) - goal)]]
    for _, container_id, i in sorted(found):
        yield i, container_id


def _held_up(pool: PoolSnapshot) -> int:
    return sum(c.busy and c.waiting for c in pool.containers)


def _share(snapshot: Snapshot, pool: PoolSnapshot, count: int) -> float:
    """Return which part of the machine `count` containers take, by what they take most of."""
    computing = pool.cpu * (count - _held_up(pool)) / snapshot.cores
    return max(computing, pool.memory * count / snapshot.memory)


def _free_memory(snapshot: Snapshot) -> int:
    return snapshot.memory - sum(pool.memory * len(pool.containers) for pool in snapshot.pools)
