"""How long a decision for many pools and machines takes. No I/O but the clock."""

from __future__ import annotations

from dataclasses import replace

from cloudfn.clock import SystemClock
from cloudfn.control.planner.fleet_decide import decide_fleet
from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot, PoolView
from cloudfn.model.function import AutoscalerSettings
from cloudfn.providers.fleet import Instance, InstanceState, MachineClass
from cloudfn.providers.machines import MachineReport, MachineRow, MachineState, PoolReport

_NOW = 1e6


def seconds(pools: int, machines: int) -> float:
    """Return how long the second decision takes: the first learns what all machines are like."""
    snapshot = busy(pools, machines)
    snapshot = replace(snapshot, now=_NOW + 1, memory=decide_fleet(snapshot).memory)
    began = SystemClock().monotonic()
    decide_fleet(snapshot)
    return SystemClock().monotonic() - began


def busy(pools: int, machines: int, each: int = 4) -> FleetSnapshot:
    """Return an environment in which all machines are full, and more waits in all pools.

    Args:
        pools: How many.
        machines: How many.
        each: Pools that a machine serves.
    """
    rows, instances = [], []
    for number in range(machines):
        served = [_pool((number * each + some) % pools) for some in range(each)]
        reports = {pool: PoolReport(busy=1, held=1, service=1.0) for pool in served}
        report = MachineReport(
            f"i-{number:017x}", "cpu", MachineState.READY, 2.0, 8_192,
            joined=_NOW - 5_000, pools=reports,
        )  # fmt: skip
        rows.append(MachineRow(report, _NOW, _NOW + 30))
        instances.append(
            Instance(report.machine_id, "cpu", InstanceState.IN_SERVICE, "z1", _NOW - 5_060)
        )
    return FleetSnapshot(
        _NOW,
        1,
        tuple(
            PoolView(
                _pool(number),
                AutoscalerSettings(),
                live=True,
                pending=50,
                delayed=0,
                running=40,
                cpu=0.5,
                memory=512,
            )
            for number in range(pools)
        ),
        (MachineClass("cpu", 2, 8_192, max_machines=machines, boot_seconds=60, price=0.1),),
        tuple(instances),
        tuple(rows),
        FleetMemory(epoch=1, led_since=_NOW - 1_000),
    )


def _pool(number: int) -> str:
    return f"fu-{number:04}@1"
