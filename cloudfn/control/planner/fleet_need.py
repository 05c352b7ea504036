"""How many containers the work of a pool needs, on all machines together. Pure.

As `need.py` has it for one machine: a container must find at least its own start time's worth of
work. A machine must find the time that it takes to boot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from cloudfn.control.planner.fleet_machines import Machine, Stand, by_pool
from cloudfn.control.planner.fleet_snapshot import FleetMemory, Pace, PoolView
from cloudfn.control.planner.need import START_FLOOR
from cloudfn.providers.machines import PoolReport

#: seconds that an input is taken to need before one has finished
PRIOR = 1.0
#: seconds after a machine has booted for which there must be work, for those that there are
WORTHWHILE = 10.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Demand:
    """What one pool asks for when it looks at nobody else; numbers are totals of containers."""

    pool: PoolView
    pace: Pace
    #: inputs that no container has, and that containers of serving machines have
    waiting: int
    held: int
    #: containers of serving machines that have inputs
    busy: int
    #: containers of all machines, those that leave included
    present: int
    #: what an input takes, as far as anybody can say, and a machine to boot, in seconds
    service: float
    boot: float
    minimum: int
    needed: int
    desired: int
    limiting: str
    reason: str
    #: why no container starts on machines that tried, where there is none; empty: nothing is known
    trouble: str = ""

    @property
    def worthy(self) -> int:
        """How many containers are worth machines that have to boot: a minimum, the busy, and more.

        More are those that find work when they are ready.
        """
        if self.held and not self.waiting:
            return max(self.minimum, min(self.busy, self.desired))
        start = self.boot + self.pace.start
        work = self.waiting * self.service - self.held * start
        further = ceil(work / max(start, self.service) / self.pool.target - _ROUNDING)
        return min(self.desired, max(self.minimum, self.busy + max(further, not self.held)))

    def worth_booting(self, placed: int) -> int:
        """Return for how many containers beyond those that have a place machines are to boot."""
        slots = placed * self.pool.target
        until = self.boot + self.pace.start + WORTHWHILE
        if (self.waiting + self.held) * self.service < slots * until:
            return 0  # those that have one will have done it by then, or soon after
        return max(0, self.worthy - placed)


def demands(
    pools: Iterable[PoolView],
    found: list[Machine],
    memory: FleetMemory,
    boot: Callable[[PoolView], float],
    now: float,
) -> list[Demand]:
    """Return what each pool asks for.

    Args:
        pools: All pools.
        found: All machines.
        memory: What is known of them.
        boot: Seconds until a machine for a pool has booted.
        now: Seconds since the epoch.
    """
    reports = by_pool(found)
    return [_demand(pool, reports.get(pool.pool, ()), memory, boot(pool), now) for pool in pools]


def paces(
    pools: Iterable[PoolView], found: list[Machine], known: Mapping[str, Pace]
) -> dict[str, Pace]:
    """Return how fast pools are: as their machines say, or as they were."""
    reports = by_pool(found)
    return {
        pool.pool: _pace([each for _, each in reports.get(pool.pool, ())], known.get(pool.pool))
        for pool in pools
    }


def _pace(reports: Sequence[PoolReport], known: Pace | None) -> Pace:
    known = known or Pace()
    timed = [(each.held + 1, each.service) for each in reports if each.service is not None]
    weight = sum(count for count, _ in timed)
    service = sum(count * seconds for count, seconds in timed) / weight if timed else known.service
    started = [each.start_time for each in reports if each.starting or each.idle or each.busy]
    return Pace(service, max(started, default=known.start))


def _demand(
    pool: PoolView,
    reports: Sequence[tuple[Machine, PoolReport]],
    memory: FleetMemory,
    boot: float,
    now: float,
) -> Demand:
    settings, pace = pool.settings, memory.paces[pool.pool]
    serving = [each for machine, each in reports if machine.stand == Stand.SERVING]
    leaving = [each for machine, each in reports if machine.stand in (Stand.LEAVING, Stand.EMPTY)]
    busy, held = sum(each.busy for each in serving), sum(each.held for each in serving)
    elsewhere = sum(each.held for each in leaving)
    waiting = pool.pending + max(0, pool.running - held - elsewhere)
    present = sum(each.starting + each.idle + each.busy for each in (*serving, *leaving))
    age = now - memory.waiting_since.get(pool.pool, now)
    service = max(PRIOR, age) if pace.service is None else pace.service
    needed = _need(pool, pace, waiting, held, busy, service, age)
    active = waiting or busy or now - memory.active_at.get(pool.pool, 0) < settings.scaledown_window
    minimum = settings.min_containers if pool.live else 0
    buffer = settings.buffer_containers if pool.live and active else 0
    desired, limiting = needed + buffer, "buffer" if buffer else "need"
    reason = f"{waiting} waiting and {held} running need {needed}"
    if needed < ceil((waiting + held) / pool.target):
        reason += f" at {_shown(service)} each" if pace.service is not None else " for a start"
    reason += f", buffer of {buffer}" if buffer else ""
    if desired < minimum:
        desired, limiting, reason = minimum, "min", f"{reason}, min {minimum}"
    if settings.max_containers is not None and desired > settings.max_containers:
        desired, limiting = settings.max_containers, "max"
        reason += f", max {desired}"
    return Demand(
        pool, pace, waiting, held, busy, present, service, boot,
        min(minimum, desired), min(needed, desired), desired, limiting, reason,
        "" if present else next((each.trouble for each in serving if each.trouble), ""),
    )  # fmt: skip


def _need(
    pool: PoolView,
    pace: Pace,
    waiting: int,
    held: int,
    busy: int,
    service: float,
    age: float,
) -> int:
    """Return how many containers the work needs, those included that it keeps busy now."""
    if not waiting or pool.single_use:
        return busy + ceil(waiting / pool.target)
    start = max(pace.start, START_FLOOR)
    worth = max(start, service)
    further = ceil((waiting * service - held * start) / worth - _ROUNDING)
    if not held:
        further = max(1, further)
    elif age > 4 * worth + 5:
        # What runs does not get on with what waits: it may be slow. Double, and look again.
        further = max(further, held)
    room = max(0, busy * pool.target - held)
    return busy + max(0, ceil((min(waiting, further) - room) / pool.target))


def _shown(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
