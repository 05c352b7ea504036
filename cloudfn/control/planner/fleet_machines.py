"""Where each machine stands, by what its provider, its agent and our memory say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from cloudfn.control.planner.fleet_snapshot import (
    Asked,
    FleetMemory,
    FleetSnapshot,
    Refusal,
    Shape,
)
from cloudfn.providers.fleet import Instance, InstanceState, MachineClass
from cloudfn.providers.machines import MachineReport, MachineRow, MachineState, PoolReport

#: seconds for which a new leader listens before it ends anything, unless it heard all twice
PATIENCE = 60.0
#: seconds after which an instance that nobody hears of is ended
UNHEARD = 600.0
#: seconds that a machine has at least to join, where no other of its class has joined yet
FIRST_BOOT = 420.0
#: what a class is left alone for
NEVER_JOINED = "its machines do not join"
#: seconds after its lease until a machine's row is of no use
ROW_KEPT = 120.0
#: seconds that a machine without work is kept, where booting one takes less
KEEP_ALIVE = 120.0
#: weight of the newest boot in what one takes
_WEIGHT = 0.3


class Stand(Enum):
    """Where a machine stands."""

    #: it takes work
    SERVING = "serving"
    #: it was asked for, or boots
    BOOTING = "booting"
    #: it takes no new work, and finishes what it has
    LEAVING = "leaving"
    #: it has drained
    EMPTY = "empty"
    #: its lease is over
    SILENT = "silent"
    #: it never joined, or was not heard of for long: nobody waits for it any more
    ABANDONED = "abandoned"
    #: it is put aside until its group grows; decisions are made without it
    WARM = "warm"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, as the planner takes it."""

    machine_id: str
    machine_class: str
    stand: Stand
    #: since it stands so, or was launched: seconds since the epoch
    since: float
    report: MachineReport | None = None
    #: when it was heard last
    heard: float = 0.0
    #: its provider has it
    exists: bool = True

    @property
    def busy(self) -> bool:
        """Whether it has containers or inputs."""
        pools = self.report.pools.values() if self.report is not None else ()
        return any(p.starting or p.idle or p.busy or p.held or p.waiting for p in pools)


#: pool → machines that say something of it, and what
Reports = Mapping[str, Sequence[tuple[Machine, PoolReport]]]


def by_pool(found: Iterable[Machine]) -> Reports:
    """Return what machines say, by pool: most machines say nothing of most pools."""
    reports: dict[str, list[tuple[Machine, PoolReport]]] = {}
    for machine in found:
        for pool, report in machine.report.pools.items() if machine.report is not None else ():
            reports.setdefault(pool, []).append((machine, report))
    return reports


def observed(snapshot: FleetSnapshot) -> FleetMemory:
    """Return the memory with what can be seen of the machines now."""
    memory, now = snapshot.memory, snapshot.now
    if memory.epoch != snapshot.epoch:
        memory = replace(memory, epoch=snapshot.epoch, led_since=now, heard={})
    new = [each for each in snapshot.present if each.machine_id not in memory.seen]
    rows = {row.report.machine_id for row in snapshot.machines}
    there = {each.machine_id for each in snapshot.present} | rows
    return replace(
        memory,
        heard=_heard(memory, snapshot.machines),
        seen={each.machine_id: memory.seen.get(each.machine_id, now) for each in snapshot.present},
        boots=_boots(memory, snapshot),
        shapes=_shapes(memory, snapshot),
        asked=_still_asked(memory, new, there, snapshot),
        refusals=tuple(each for each in memory.refusals if _still_counts(each, snapshot)),
        drained={key: at for key, at in memory.drained.items() if key in there},
        idle_since={key: at for key, at in memory.idle_since.items() if key in rows},
    )


def machines(snapshot: FleetSnapshot, memory: FleetMemory) -> list[Machine]:
    """Return all machines, those included that were asked for alone.

    Args:
        snapshot: What there is.
        memory: As `observed` returned it.
    """
    instances = {each.machine_id: each for each in snapshot.present}
    rows = {row.report.machine_id: row for row in snapshot.machines}
    found = [
        _joined(row, instances.get(machine_id), memory, snapshot.now)
        for machine_id, row in rows.items()
    ]
    found += [
        _unjoined(each, memory, _patience(each.machine_class, memory, snapshot), snapshot.now)
        for each in instances.values()
        if each.machine_id not in rows
    ]
    found += [
        Machine(each.machine_id, each.machine_class, Stand.BOOTING, each.at, exists=False)
        for each in memory.asked
    ]
    return found


def boot_seconds(machine_class: MachineClass, memory: FleetMemory) -> float:
    """Return how long machines of a class take to join, as far as that is known."""
    return memory.boots.get(machine_class.name, machine_class.boot_seconds)


def is_settled(found: list[Machine], memory: FleetMemory, now: float) -> bool:
    """Whether the leader knows enough to end anything: it has heard every machine twice."""
    if now - memory.led_since >= PATIENCE:
        return True
    joined = [each for each in found if each.report is not None and each.stand != Stand.SILENT]
    unheard = any(each.stand == Stand.SILENT and each.exists for each in found)
    return not unheard and all(memory.heard.get(m.machine_id, (0, 0))[0] >= 2 for m in joined)


