"""How many containers each machine may have, and how many machines there are. Pure.

    desired = min(max(min, need + (buffer if active)), max)

of each pool, in all; `fleet_need.py` says what the work needs, `fleet_quotas.py` which machine has
how much of it, `fleet_growth.py` which machines are asked for, `fleet_leaving.py` which leave.
Everything that a decision needs of those before it is in the snapshot's memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cloudfn.control.planner.fleet_growth import Grower, Growth
from cloudfn.control.planner.fleet_leaving import Leave, Leaving, leave
from cloudfn.control.planner.fleet_machines import (
    NEVER_JOINED,
    Machine,
    Stand,
    boot_seconds,
    by_pool,
    machines,
    observed,
)
from cloudfn.control.planner.fleet_need import Demand, demands, paces
from cloudfn.control.planner.fleet_quotas import Placing, lowered, place, relieve
from cloudfn.control.planner.fleet_rooms import Eligible, kind_of
from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot, PoolView, Shape
from cloudfn.providers.fleet import InstanceState, price


@dataclass(frozen=True, slots=True)
class Grow:
    """Machines to ask for, and why."""

    machine_class: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class PoolFate:
    """What a pool gets, and why."""

    pool: str
    #: containers that it has, should have, may have now, and will have room for soon
    current: int
    desired: int
    here: int
    coming: int
    #: what set the number: need, buffer, min, max; or gate, capacity: what keeps it from more
    limiting: str
    reason: str


@dataclass(frozen=True, slots=True)
class FleetDecision:
    """What to do with an environment, and why."""

    #: machine → pool → containers that it may have, and that it keeps although they are idle
    quotas: Mapping[str, Mapping[str, int]]
    kept: Mapping[str, Mapping[str, int]]
    grow: tuple[Grow, ...]
    #: machines that take nothing new from now on, in all, and those of them that begin with it
    draining: frozenset[str]
    drain: tuple[Leave, ...]
    retire: tuple[Leave, ...]
    #: machines whose rows are of no use any more
    forget: tuple[str, ...]
    pools: tuple[PoolFate, ...]
    #: for people: what keeps work from running
    notes: tuple[str, ...]
    #: dollars an hour of all machines that there are; the price of so many of them is a guess
    cost: float
    guessed: int
    #: there is something to look at again in a second
    active: bool
    memory: FleetMemory


def decide_fleet(snapshot: FleetSnapshot) -> FleetDecision:
    """Decide for a whole environment."""
    now, memory = snapshot.now, observed(snapshot)
    found = machines(snapshot, memory)
    memory = replace(memory, paces=paces(snapshot.pools, found, memory.paces))
    kinds = {each.name: kind_of(each, memory) for each in snapshot.classes}
    platforms = {each.name: each.platform for each in snapshot.classes}
    eligible = Eligible({**_odd(found), **kinds}, platforms)
    boots = {each.name: boot_seconds(each, memory) for each in snapshot.classes}

    def boot(pool: PoolView) -> float:
        return min((boots[name] for name in eligible.classes(pool) if name in boots), default=0.0)

    wants = demands(snapshot.pools, found, memory, boot, now)
    placing = place(wants, found, kinds, eligible, memory, now)
    alive = _alive(snapshot, memory)
    growth = Grower(snapshot.classes, alive, kinds, eligible, memory, now).grow(wants, placing)
    for want in wants:
        if growth.lacking.get(want.pool.pool):
            relieve(want, placing)
    leaving = leave(snapshot, found, placing.needed, memory)
    cost, guessed = _cost(snapshot)
    return FleetDecision(
        quotas=placing.quotas,
        kept=placing.kept,
        grow=_grow(growth),
        draining=frozenset(leaving.drained),
        drain=tuple(leaving.drain),
        retire=tuple(leaving.retire),
        forget=tuple(leaving.forget),
        pools=tuple(_fate(want, placing, growth) for want in wants),
        notes=_notes(snapshot, growth),
        cost=cost,
        guessed=guessed,
        active=_is_active(snapshot, found),
        memory=_remembered(memory, snapshot, found, wants, placing, leaving),
    )


def _odd(found: Sequence[Machine]) -> dict[str, Shape]:
    """Return what machines are like by their class, which nobody may know."""
    return {
        each.machine_class: Shape(each.report.cores, each.report.memory, each.report.gpus)
        for each in found
        if each.report is not None
    }


def _alive(snapshot: FleetSnapshot, memory: FleetMemory) -> Counter[str]:
    """Return how many machines of each class there are or were asked for; what ends is none."""
    there = (each for each in snapshot.present if each.state != InstanceState.ENDING)
    alive = Counter(each.machine_class for each in there)
    alive.update(each.machine_class for each in memory.asked)
    return alive


def _grow(growth: Growth) -> tuple[Grow, ...]:
    return tuple(
        Grow(name, count, f"for {', '.join(dict.fromkeys(growth.purposes[name]))}")
        for name, count in growth.machines.items()
    )


def _fate(want: Demand, placing: Placing, growth: Growth) -> PoolFate:
    name, limiting, reason = want.pool.pool, want.limiting, want.reason
    here, coming = placing.here[name], placing.coming.get(name, 0) + growth.coming.get(name, 0)
    if coming:
        reason += f"; {coming} when machines have booted"
    if unworthy := growth.unworthy.get(name, 0):
        limiting, reason = "gate", f"{reason}; {unworthy} are not worth another machine"
    if lacking := growth.lacking.get(name, 0):
        limiting, reason = "capacity", f"{reason}; {lacking} have no machine"
    if want.pool.remark:
        reason += f"; {want.pool.remark}"
    return PoolFate(name, want.present, want.desired, here, coming, limiting, reason)


def _notes(snapshot: FleetSnapshot, growth: Growth) -> tuple[str, ...]:
    barred = [
        f"no machine of {each.name} is ended: {each.no_retiring}"
        for each in snapshot.classes
        if each.no_retiring
    ]
    return (*growth.notes, *barred)


def _cost(snapshot: FleetSnapshot) -> tuple[float, int]:
    classes = {each.name: each for each in snapshot.classes}
    cost, guessed = 0.0, 0
    for each in snapshot.instances:
        known = classes.get(each.machine_class)
        if known is None:
            continue
        if each.state == InstanceState.WARM and known.warm_price is not None:
            cost += known.warm_price
        else:
            cost += price(known)
            guessed += known.price is None
    return round(cost, 4), guessed


def _is_active(snapshot: FleetSnapshot, found: Sequence[Machine]) -> bool:
    wanted = any(
        each.pending or each.running or (each.live and each.settings.min_containers)
        for each in snapshot.pools
    )
    return wanted or bool(found)


def _remembered(
    memory: FleetMemory,
    snapshot: FleetSnapshot,
    found: Sequence[Machine],
    wants: Sequence[Demand],
    placing: Placing,
    leaving: Leaving,
) -> FleetMemory:
    now = snapshot.now
    never = {each.machine_id for each in found if each.report is None and each.exists}
    classes = {each.machine_id: each.machine_class for each in found}
    given_up = {classes[each.machine_id] for each in leaving.retire if each.machine_id in never}
    for machine_class in given_up:
        memory = memory.after_refusal(machine_class, NEVER_JOINED, now, longer=True)
    active = dict(memory.active_at)
    reports = by_pool(found)
    for want in wants:
        lasts = [
            m.heard - r.quiet for m, r in reports.get(want.pool.pool, ()) if r.quiet is not None
        ]
        last = max([active.get(want.pool.pool, 0.0), *lasts])
        active[want.pool.pool] = now if want.waiting or want.held else last
    known = {each.pool for each in snapshot.pools}
    waiting = memory.waiting_since
    serving = {each.machine_id for each in found if each.stand == Stand.SERVING}
    return replace(
        memory,
        idle_since=leaving.idle_since,
        parked=leaving.parked,
        drained=leaving.drained,
        waiting_since={
            each.pool.pool: waiting.get(each.pool.pool, now)
            for each in wants
            if each.waiting and each.held
        },
        active_at={pool: at for pool, at in active.items() if pool in known and at},
        quotas={key: quota for key, quota in placing.quotas.items() if key in serving},
        lowered=lowered(placing, found, memory, now),
    )
