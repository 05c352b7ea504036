"""Which GPUs the containers of a decision get. Pure.

Devices are given out as `room.py` grants containers, one after the other. A container that is there
stays where it is, if it can. A new one takes devices that are free, then those whose containers
are the least useful; a part of a GPU goes to the fullest one that has room for it. No device is
both whole and divided.

Unlike time on a CPU, a GPU cannot be shared beyond its size, so that not even everybody's first
container is certain. Where there are fewer GPUs than pools, they take turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cloudfn.control.planner.snapshot import ContainerView, PoolSnapshot, Snapshot
from cloudfn.model.gpu import Gpu, GpuWish

#: seconds that a pool keeps a GPU which others wait for: this, or so many times what a start takes
TURN = 10.0
TURN_STARTS = 5


class Rack:
    """The devices of a machine, and how much of each is taken."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._memory = {gpu.device_id: gpu.memory for gpu in gpus}
        self._whole: set[str] = set()
        self._parts: dict[str, int] = {}

    def take(self, devices: Iterable[str], part: int) -> None:
        """Take devices, or `part` MiB of one; whether there is room or not."""
        for device in devices:
            if part:
                self._parts[device] = self.used(device) + part
            else:
                self._whole.add(device)

    def has_room(self, devices: Iterable[str], part: int) -> bool:
        """Whether devices, or `part` MiB of one, can be taken."""
        if not part:
            return not any(device in self._whole or device in self._parts for device in devices)
        return all(
            device not in self._whole and self.used(device) + part <= self._memory[device]
            for device in devices
        )

    def used(self, device: str) -> int:
        """Return the MiB that parts take of a device."""
        return self._parts.get(device, 0)


class Places:
    """Gives out the devices of a machine, for one decision.

    Args:
        snapshot: What there is.
        desired: How many containers each pool would have if it looked at nobody else.

    Attributes:
        kept: Ids of the containers that stay where they are.
        new: Pool's number and devices of each new container, in the order of granting.
        refused: Numbers of the pools that did not get all that they asked for.
    """

    def __init__(self, snapshot: Snapshot, desired: Sequence[int]) -> None:
        self._pools = snapshot.pools
        self._given = Rack(snapshot.gpus)
        self._order = {gpu.device_id: (gpu.memory, gpu.index) for gpu in snapshot.gpus}
        self._now = taken(snapshot)
        self._stay = [_most_useful(pool) for pool in snapshot.pools]
        self._worth = _worth_of_devices(snapshot, self._stay, desired)
        self.kept: set[str] = set()
        self.new: list[tuple[int, tuple[str, ...]]] = []
        self.refused: set[int] = set()

    def grant(self, number: int) -> bool:
        """Give the next container of a pool its devices; return False where there are none."""
        wish = self._pools[number].gpu
        if wish is None:
            return True
        staying = self._stay[number]
        for container in staying:
            if self._given.has_room(container.gpus, wish.memory):
                staying.remove(container)
                self.kept.add(container.container_id)
                self._given.take(container.gpus, wish.memory)
                return True
        devices = self._choose(wish)
        if devices is None:
            self.refused.add(number)
            return False
        self.new.append((number, devices))
        self._given.take(devices, wish.memory)
        return True

    def _choose(self, wish: GpuWish) -> tuple[str, ...] | None:
        possible = [each for each in wish.devices if self._given.has_room((each,), wish.memory)]
        if len(possible) < wish.count:
            return None
        rank = self._rank_whole if not wish.memory else lambda each: self._rank_part(each, wish)
        return tuple(sorted(possible, key=rank)[: wish.count])

    def _rank_whole(self, device: str) -> tuple[object, ...]:
        """Those that nobody has come first, then the least useful; the smallest, the first."""
        return (self._worth.get(device, _NOTHING), *self._order[device])

    def _rank_part(self, device: str, wish: GpuWish) -> tuple[object, ...]:
        """The fullest that has room now comes first, then one that nobody has."""
        used = max(self._given.used(device), self._now.used(device))
        fits = self._now.has_room((device,), wish.memory)
        left = self._order[device][0] - used
        return (not fits, not used, left if used else 0, *self._rank_whole(device))


def taken(snapshot: Snapshot) -> Rack:
    """Return the devices as the containers have them that are there."""
    rack = Rack(snapshot.gpus)
    for pool in snapshot.pools:
        if pool.gpu is not None:
            for container in pool.containers:
                rack.take(container.gpus, pool.gpu.memory)
    return rack


