"""What room machines have for containers, and which containers go where. Pure: no I/O, no clock.

First fit on the fullest machine, the pools with the largest share of a machine first, so that the
other machines become really idle. Work that needs no GPU stays away from machines that have some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from cloudfn.control.planner.fleet_snapshot import FleetMemory, PoolView, Shape
from cloudfn.model.gpu import wish_for
from cloudfn.providers.fleet import MachineClass, suited

_ROUNDING = 1e-9


class Room:
    """One machine, and what is left of it, for one decision.

    Args:
        machine_id: Its id; empty for one that has none yet.
        machine_class: Of which class it is.
        shape: Its size.
    """

    def __init__(self, machine_id: str, machine_class: str, shape: Shape) -> None:
        self.machine_id = machine_id
        self.machine_class = machine_class
        self.shape = shape
        self._cores = shape.cores
        self._memory = float(shape.memory)
        self._whole = {gpu.device_id for gpu in shape.gpus}
        self._parts: dict[str, int] = {}

    def fits(self, pool: PoolView, limit: int) -> int:
        """Return how many containers of a pool there is room for, up to `limit`."""
        cores, memory = clipped(pool, self.shape)
        count = min(limit, int((self._cores + _ROUNDING) / cores), int(self._memory / memory))
        return max(0, min(count, len(self._devices(pool, count)) if pool.gpu else count))

    def take(self, pool: PoolView, count: int, idle: int = 0) -> None:
        """Place containers of a pool, whether there is room or not; `idle` of them take no CPU."""
        cores, memory = clipped(pool, self.shape)
        self._cores -= cores * (count - idle)
        self._memory -= memory * count
        for devices in self._devices(pool, count) if pool.gpu else ():
            for device in devices:
                if pool.gpu_memory:
                    self._parts[device] = self._parts.get(device, 0) + pool.gpu_memory
                self._whole.discard(device)

    @property
    def full(self) -> bool:
        """Whether no container has room."""
        return self._cores < _ROUNDING or self._memory < 1

    @property
    def fullness(self) -> float:
        """Which part of the machine is taken, by what is taken most."""
        gpus = len(self.shape.gpus)
        shares = [
            1 - self._cores / self.shape.cores,
            1 - self._memory / self.shape.memory,
            1 - len(self._whole) / gpus if gpus else 0.0,
        ]
        return round(max(shares), 6)

    def _devices(self, pool: PoolView, count: int) -> list[tuple[str, ...]]:
        """Return the devices of up to `count` further containers."""
        wish = wish_for(pool.gpu, pool.gpu_memory, self.shape.gpus)
        if wish is None:
            return []
        if not wish.memory:
            free = [each for each in wish.devices if each in self._whole]
            groups = range(0, len(free) - wish.count + 1, wish.count)
            return [tuple(free[at : at + wish.count]) for at in groups][:count]
        memory = {gpu.device_id: gpu.memory for gpu in self.shape.gpus}
        used = {each: self._parts.get(each, 0) for each in wish.devices}
        open_to = [each for each in wish.devices if each in self._whole or each in self._parts]
        found: list[tuple[str, ...]] = []
        # The fullest first, so that others stay whole.
        for device in sorted(open_to, key=lambda each: -used[each]):
            parts = (memory[device] - used[device]) // wish.memory
            found += [(device,)] * min(parts, count - len(found))
        return found


class Eligible:
    """Which machines pools may use at all.

    Args:
        kinds: What machines of each class are like at least.
        platforms: What images for them are built for, as far as that is known.
    """

    def __init__(self, kinds: Mapping[str, Shape], platforms: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._platforms = platforms
        self._known: dict[str, frozenset[str]] = {}

    def classes(self, pool: PoolView) -> frozenset[str]:
        """Return the classes whose machines may have containers of a pool."""
        known = self._known.get(pool.pool)
        if known is None:
            kinds = {name: kind for name, kind in self._kinds.items() if self._runs(name, pool)}
            best = suited(list(kinds.values()), pool.cpu, pool.memory, pool.gpu, pool.gpu_memory)
            names = (name for name, kind in kinds.items() if kind in best)
            known = self._known[pool.pool] = frozenset(names)
        return known

    def _runs(self, name: str, pool: PoolView) -> bool:
        """Whether machines of a class run what a pool's image holds."""
        return not pool.platform or self._platforms.get(name, pool.platform) == pool.platform


#: what decides whether a container has room
_Wish = tuple[float, int, tuple[str, ...], int | None]


class Row:
    """Rooms in an order: containers go to the first that has room for them.

    Args:
        rooms: The rooms; they only become fuller.
        eligible: Who may be where.
    """

    def __init__(self, rooms: Sequence[Room], eligible: Eligible) -> None:
        self.rooms = list(rooms)
        self._eligible = eligible
        #: what a container asks for → rooms at the beginning that have no room for it
        self._past: dict[_Wish, int] = {}
        #: pool → room → containers that were placed there
        self.where: dict[str, dict[Room, int]] = {}

    def add(self, rooms: Sequence[Room]) -> None:
        """Put further rooms at the end."""
        self.rooms += rooms

    def fill(self, pool: PoolView, count: int, first: Iterable[Room] = ()) -> int:
        """Place up to `count` containers, in `first` before all others; return how many."""
        left, classes = count, self._eligible.classes(pool)
        for room in first:
            if room.machine_class in classes and (fits := room.fits(pool, left)):
                self.take(room, pool, fits)
                left -= fits
        wish = _wish(pool)
        at = self._past.get(wish, 0)
        while left and at < len(self.rooms):
            room = self.rooms[at]
            if not room.full and room.machine_class in classes and (fits := room.fits(pool, left)):
                self.take(room, pool, fits)
                left -= fits
            at += bool(left)
        self._past[wish] = at
        return count - left

    def take(self, room: Room, pool: PoolView, count: int, idle: int = 0) -> None:
        """Place containers in a room; see `Room.take`."""
        room.take(pool, count, idle)
        counts = self.where.setdefault(pool.pool, {})
        counts[room] = counts.get(room, 0) + count

    def open_to(self, pool: PoolView) -> Iterator[Room]:
        """Yield the rooms that may have containers of a pool, without those known to be full."""
        return self._for(pool, islice(self.rooms, self._past.get(_wish(pool), 0), None))

    def first_for(self, pool: PoolView) -> Room | None:
        """Return the first room that may have containers of a pool, whether it is full or not."""
        return next(self._for(pool, self.rooms), None)

    def _for(self, pool: PoolView, rooms: Iterable[Room]) -> Iterator[Room]:
        classes = self._eligible.classes(pool)
        return (room for room in rooms if room.machine_class in classes)


def kind_of(machine_class: MachineClass, memory: FleetMemory) -> Shape:
    """Return what machines of a class are like: as they turned out to be, or as they should be."""
    declared = Shape(machine_class.cores, machine_class.memory, machine_class.gpus)
    return memory.shapes.get(machine_class.name, declared)


def clipped(pool: PoolView, shape: Shape) -> tuple[float, int]:
    """Return the cores and MiB of a pool's containers, as far as a machine can have them."""
    return min(pool.cpu, shape.cores), max(1, min(pool.memory, shape.memory))


def dominant(pool: PoolView, kinds: Iterable[Shape]) -> float:
    """Return which part of the largest machine a container takes, by what it takes most of."""
    shares = (max(pool.cpu / each.cores, pool.memory / each.memory) for each in kinds)
    return bool(pool.gpu) + min(shares, default=1.0)


def _wish(pool: PoolView) -> _Wish:
    return pool.cpu, pool.memory, pool.gpu, pool.gpu_memory
