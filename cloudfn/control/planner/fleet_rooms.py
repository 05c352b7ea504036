"""What room machines have for containers, and which containers go where. Pure: no I/O, no clock.

First fit on the fullest machine, the pools with the largest share of a machine first, so that the
other machines become really idle. Work that needs no GPU stays away from machines that have some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudfn.control.planner.fleet_snapshot import FleetMemory, PoolView, Shape
from cloudfn.model.gpu import wish_for
from cloudfn.providers.fleet import MachineClass

_ROUNDING = 1e-9


class Room:
    """One machine, and what is left of it, for one decision.

    Args:
        machine_id: Its id; empty for one that has none yet.
        machine_class: Of which class it is.
        shape: Its size.
        kind: What machines of its class are like at least; decides who may be there at all.
    """

    def __init__(
        self, machine_id: str, machine_class: str, shape: Shape, kind: Shape | None = None
    ) -> None:
        self.machine_id = machine_id
        self.machine_class = machine_class
        self.shape = shape
        self.kind = kind or shape
        self.placed: dict[str, int] = {}
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
        self.placed[pool.pool] = self.placed.get(pool.pool, 0) + count

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
        kinds: All kinds of machines that there are or can be.
    """

    def __init__(self, kinds: Iterable[Shape]) -> None:
        self._kinds = tuple(dict.fromkeys(kinds))
        self._known: dict[tuple[str, Shape], bool] = {}

    def may(self, pool: PoolView, kind: Shape) -> bool:
        """Whether containers of a pool may be on machines of a kind."""
        if (pool.pool, kind) not in self._known:
            self._known[pool.pool, kind] = kind in self._best(pool)
        return self._known[pool.pool, kind]

    def lacks(self, pool: PoolView) -> bool:
        """Whether no kind of machine has the GPUs that a pool needs."""
        return not self._best(pool)

    def _best(self, pool: PoolView) -> list[Shape]:
        """Return the kinds that are for a pool."""
        if pool.gpu:
            wished = (pool.gpu, pool.gpu_memory)
            suited = [each for each in self._kinds if wish_for(*wished, each.gpus) is not None]
        else:
            # Those with GPUs only where there are no others.
            suited = [each for each in self._kinds if not each.gpus] or list(self._kinds)
        large = [each for each in suited if _holds(each, pool)]
        # What is larger than any machine is cut down to the largest.
        return large or sorted(suited, key=lambda each: (each.cores, each.memory))[-1:]


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


def fill(rooms: Sequence[Room], pool: PoolView, count: int, eligible: Eligible) -> int:
    """Place up to `count` containers in the first rooms that have room; return how many."""
    left = count
    for room in rooms:
        if not left:
            break
        if eligible.may(pool, room.kind) and (fits := room.fits(pool, left)):
            room.take(pool, fits)
            left -= fits
    return count - left


def _holds(shape: Shape, pool: PoolView) -> bool:
    return pool.cpu <= shape.cores + _ROUNDING and pool.memory <= shape.memory
