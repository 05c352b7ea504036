"""Which containers go to which machine: what each machine may have of each pool. Pure.

Containers that have inputs stay where they are. Further ones go where idle ones wait, then to the
fullest machine that has room. What is idle beyond that stays for its window where nobody else needs
the room; and on the fullest machine a pool may grow at once, before the planner has looked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from cloudfn.control.planner.fleet_machines import Machine, Stand
from cloudfn.control.planner.fleet_need import Demand
from cloudfn.control.planner.fleet_rooms import Eligible, Room, dominant, fill
from cloudfn.control.planner.fleet_snapshot import FleetMemory, Lowered, PoolView, Shape
from cloudfn.providers.machines import PoolReport

#: seconds after its last input for which a pool may grow before the planner has looked
READY_FOR = 600.0
#: seconds after which a machine has certainly heard of a lowered quota, if it was heard then
HEARD_AFTER = 5.0
_UNBOUNDED = 1_000
_NOTHING = PoolReport()


@dataclass(slots=True)
class Placing:
    """Which containers are where; filled step by step."""

    #: the fullest first
    rooms: list[Room]
    booting: list[Room]
    #: pool → containers on machines that serve, and on those that boot
    here: dict[str, int] = field(default_factory=dict)
    coming: dict[str, int] = field(default_factory=dict)
    #: machine → pool → containers
    quotas: dict[str, dict[str, int]] = field(default_factory=dict)
    kept: dict[str, dict[str, int]] = field(default_factory=dict)
    #: machines that work needs
    needed: set[str] = field(default_factory=set)

    def placed(self, pool: str) -> int:
        """Return the containers of a pool that have a place, now or soon."""
        return self.here.get(pool, 0) + self.coming.get(pool, 0)


def place(
    wants: Sequence[Demand],
    found: Sequence[Machine],
    kinds: Mapping[str, Shape],
    eligible: Eligible,
    memory: FleetMemory,
    now: float,
) -> Placing:
    """Return which containers go where.

    Args:
        wants: What pools ask for.
        found: All machines.
        kinds: What machines of each class are like.
        eligible: Who may be where.
        memory: As it is before this decision.
        now: Seconds since the epoch.
    """
    serving = {each.machine_id: each for each in found if each.stand == Stand.SERVING}
    placing = Placing(_rooms(wants, serving, kinds, memory), _booting(found, kinds))
    order = sorted(wants, key=lambda want: -dominant(want.pool, kinds.values()))
    _keep_busy(order, serving, placing)
    for level in (_first, _minimum, _needed, _desired):
        _spread(order, level, serving, placing, eligible)
    for level in (_first, _minimum, _needed, _desired):
        _reserve(order, level, placing, eligible)
    placing.needed |= {room.machine_id for room in placing.rooms if room.placed}
    placing.quotas = {room.machine_id: dict(room.placed) for room in placing.rooms}
    there = _perhaps(found, memory)
    for want in order:
        _keep_idle(want, serving, placing)
        free = _bound(want, there.get(want.pool.pool, {}), placing)
        _leave_open(want, free, placing, eligible, memory, now)
    return placing


def relieve(want: Demand, placing: Placing, eligible: Eligible) -> None:
    """Let a pool that has no place at all have one container beyond the room.

    What runs may wait for it.
    """
    if want.pool.gpu or want.present or placing.placed(want.pool.pool):
        return
    for room in placing.rooms:
        if eligible.may(want.pool, room.kind):
            placing.quotas[room.machine_id][want.pool.pool] = 1
            return


def lowered(
    placing: Placing, found: Sequence[Machine], memory: FleetMemory, now: float
) -> tuple[Lowered, ...]:
    """Return the quotas that were lowered, now or before, and that may not be obeyed yet."""
    heard = {each.machine_id: each.heard for each in found if each.report is not None}
    before = [
        each
        for each in memory.lowered
        if heard.get(each.machine_id, now) < each.at + HEARD_AFTER and each.machine_id in heard
    ]
    new = [
        Lowered(machine_id, pool, count, now)
        for machine_id, pools in memory.quotas.items()
        for pool, count in pools.items()
        if machine_id in heard and placing.quotas.get(machine_id, {}).get(pool, 0) < count
    ]
    return (*before, *new)


# The order of machines


def _rooms(
    wants: Sequence[Demand],
    serving: Mapping[str, Machine],
    kinds: Mapping[str, Shape],
    memory: FleetMemory,
) -> list[Room]:
    ranked = []
    for machine in serving.values():
        as_it_is = _room(machine, kinds)
        for want in wants:
            if count := _present(machine, want.pool):
                as_it_is.take(want.pool, count)
        # Of the empty ones, those that were busy last: the others have waited longer to go.
        parked = machine.machine_id in memory.parked
        idle = -memory.idle_since.get(machine.machine_id, 0.0)
        key = parked, -as_it_is.fullness, idle, machine.since, machine.machine_id
        ranked.append((key, _room(machine, kinds)))
    return [room for _, room in sorted(ranked, key=lambda each: each[0])]


def _room(machine: Machine, kinds: Mapping[str, Shape]) -> Room:
    assert machine.report is not None
    report = machine.report
    shape = Shape(report.cores, report.memory, report.gpus)
    kind = kinds.get(machine.machine_class, shape)
    return Room(machine.machine_id, machine.machine_class, shape, kind)


def _booting(found: Sequence[Machine], kinds: Mapping[str, Shape]) -> list[Room]:
    boots = sorted((m for m in found if m.stand == Stand.BOOTING), key=lambda m: m.since)
    return [
        Room(each.machine_id, each.machine_class, kinds[each.machine_class])
        for each in boots
        if each.machine_class in kinds
    ]


# What work needs


def _keep_busy(wants: Sequence[Demand], serving: Mapping[str, Machine], placing: Placing) -> None:
    for want in wants:
        left = want.desired
        for room in placing.rooms:
            report = _report(serving[room.machine_id], want.pool)
            if busy := min(left, report.busy):
                room.take(want.pool, busy, idle=min(busy, report.held_up))
                left -= busy
        placing.here[want.pool.pool] = want.desired - left


def _spread(
    wants: Sequence[Demand],
    level: Callable[[Demand], int],
    serving: Mapping[str, Machine],
    placing: Placing,
    eligible: Eligible,
) -> None:
    """Place containers up to a level of all pools, in turns, so that none takes all the room."""
    left = {want.pool.pool: level(want) - placing.here[want.pool.pool] for want in wants}
    hungry = [want for want in wants if left[want.pool.pool] > 0]
    while hungry:
        still = []
        for want in hungry:
            name = want.pool.pool
            share = ceil(left[name] / 4)
            rooms = _warm_first(want, serving, placing.rooms)
            count = fill(rooms, want.pool, share, eligible)
            placing.here[name] += count
            left[name] -= count
            if count == share and left[name]:
                still.append(want)
        hungry = still


def _warm_first(
    want: Demand, serving: Mapping[str, Machine], rooms: Sequence[Room]
) -> Sequence[Room]:
    """Put machines with idle containers of a pool first, while it has work for them.

    Without, the fullest machine takes them over, so that the others can go.
    """
    if not (want.waiting or want.busy):
        return rooms
    name = want.pool.pool
    return sorted(
        rooms,
        key=lambda room: _present(serving[room.machine_id], want.pool) <= room.placed.get(name, 0),
    )


def _reserve(
    wants: Sequence[Demand],
    level: Callable[[Demand], int],
    placing: Placing,
    eligible: Eligible,
) -> None:
    for want in wants:
        name = want.pool.pool
        missing = level(want) - placing.placed(name)
        if missing > 0:
            count = fill(placing.booting, want.pool, missing, eligible)
            placing.coming[name] = placing.coming.get(name, 0) + count


def _first(want: Demand) -> int:
    return min(1, want.desired)


def _minimum(want: Demand) -> int:
    return want.minimum


def _needed(want: Demand) -> int:
    return max(want.minimum, want.needed)


def _desired(want: Demand) -> int:
    return want.desired


# What is idle


def _keep_idle(want: Demand, serving: Mapping[str, Machine], placing: Placing) -> None:
    """Say what stays although it is idle: for min and buffer, and for its window."""
    name = want.pool.pool
    idle = want.desired - want.needed
    for room in placing.rooms:
        machine, placed = serving[room.machine_id], room.placed.get(name, 0)
        spare = min(idle, placed - min(placed, _report(machine, want.pool).busy))
        if spare > 0:
            placing.kept.setdefault(room.machine_id, {})[name] = placed
            idle -= spare
    if not want.pool.live:
        return
    for room in placing.rooms:
        machine, placed = serving[room.machine_id], room.placed.get(name, 0)
        extra = room.fits(want.pool, _present(machine, want.pool) - placed)
        if extra > 0:
            room.take(want.pool, extra)
            placing.quotas[room.machine_id][name] = placed + extra


def _leave_open(
    want: Demand,
    free: int,
    placing: Placing,
    eligible: Eligible,
    memory: FleetMemory,
    now: float,
) -> None:
    """Let a pool that had work lately have what is free on the fullest machine that has some."""
    name = want.pool.pool
    lately = now - memory.active_at.get(name, float("-inf")) <= READY_FOR
    if not want.pool.live or not (want.waiting or want.held or lately):
        return
    for room in placing.rooms:
        if room.machine_id in memory.parked or not eligible.may(want.pool, room.kind):
            continue
        if count := room.fits(want.pool, free):
            quota = placing.quotas[room.machine_id]
            quota[name] = quota.get(name, 0) + count
            return


def _perhaps(found: Sequence[Machine], memory: FleetMemory) -> dict[str, dict[str, int]]:
    """Return how many containers of each pool each machine may have by now, at most.

    What it has, and what it was allowed before and may have started since.
    """
    there: dict[str, dict[str, int]] = {}

    def note(pool: str, machine_id: str, count: int) -> None:
        counts = there.setdefault(pool, {})
        counts[machine_id] = max(count, counts.get(machine_id, 0))

    living = {m.machine_id: m for m in found if m.stand in (Stand.SERVING, Stand.LEAVING)}
    for machine in living.values():
        for pool, report in machine.report.pools.items() if machine.report else ():
            note(pool, machine.machine_id, report.starting + report.idle + report.busy)
        for pool, count in memory.quotas.get(machine.machine_id, {}).items():
            note(pool, machine.machine_id, count)
    for each in memory.lowered:
        told = living.get(each.machine_id)
        if told is not None and told.heard < each.at + HEARD_AFTER:
            note(each.pool, each.machine_id, each.count)
    return there


def _bound(want: Demand, there: Mapping[str, int], placing: Placing) -> int:
    """Lower a pool's quotas until it cannot have more than its maximum, whoever obeys when.

    Returns:
        How many more it may have.
    """
    name, limit = want.pool.pool, want.pool.settings.max_containers
    if limit is None:
        return _UNBOUNDED
    free, total = max(0, limit - sum(there.values())), 0
    for room in placing.rooms:
        quota, present = placing.quotas[room.machine_id], there.get(room.machine_id, 0)
        granted = min(quota.get(name, 0), present + free, limit - total)
        free -= max(0, granted - present)
        total += granted
        quota[name] = granted
        if not granted:
            del quota[name]
    return free


def _report(machine: Machine, pool: PoolView) -> PoolReport:
    return machine.report.pools.get(pool.pool, _NOTHING) if machine.report else _NOTHING


def _present(machine: Machine, pool: PoolView) -> int:
    report = _report(machine, pool)
    return report.starting + report.idle + report.busy
