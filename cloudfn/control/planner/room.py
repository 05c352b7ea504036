"""Who gets how much of a machine that is too small for all. Pure.

Everybody gets one container that can work, then come the `min_containers`, the need and the
buffers of all pools, each by max-min fair shares. A container whose input waits for a nested call
takes no CPU. An idle container that is only kept for its window takes none either; it holds its
memory and its GPUs until somebody needs them. Which GPUs, and who gets one where there are fewer
than pools, is the business of `places.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import ceil

from cloudfn.control.planner.places import Places, in_the_way, placeable, share_of_gpus, turns
from cloudfn.control.planner.snapshot import ContainerView, PoolSnapshot, Snapshot

_ROUNDING = 1e-9

#: ids of the containers to let go, for each pool
Stops = list[tuple[str, ...]]
#: ids of the GPUs of each container that can start, for each pool
Devices = list[tuple[tuple[str, ...], ...]]


@dataclass(frozen=True, slots=True)
class Ask:
    """What one pool asks for, in containers; each number is a total, and `desired` the largest."""

    #: the one that can work, beside those that wait for nested calls: granted whatever the room,
    #: where there is a GPU for it
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


def targets(snapshot: Snapshot, asks: Sequence[Ask]) -> tuple[list[int], Places]:
    """Return how many containers each pool may have, and which GPUs."""
    pools, places = snapshot.pools, Places(snapshot, [ask.desired for ask in asks])
    granted = [0 if pool.gpu else ask.first for pool, ask in zip(pools, asks, strict=True)]
    for number in turns(snapshot):
        while granted[number] < asks[number].first and places.grant(number):
            granted[number] += 1
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
            if pool.cpu > free + _ROUNDING or pool.memory > memory or not places.grant(poorest):
                continue
            granted[poorest] += 1
            free -= pool.cpu
            memory -= pool.memory
            if granted[poorest] < goals[poorest]:
                heappush(hungry, (_share(snapshot, pool, granted[poorest]), poorest))
    return granted, places


def starts(
    snapshot: Snapshot, asks: Sequence[Ask], goals: Sequence[int], places: Places
) -> tuple[list[int], Devices]:
    """Return how many containers each pool starts now, and the free GPUs for them and others.

    What max, the free memory and the free GPUs allow. CPU is no obstacle: what still runs beyond
    its share leaves soon, and time is shared until then.
    """
    free = _free_memory(snapshot)
    devices = placeable(snapshot, places, _wanted(snapshot, goals))
    counts = []
    for i, (pool, ask, goal) in enumerate(zip(snapshot.pools, asks, goals, strict=True)):
        have = current(pool)
        count = min(_missing(pool, goal), max(free // pool.memory, ask.first - have))
        if pool.gpu is not None:
            count = min(count, len(devices[i]))
        counts.append(max(0, count))
        free -= counts[-1] * pool.memory
    return counts, [tuple(devices.get(i, ())) for i in range(len(counts))]


def make_room(snapshot: Snapshot, goals: Sequence[int], stops: Stops, places: Places) -> Stops:
    """Return further containers to let go, because other pools have not got their share yet.

    Those whose GPUs others are to have first. Then idle ones, the longest idle of all pools; then
    pools that are over their share give it up.
    Nobody stops anything when nobody lacks anything: to be over one's share is no harm by itself.
    """
    wanted = _wanted(snapshot, goals)
    blocking = in_the_way(snapshot, places, wanted, [each for stop in stops for each in stop])
    stops = [(*stop, *more) for stop, more in zip(stops, blocking, strict=True)]
    further = _make_room(snapshot, goals, stops)
    return [(*first, *then) for first, then in zip(blocking, further, strict=True)]


def _make_room(snapshot: Snapshot, goals: Sequence[int], stops: Stops) -> Stops:
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
    return max(
        computing, pool.memory * count / snapshot.memory, share_of_gpus(snapshot, pool) * count
    )


def _wanted(snapshot: Snapshot, goals: Sequence[int]) -> dict[int, int]:
    """Return how many containers each pool that needs GPUs is to start, by its number."""
    numbered = enumerate(zip(snapshot.pools, goals, strict=True))
    return {i: max(0, _missing(pool, goal)) for i, (pool, goal) in numbered if pool.gpu}


def _missing(pool: PoolSnapshot, goal: int) -> int:
    """Return how many containers a pool lacks, as far as its max lets it start more."""
    missing = goal - current(pool)
    if pool.settings.max_containers is None:
        return missing
    return min(missing, pool.settings.max_containers - len(pool.containers))


def _free_memory(snapshot: Snapshot) -> int:
    return snapshot.memory - sum(pool.memory * len(pool.containers) for pool in snapshot.pools)