def _joined(row: MachineRow, instance: Instance | None, memory: FleetMemory, now: float) -> Machine:
    report, silent_for = row.report, now - row.lease_until
    stand, since = Stand.SERVING, report.joined
    if silent_for > 0:
        stand = Stand.ABANDONED if silent_for >= UNHEARD else Stand.SILENT
        since = row.lease_until
    elif report.state == MachineState.EMPTY:
        stand = Stand.EMPTY
    elif (
        report.state == MachineState.DRAINING
        or report.ends is not None
        or report.machine_id in memory.drained
        or (instance is not None and instance.state == InstanceState.ENDING)
    ):
        stand = Stand.LEAVING
    machine_class = report.machine_class
    return Machine(
        report.machine_id, machine_class, stand, since, report, row.heard, instance is not None
    )


def _patience(machine_class: str, memory: FleetMemory, snapshot: FleetSnapshot) -> float:
    """Return how long a machine may take to join: twice what others of its class took."""
    if machine_class in memory.boots:
        return 2 * memory.boots[machine_class]
    return _longest_boot(machine_class, snapshot)


def _longest_boot(machine_class: str, snapshot: FleetSnapshot) -> float:
    """Return how long a machine may take to join, where nothing is known of others."""
    guesses = {each.name: each.boot_seconds for each in snapshot.classes}
    return max(FIRST_BOOT, 2 * guesses.get(machine_class, 0.0))


def _unjoined(instance: Instance, memory: FleetMemory, patience: float, now: float) -> Machine:
    seen = memory.seen[instance.machine_id]
    since = seen if instance.launched is None else instance.launched
    if instance.state == InstanceState.ENDING:
        stand = Stand.LEAVING
    elif instance.state == InstanceState.PENDING:
        stand = Stand.ABANDONED if now - since >= patience else Stand.BOOTING
    else:
        # Its agent has joined once, or its description is ahead of its row.
        stand = Stand.ABANDONED if now - seen >= UNHEARD else Stand.SILENT
    return Machine(instance.machine_id, instance.machine_class, stand, since)


def _heard(memory: FleetMemory, rows: tuple[MachineRow, ...]) -> dict[str, tuple[int, float]]:
    heard = {}
    for row in rows:
        count, last = memory.heard.get(row.report.machine_id, (0, 0.0))
        heard[row.report.machine_id] = (count + (row.heard > last), max(last, row.heard))
    return heard


def _boots(memory: FleetMemory, snapshot: FleetSnapshot) -> dict[str, float]:
    """Learn how long machines took from their launch to joining, each when it is first heard.

    A process that starts anew on its machine joins late, and says nothing about boots.
    """
    launched = {each.machine_id: each.launched for each in snapshot.present}
    boots = dict(memory.boots)
    for row in snapshot.machines:
        report = row.report
        began = launched.get(report.machine_id)
        known = report.machine_id in snapshot.memory.heard
        if known or began is None:
            continue
        took, name = report.joined - began, report.machine_class
        if not 0 < took <= _longest_boot(name, snapshot):
            continue
        boots[name] = took if name not in boots else boots[name] + _WEIGHT * (took - boots[name])
    return boots


def _still_counts(refusal: Refusal, snapshot: FleetSnapshot) -> bool:
    """Whether a refusal is to be remembered: one that joins makes up for those that did not."""
    if refusal.reason == NEVER_JOINED:
        joined = (row.report for row in snapshot.machines if row.report.joined > refusal.at)
        if any(report.machine_class == refusal.machine_class for report in joined):
            return False
    return refusal.counts(snapshot.now)


def _shapes(memory: FleetMemory, snapshot: FleetSnapshot) -> dict[str, Shape]:
    """Learn what machines are really like; of those that differ, the smallest counts."""
    shapes = dict(memory.shapes)
    for row in snapshot.machines:
        report = row.report
        if report.machine_id not in snapshot.memory.heard:
            known = shapes.get(report.machine_class)
            cores = report.cores if known is None else min(report.cores, known.cores)
            memory_ = report.memory if known is None else min(report.memory, known.memory)
            shapes[report.machine_class] = Shape(cores, memory_, report.gpus)
    return shapes


def _still_asked(
    memory: FleetMemory, new: list[Instance], there: set[str], snapshot: FleetSnapshot
) -> tuple[Asked, ...]:
    """Return what was asked for and is not listed yet: it counts as booting, for a while."""
    boots = {each.name: boot_seconds(each, memory) for each in snapshot.classes}
    named = {each.machine_id for each in memory.asked if each.machine_id}
    appeared = [each.machine_class for each in new if each.machine_id not in named]
    left = []
    for each in memory.asked:
        if each.machine_id:
            if each.machine_id in there:
                continue
        elif each.machine_class in appeared:
            appeared.remove(each.machine_class)
            continue
        if snapshot.now - each.at < 2 * boots.get(each.machine_class, KEEP_ALIVE):
            left.append(each)
    return tuple(left)
