"""Which machines leave: first nothing new, then drained, then empty, then ended exactly. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloudfn.control.planner.fleet_machines import (
    KEEP_ALIVE,
    ROW_KEPT,
    Machine,
    Stand,
    boot_seconds,
    is_settled,
)
from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot
from cloudfn.providers.fleet import InstanceState, MachineClass
from cloudfn.providers.machines import MachineState

#: part of the machines that may be on their way out at once
_AT_ONCE = 0.1
#: seconds that a parked machine is listened to before it drains
_PARKED = 2.0


@dataclass(frozen=True, slots=True)
class Leave:
    """A machine that goes, and why."""

    machine_id: str
    reason: str


@dataclass(slots=True)
class Leaving:
    """What becomes of machines that are not needed."""

    drain: list[Leave] = field(default_factory=list)
    retire: list[Leave] = field(default_factory=list)
    #: machines whose rows are of no use any more
    forget: list[str] = field(default_factory=list)
    #: machine → since when; see `FleetMemory`
    idle_since: dict[str, float] = field(default_factory=dict)
    parked: dict[str, float] = field(default_factory=dict)
    drained: dict[str, float] = field(default_factory=dict)


def leave(
    snapshot: FleetSnapshot, found: Sequence[Machine], needed: set[str], memory: FleetMemory
) -> Leaving:
    """Return which machines leave, and how far they are.

    Args:
        snapshot: What there is.
        found: All machines.
        needed: Ids of those that work needs.
        memory: As it is before this decision.
    """
    now, leaving = snapshot.now, Leaving(drained=dict(memory.drained))
    classes = {each.name: each for each in snapshot.classes}
    ending = {i.machine_id for i in snapshot.instances if i.state == InstanceState.ENDING}
    for machine in found:
        _end(machine, classes, ending, leaving, now)
    for machine in found:
        if machine.stand == Stand.SERVING and not machine.busy and machine.machine_id not in needed:
            known = machine.machine_id in snapshot.memory.heard
            since = now if known else _idle_since(machine, now)
            leaving.idle_since[machine.machine_id] = memory.idle_since.get(
                machine.machine_id, since
            )
    if is_settled(list(found), memory, now):
        _drain(snapshot, found, classes, memory, leaving)
    return leaving


def _end(
    machine: Machine,
    classes: Mapping[str, MachineClass],
    ending: set[str],
    leaving: Leaving,
    now: float,
) -> None:
    """Retire what has drained or was given up, and forget the rows of what is gone."""
    name, machine_class = machine.machine_id, classes.get(machine.machine_class)
    barred = machine_class is not None and machine_class.no_retiring
    if machine.report is not None and not machine.exists and machine.stand != Stand.BOOTING:
        silent = machine.stand in (Stand.SILENT, Stand.ABANDONED)
        # Who said that it was empty, and is ended, comes back no more.
        drained = machine.report.state == MachineState.EMPTY
        if drained or (silent and now - machine.since >= ROW_KEPT):
            leaving.forget.append(name)
        return
    if machine.stand == Stand.LEAVING and machine.report is not None:
        leaving.drained.setdefault(name, now)
    if not machine.exists or name in ending or barred:
        return
    if machine.stand == Stand.EMPTY and not machine.busy:
        leaving.retire.append(Leave(name, "it has drained"))
    elif machine.stand == Stand.ABANDONED:
        what = "never joined" if machine.report is None else "was not heard of"
        leaving.retire.append(Leave(name, f"it {what} for {now - machine.since:.0f}s"))


def _drain(
    snapshot: FleetSnapshot,
    found: Sequence[Machine],
    classes: Mapping[str, MachineClass],
    memory: FleetMemory,
    leaving: Leaving,
) -> None:
    """Park machines that were idle for long, and drain those that were parked."""
    now = snapshot.now
    alive = sum(each.stand in (Stand.SERVING, Stand.LEAVING, Stand.EMPTY) for each in found)
    # Not those that finish something, be it for hours: they go for reasons of their own.
    going = sum(
        each.stand in (Stand.LEAVING, Stand.EMPTY)
        and each.machine_id in memory.drained
        and not each.busy
        for each in found
    )
    allowed = max(1, int(alive * _AT_ONCE)) - going
    machines = {each.machine_id: each for each in found}
    ranked = sorted(leaving.idle_since.items(), key=lambda each: (each[1], each[0]))
    for name, since in ranked:
        machine = machines[name]
        machine_class = classes.get(machine.machine_class)
        boot = KEEP_ALIVE if machine_class is None else boot_seconds(machine_class, memory)
        kept = max(boot, KEEP_ALIVE) if snapshot.keep_alive is None else snapshot.keep_alive
        grown = memory.grown.get(machine.machine_class)
        if allowed <= 0:
            return
        if (
            now - since < kept
            or (grown is not None and now - grown < boot)
            or (machine_class is not None and machine_class.no_retiring)
        ):
            continue
        allowed -= 1
        parked = memory.parked.get(name, now)
        if machine.heard >= parked + _PARKED:
            leaving.drain.append(Leave(name, f"idle for {now - since:.0f}s"))
            leaving.drained[name] = now
            del leaving.idle_since[name]
        else:
            leaving.parked[name] = parked


def _idle_since(machine: Machine, now: float) -> float:
    """Return since when a machine has nothing to do, by what it says when it is first heard."""
    assert machine.report is not None
    quiet = [each.quiet for each in machine.report.pools.values() if each.quiet is not None]
    if not quiet:
        return min(now, machine.report.joined or now)
    return min(now, machine.heard - min(quiet))