def turns(snapshot: Snapshot) -> list[int]:
    """Return the numbers of the pools that need GPUs, in the order in which they get their first.

    Whoever has some keeps one for a turn. Then comes who has inputs that wait, and has been without
    for the longest; then those whose turn is over. Last are those that want to be ready and have
    nothing to do: for them nobody else has to leave.
    """
    numbers = [number for number, pool in enumerate(snapshot.pools) if pool.gpu is not None]

    def rank(number: int) -> tuple[int, float, int]:
        pool = snapshot.pools[number]
        turn = max(TURN, TURN_STARTS * pool.start_time)
        if pool.containers:
            return 0 if snapshot.now - pool.turned < turn else 2, pool.turned, number
        return 1 if pool.waiting else 3, pool.turned, number

    return sorted(numbers, key=rank)


def placeable(
    snapshot: Snapshot, places: Places, limits: Mapping[int, int]
) -> dict[int, list[tuple[str, ...]]]:
    """Return the devices of the new containers that can start now, at most `limits` of each pool.

    Args:
        snapshot: What there is.
        places: What was given out.
        limits: How many containers each pool may start, by its number.
    """
    rack = taken(snapshot)
    found: dict[int, list[tuple[str, ...]]] = {number: [] for number in limits}
    for number, devices in places.new:
        wish = snapshot.pools[number].gpu
        assert wish is not None
        if len(found[number]) < limits[number] and rack.has_room(devices, wish.memory):
            rack.take(devices, wish.memory)
            found[number].append(devices)
    return found


def in_the_way(
    snapshot: Snapshot, places: Places, limits: Mapping[int, int], stopped: Iterable[str]
) -> list[tuple[str, ...]]:
    """Return for each pool the containers to let go because their devices were given to others.

    Nobody goes whose devices nobody waits for.

    Args:
        snapshot: What there is.
        places: What was given out.
        limits: How many containers each pool may start, by its number.
        stopped: Ids of those that go anyway.
    """
    ready = placeable(snapshot, places, limits)
    left = {number: limits[number] - len(ready[number]) for number in limits}
    awaited: set[str] = set()
    for number, devices in places.new:
        if devices in ready[number]:
            ready[number].remove(devices)
        elif left[number] > 0:
            left[number] -= 1
            awaited.update(devices)
    staying = places.kept | set(stopped)

    def blocks(container: ContainerView) -> bool:
        settled = container.draining or container.container_id in staying
        return not settled and not awaited.isdisjoint(container.gpus)

    return [tuple(c.container_id for c in p.containers if blocks(c)) for p in snapshot.pools]


def share_of_gpus(snapshot: Snapshot, pool: PoolSnapshot) -> float:
    """Return which part of the machine's GPUs one container of a pool takes."""
    if pool.gpu is None:
        return 0.0
    if pool.gpu.memory:
        return pool.gpu.memory / sum(gpu.memory for gpu in snapshot.gpus)
    return pool.gpu.count / len(snapshot.gpus)


#: how useful a device is: nobody has it; its container leaves, or is beyond what its pool wants
_UNUSED, _LEAVING, _BEYOND, _WANTED = range(4)
_NOTHING = (_UNUSED, 0.0, 0.0)


def _worth_of_devices(
    snapshot: Snapshot, useful: Sequence[list[ContainerView]], desired: Sequence[int]
) -> dict[str, tuple[float, ...]]:
    """Return how useful each device is that somebody has.

    The further a pool is beyond others with a container, the less useful is that.
    """
    worth: dict[str, tuple[float, ...]] = {}
    for pool, ranked, count in zip(snapshot.pools, useful, desired, strict=True):
        if pool.gpu is None:
            continue
        part = share_of_gpus(snapshot, pool)
        values = {c.container_id: -part * number for number, c in enumerate(ranked)}
        wanted = {c.container_id for c in ranked[:count]}
        for container in pool.containers:
            level = _LEAVING
            if not container.draining:
                level = _WANTED if container.container_id in wanted else _BEYOND
            value = (level, values.get(container.container_id, 0.0), container.last_used)
            for device in container.gpus:
                worth[device] = max(worth.get(device, _NOTHING), value)
    return worth


def _most_useful(pool: PoolSnapshot) -> list[ContainerView]:
    """Return the containers of a pool that have devices and count, the most useful first."""
    if pool.gpu is None:
        return []
    found = [c for c in pool.containers if c.busy or not c.draining]
    found.sort(key=lambda c: (c.busy, not c.ready, c.last_used, c.container_id), reverse=True)
    return sorted(found, key=lambda c: c.draining)
