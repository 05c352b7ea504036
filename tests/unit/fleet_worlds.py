"""Builders of snapshots for tests of the planner of many machines."""

from dataclasses import replace

from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot, Pace, PoolView
from cloudfn.model.function import AutoscalerSettings
from cloudfn.providers.fleet import Instance, InstanceState, MachineClass
from cloudfn.providers.machines import MachineReport, MachineRow, MachineState, PoolReport

NOW = 1_000_000.0
#: leads for long, so that it may end machines
SETTLED = FleetMemory(epoch=1, led_since=NOW - 1_000)
SMALL = MachineClass("small", cores=2, memory=4_096, max_machines=10, boot_seconds=60)
LARGE = MachineClass("large", cores=16, memory=65_536, max_machines=4, boot_seconds=60)
IDLE = replace(SETTLED, idle_since={"m1": NOW - 500, "m2": NOW - 400})


def a_pool(name="f@1", *, live=True, pending=0, running=0, cpu=0.5, memory=512, **more):
    names = ("min_containers", "max_containers", "buffer_containers", "scaledown_window")
    settings = AutoscalerSettings(**{key: more.pop(key) for key in names if key in more})
    return PoolView(name, settings, live, pending, 0, running, cpu, memory, **more)


def a_machine(name="m1", machine_class="small", *, heard=NOW, lease=30.0, **more):
    report = {"cores": 2.0, "memory": 4_096, "state": MachineState.READY, "joined": NOW - 5_000}
    return MachineRow(
        MachineReport(name, machine_class, **{**report, **more}), heard, heard + lease
    )


def has(pool="f@1", **counts):
    """Return what a machine has of a pool, by its name."""
    return {pool: PoolReport(**counts)}


def instance_of(row, state=InstanceState.IN_SERVICE):
    return Instance(row.report.machine_id, row.report.machine_class, state, "z1", NOW - 5_060)


def a_snapshot(pools=(), machines=(), *, classes=(SMALL,), memory=SETTLED, instances=None, **more):
    """Return a snapshot in which the fleet has just the machines that were heard."""
    if instances is None:
        instances = tuple(instance_of(row) for row in machines)
    return FleetSnapshot(
        NOW, 1, tuple(pools), tuple(classes), tuple(instances), tuple(machines), memory, **more
    )


def knowing(service, pool="f@1", memory=SETTLED, start=1.0):
    """Return a memory in which a pool's inputs take so many seconds."""
    return replace(memory, paces={**memory.paces, pool: Pace(service, start)})


def asked(decision):
    """Return how many machines of each class are asked for."""
    return {each.machine_class: each.count for each in decision.grow}


def fate(decision, pool="f@1"):
    """Return what becomes of a pool."""
    return next(each for each in decision.pools if each.pool == pool)


def total(decision, pool="f@1"):
    """Return how many containers of a pool machines may have in all."""
    return sum(quotas.get(pool, 0) for quotas in decision.quotas.values())
