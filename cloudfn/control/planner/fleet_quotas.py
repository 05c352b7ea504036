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
from cloudfn.control.planner.fleet_rooms import Eligible, Room, Row, dominant
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

    #: machines that serve, the fullest first, and those that boot
    serving: Row
    booting: Row
    #: pool → what machines have of it, the fullest machine first
    reports: dict[str, dict[Room, PoolReport]]
    #: pool → containers on machines that serve, and on those that boot
    here: dict[str, int] = field(default_factory=dict)
    coming: dict[str, int] = field(default_factory=dict)
    #: machine → pool → containers that it may have, and that it keeps although they are idle
    quotas: dict[str, dict[str, int]] = field(default_factory=dict)
    kept: dict[str, dict[str, int]] = field(default_factory=dict)
    #: machines that work needs
    needed: set[str] = field(default_factory=set)

    def placed(self, pool: str) -> int:
        """Return the containers of a pool that have a place, now or soon."""
        return self.here.get(pool, 0) + self.coming.get(pool, 0)

    def of(self, pool: PoolView) -> dict[Room, PoolReport]:
        """Return what machines have of a pool."""
        return self.reports.get(pool.pool, {})


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
    placing = _begun(wants, found, kinds, eligible, memory)
    order = sorted(wants, key=lambda want: -dominant(want.pool, kinds.values()))
    for want in order:
        _keep_busy(want, placing)
    for level in (_first, _minimum, _needed, _desired):
        _spread(order, level, placing)
    for level in (_first, _minimum, _worthy, _needed, _desired):
        _reserve(order, level, placing)
    placing.quotas = {room.machine_id: {} for room in placing.serving.rooms}
    for pool, counts in placing.serving.where.items():
        for room, count in counts.items():
            placing.quotas[room.machine_id][pool] = count
            placing.needed.add(room.machine_id)
    there, ranks = (
        _perhaps(found, memory),
        {room: n for n, room in enumerate(placing.serving.rooms)},
    )
    for want in order:
        _keep_idle(want, placing)
        rooms = {*placing.serving.where.get(want.pool.pool, ()), *placing.of(want.pool)}
        ranked = sorted(rooms, key=ranks.__getitem__)
        perhaps = there.get(want.pool.pool, {})
        free = _bound(want, perhaps, ranked, placing)
        _leave_open(want, free, perhaps, placing, memory, now)
    return placing


def relieve(want: Demand, placing: Placing) -> None:
    """Let a pool that has no place at all have one container beyond the room.

    What runs may wait for it.
    """
    if want.pool.gpu or want.present or placing.placed(want.pool.pool):
        return
    if room := placing.serving.first_for(want.pool):
        placing.quotas[room.machine_id][want.pool.pool] = 1


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


def _begun(
    wants: Sequence[Demand],
    found: Sequence[Machine],
    kinds: Mapping[str, Shape],
    eligible: Eligible,
    memory: FleetMemory,
) -> Placing:
    pools = {want.pool.pool: want.pool for want in wants}
    ranked = []
    for machine in found:
        if machine.stand != Stand.SERVING or machine.report is None:
            continue
        as_it_is = _room(machine)
        for name, report in machine.report.pools.items():
            if name in pools and (count := _present(report)):
                as_it_is.take(pools[name], count)
        # Of the empty ones, those that were busy last: the others have waited longer to go.
        parked = machine.machine_id in memory.parked
        idle = -memory.idle_since.get(machine.machine_id, 0.0)
        key = parked, -as_it_is.fullness, idle, machine.since, machine.machine_id
        ranked.append((key, _room(machine), machine.report.pools))
    ranked.sort(key=lambda each: each[0])
    reports: dict[str, dict[Room, PoolReport]] = {}
    for _, room, of_room in ranked:
        for name, report in of_room.items():
            reports.setdefault(name, {})[room] = report
    boots = sorted((m for m in found if m.stand == Stand.BOOTING), key=lambda m: m.since)
    booting = [
        Room(each.machine_id, each.machine_class, kinds[each.machine_class])
        for each in boots
        if each.machine_class in kinds
    ]
    serving = Row([room for _, room, _ in ranked], eligible)
    return Placing(serving, Row(booting, eligible), reports)


def _room(machine: Machine) -> Room:
    assert machine.report is not None
    report = machine.report
    shape = Shape(report.cores, report.memory, report.gpus)
    return Room(machine.machine_id, machine.machine_class, shape)


# What work needs


def _keep_busy(want: Demand, placing: Placing) -> None:
    left = want.desired
    for room, report in placing.of(want.pool).items():
        if busy := min(left, report.busy):
            placing.serving.take(room, want.pool, busy, idle=min(busy, report.held_up))
            left -= busy
    placing.here[want.pool.pool] = want.desired - left


