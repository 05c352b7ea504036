"""Which machines to ask for: for work that will still be there when they have booted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from cloudfn.control.planner.fleet_need import Demand
from cloudfn.control.planner.fleet_quotas import Placing
from cloudfn.control.planner.fleet_rooms import Eligible, Room, Row, dominant
from cloudfn.control.planner.fleet_snapshot import FleetMemory, Refusal, Shape
from cloudfn.providers.fleet import MachineClass, price


@dataclass(slots=True)
class Growth:
    """Machines that are wanted, and what there is to say about those that are not."""

    #: class → how many
    machines: Counter[str] = field(default_factory=Counter)
    #: class → names of the pools that they are for
    purposes: dict[str, list[str]] = field(default_factory=dict)
    #: pool → containers that wait for these machines, that wait for others in vain, and that are
    #: not worth one
    coming: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, int] = field(default_factory=dict)
    unworthy: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Grower:
    """Opens machines for what has no place, for one decision.

    Args:
        classes: What there can be.
        alive: How many machines of each class there are or will be.
        kinds: What machines of each class are like.
        eligible: Who may be where.
        memory: With the refusals.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        classes: Sequence[MachineClass],
        alive: Mapping[str, int],
        kinds: Mapping[str, Shape],
        eligible: Eligible,
        memory: FleetMemory,
        now: float,
    ) -> None:
        self._classes = classes
        self._kinds = kinds
        self._eligible = eligible
        self._refused = {each.machine_class: each for each in memory.refusals if each.holds(now)}
        self._left = {each.name: each.max_machines - alive.get(each.name, 0) for each in classes}
        self._opened = Row([], eligible)
        self._growth = Growth()

    def grow(self, wants: Sequence[Demand], placing: Placing) -> Growth:
        """Return the machines to ask for."""
        for want in sorted(wants, key=lambda want: -dominant(want.pool, self._kinds.values())):
            missing = want.desired - placing.placed(want.pool.pool)
            if want.trouble:
                # What no machine can start, a further one cannot either.
                self._growth.notes.append(f"{want.pool.shown}: {want.trouble}")
            elif missing > 0:
                self._grow(want, missing, placing)
        for want in wants:
            self._use_what_is_left(want)
        return self._growth

    def _grow(self, want: Demand, missing: int, placing: Placing) -> None:
        name, placed = want.pool.pool, placing.placed(want.pool.pool)
        names = self._eligible.classes(want.pool)
        fit = [each for each in self._classes if each.name in names]
        least = max(0, want.minimum - placed, 0 if placed else 1)
        count = least + want.worth_booting(placed + least)
        # A buffer is kept where the need has its place.
        count = missing if placed + count >= want.needed else min(missing, count)
        if count < missing:
            self._growth.unworthy[name] = missing - count
        left = count - self._opened.fill(want.pool, count)
        while left and (best := self._best(want, fit, left)):
            left -= self._open(want, best, left)
        if coming := count - left:
            self._growth.coming[name] = coming
        if left:
            self._growth.lacking[name] = left
            self._growth.notes.append(self._why(want, fit, left))

    def _use_what_is_left(self, want: Demand) -> None:
        """Let what is not worth a machine of its own have room on those that come anyway."""
        name, unworthy = want.pool.pool, self._growth.unworthy.pop(want.pool.pool, 0)
        found = self._opened.fill(want.pool, unworthy)
        if found:
            self._growth.coming[name] = self._growth.coming.get(name, 0) + found
        if unworthy > found:
            self._growth.unworthy[name] = unworthy - found

    def _best(self, want: Demand, fit: Sequence[MachineClass], count: int) -> MachineClass | None:
        """Return the class whose machines cost least for so many containers."""
        ranked = [
            (ceil(count / holds) * price(each), number, each)
            for number, each in enumerate(fit)
            if (holds := self._fresh(each).fits(want.pool, count))
            and self._left[each.name] > 0
            and each.name not in self._refused
            and not each.no_growth
        ]
        return min(ranked, key=lambda each: each[:2])[2] if ranked else None

    def _open(self, want: Demand, machine_class: MachineClass, count: int) -> int:
        """Open machines of a class for containers; return for how many."""
        holds = self._fresh(machine_class).fits(want.pool, count)
        number = min(ceil(count / holds), self._left[machine_class.name])
        rooms = [self._fresh(machine_class) for _ in range(number)]
        self._opened.add(rooms)
        self._left[machine_class.name] -= number
        self._growth.machines[machine_class.name] += number
        self._growth.purposes.setdefault(machine_class.name, []).append(want.pool.shown)
        return self._opened.fill(want.pool, count)

    def _why(self, want: Demand, fit: Sequence[MachineClass], count: int) -> str:
        """Say why containers have no machine to come."""
        what = f"{count} of {want.pool.shown}"
        if not fit:
            asked = f" with {', '.join(want.pool.gpu)}" if want.pool.gpu else ""
            of = f" of {want.pool.platform}" if want.pool.platform else ""
            return f"{what} cannot run: no machine class{of} has machines{asked} for them"
        refused = [self._refused[each.name] for each in fit if each.name in self._refused]
        if refused:
            return f"{what}: waiting for capacity: {', '.join(map(_shown, refused))}"
        barred = [f"{each.name} ({each.no_growth})" for each in fit if each.no_growth]
        if barred:
            return f"{what}: no machines just now: {', '.join(barred)}"
        full = ", ".join(f"{each.name} has all of its {each.max_machines}" for each in fit)
        return f"{what} wait for room: {full}"

    def _fresh(self, machine_class: MachineClass) -> Room:
        return Room("", machine_class.name, self._kinds[machine_class.name])


def _shown(refusal: Refusal) -> str:
    times = f" ×{refusal.times}" if refusal.times > 1 else ""
    return f"{refusal.machine_class} ({refusal.reason}{times})"