def _spread(wants: Sequence[Demand], level: Callable[[Demand], int], placing: Placing) -> None:
    """Place containers up to a level of all pools, in turns, so that none takes all the room."""
    left = {want.pool.pool: level(want) - placing.here[want.pool.pool] for want in wants}
    hungry = [want for want in wants if left[want.pool.pool] > 0]
    while hungry:
        still = []
        for want in hungry:
            name = want.pool.pool
            share = ceil(left[name] / 4)
            count = placing.serving.fill(want.pool, share, _warm(want, placing))
            placing.here[name] += count
            left[name] -= count
            if count == share and left[name]:
                still.append(want)
        hungry = still


def _warm(want: Demand, placing: Placing) -> list[Room]:
    """Return the machines with idle containers of a pool, while it has work for them.

    Without work, the fullest machine takes them over, so that the others can go.
    """
    if not (want.waiting or want.busy):
        return []
    placed = placing.serving.where.get(want.pool.pool, {})
    reports = placing.of(want.pool).items()
    return [room for room, report in reports if _present(report) > placed.get(room, 0)]


def _reserve(wants: Sequence[Demand], level: Callable[[Demand], int], placing: Placing) -> None:
    for want in wants:
        name = want.pool.pool
        missing = level(want) - placing.placed(name)
        if missing > 0:
            count = placing.booting.fill(want.pool, missing)
            placing.coming[name] = placing.coming.get(name, 0) + count


def _first(want: Demand) -> int:
    return min(1, want.desired)


def _minimum(want: Demand) -> int:
    return want.minimum


def _worthy(want: Demand) -> int:
    return want.worthy


def _needed(want: Demand) -> int:
    return max(want.minimum, want.needed)


def _desired(want: Demand) -> int:
    return want.desired


# What is idle


def _keep_idle(want: Demand, placing: Placing) -> None:
    """Say what stays although it is idle: for min and buffer, and for its window."""
    name, reports = want.pool.pool, placing.of(want.pool)
    placed, idle = placing.serving.where.get(name, {}), want.desired - want.needed
    for room, count in placed.items():
        spare = min(idle, count - min(count, reports.get(room, _NOTHING).busy))
        if spare > 0:
            placing.kept.setdefault(room.machine_id, {})[name] = count
            idle -= spare
    if not want.pool.live:
        return
    for room, report in reports.items():
        extra = room.fits(want.pool, _present(report) - placed.get(room, 0))
        if extra > 0:
            room.take(want.pool, extra)
            placing.quotas[room.machine_id][name] = placed.get(room, 0) + extra


def _leave_open(
    want: Demand,
    free: int,
    there: Mapping[str, int],
    placing: Placing,
    memory: FleetMemory,
    now: float,
) -> None:
    """Let a pool that had work lately have what is free on the fullest machine that has some.

    What a machine may have by now, it may go on to have: that takes nothing of what is free.
    """
    name = want.pool.pool
    lately = now - memory.active_at.get(name, float("-inf")) <= READY_FOR
    if not want.pool.live or not (want.waiting or want.held or lately):
        return
    for room in placing.serving.open_to(want.pool):
        quota = placing.quotas[room.machine_id]
        more = max(0, free + max(0, there.get(room.machine_id, 0) - quota.get(name, 0)))
        if room.machine_id not in memory.parked and (count := room.fits(want.pool, more)):
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
            note(pool, machine.machine_id, _present(report))
        for pool, count in memory.quotas.get(machine.machine_id, {}).items():
            note(pool, machine.machine_id, count)
    for each in memory.lowered:
        told = living.get(each.machine_id)
        if told is not None and told.heard < each.at + HEARD_AFTER:
            note(each.pool, each.machine_id, each.count)
    return there


def _bound(want: Demand, there: Mapping[str, int], rooms: Sequence[Room], placing: Placing) -> int:
    """Lower a pool's quotas until it cannot have more than its maximum, whoever obeys when.

    Args:
        want: What the pool asks for.
        there: What it may have by now; see `_perhaps`.
        rooms: Machines that may have some, the fullest first.
        placing: Has the quotas.

    Returns:
        How many more it may have; less than none where it may have too many by now.
    """
    name, limit = want.pool.pool, want.pool.settings.max_containers
    if limit is None:
        return _UNBOUNDED
    left = limit - sum(there.values())
    free, total = max(0, left), 0
    for room in rooms:
        quota = placing.quotas[room.machine_id]
        if name not in quota:
            continue
        present = there.get(room.machine_id, 0)
        granted = min(quota[name], present + free, limit - total)
        free -= max(0, granted - present)
        total += granted
        _set(quota, name, granted)
        kept = placing.kept.get(room.machine_id, {})
        _set(kept, name, min(granted, kept.get(name, 0)))
    return free + min(0, left)


def _set(counts: dict[str, int], name: str, count: int) -> None:
    if count:
        counts[name] = count
    else:
        counts.pop(name, None)


def _present(report: PoolReport) -> int:
    return report.starting + report.idle + report.busy
