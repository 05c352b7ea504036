"""What people are told of an environment: its planner, its machines, what becomes of its pools.

Reads, and decides what the planner would; changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloudfn.control.planner.fleet_decide import FleetDecision, decide_fleet
from cloudfn.control.planner.fleet_machines import Machine, Stand, machines, observed
from cloudfn.control.planner.fleet_snapshot import FleetSnapshot
from cloudfn.control.planner.observing import Observer
from cloudfn.control.planner.story import Story
from cloudfn.control.stores.ring import Ring
from cloudfn.providers.base import Cloud
from cloudfn.providers.fleet import InstanceState


@dataclass(frozen=True, slots=True)
class Survey:
    """An environment at one moment."""

    #: somebody plans just now, and which epoch it was when that was last written down
    led: bool
    epoch: int
    snapshot: FleetSnapshot
    decision: FleetDecision
    #: the planner's latest chapters, the oldest of them first; see `Story`
    chapters: tuple[dict[str, Any], ...]


def survey(cloud: Cloud, now: float, chapters: int = 10) -> Survey:
    """Look at an environment.

    Args:
        cloud: The environment.
        now: Seconds since the epoch.
        chapters: How many of the latest are wanted.
    """
    ring = Ring(cloud.dicts)
    memory = Story(ring).memory(now)
    observer = Observer(cloud, None)
    snapshot = observer.observe(observer.rows(), memory.epoch, memory, now)
    return Survey(
        cloud.leadership.led(now),
        memory.epoch,
        snapshot,
        decide_fleet(snapshot),
        tuple(ring.latest(chapters, now)) if chapters else (),
    )


def described(found: Survey) -> dict[str, Any]:
    """Return an environment as plain data."""
    decision = found.decision
    return {
        "led": found.led,
        "epoch": found.epoch,
        "active": decision.active,
        "cost": cost_sentence(decision, len(found.snapshot.present), _warm(found.snapshot)),
        "cost_per_hour": decision.cost,
        "guessed": decision.guessed,
        "notes": list(decision.notes),
        "pools": [
            {
                "pool": fate.pool,
                "name": pool.shown,
                "containers": fate.current,
                "desired": fate.desired,
                "here": fate.here,
                "coming": fate.coming,
                "limiting": fate.limiting,
                "reason": fate.reason,
            }
            for fate, pool in zip(decision.pools, found.snapshot.pools, strict=True)
        ],
        "machines": machine_list(found.snapshot),
        "story": [{"at": each["at"], "did": each["did"]} for each in found.chapters],
    }


def machine_list(snapshot: FleetSnapshot) -> list[dict[str, Any]]:
    """Return all machines as plain data, those of a class together, the warm ones at its end.

    Those that their provider has no more, and that are silent, are left out: they are gone, and the
    planner keeps their rows for a while only to be sure.
    """
    prices = {each.name: each.price for each in snapshot.classes}
    instances = {each.machine_id: each for each in snapshot.instances}
    found = machines(snapshot, observed(snapshot))
    found += [
        Machine(each.machine_id, each.machine_class, Stand.WARM, float("inf"))
        for each in snapshot.instances
        if each.state == InstanceState.WARM
    ]
    listed = []
    for machine in sorted(found, key=lambda each: (each.machine_class, each.since)):
        if not machine.exists and machine.stand in (Stand.SILENT, Stand.ABANDONED):
            continue
        report, instance = machine.report, instances.get(machine.machine_id)
        zone = report.zone if report is not None and report.zone else ""
        listed.append(
            {
                "machine_id": machine.machine_id,
                "machine_class": machine.machine_class,
                "state": machine.stand.value,
                "zone": zone or (instance.zone if instance is not None else ""),
                "spot": report.spot if report is not None else None,
                "cores": report.cores if report is not None else None,
                "memory": report.memory if report is not None else None,
                "gpus": [each.shown for each in report.gpus] if report is not None else [],
                "containers": _containers(machine),
                "inputs": _inputs(machine),
                "launched": instance.launched if instance is not None else None,
                "heard": machine.heard or None,
                "version": report.version if report is not None else None,
                "address": report.address if report is not None else None,
                "price": prices.get(machine.machine_class),
                "joined": report.joined if report is not None else None,
                "silent_for": _silent_for(machine, snapshot.now),
            }
        )
    return listed


def cost_sentence(decision: FleetDecision, count: int, warm: int = 0) -> str:
    """Say what machines cost.

    Args:
        decision: Knows the prices.
        count: How many machines there are, but for the warm ones.
        warm: How many are warm.
    """
    if not count and not warm:
        return "no machines: nothing bills by the hour"
    text = f"{count} machine{'' if count == 1 else 's'}{f' and {warm} warm' if warm else ''}: "
    if decision.guessed:
        return f"{text}about ${decision.cost:.2f} an hour, by guess"
    return f"{text}${decision.cost:.2f} an hour"


def _warm(snapshot: FleetSnapshot) -> int:
    return len(snapshot.instances) - len(snapshot.present)


def _silent_for(machine: Machine, now: float) -> float | None:
    """Return the seconds since a machine that should say something was heard or began."""
    if machine.stand not in (Stand.SILENT, Stand.ABANDONED):
        return None
    return max(0.0, now - (machine.heard or machine.since))


def _containers(machine: Machine) -> int:
    pools = machine.report.pools.values() if machine.report is not None else ()
    return sum(each.starting + each.idle + each.busy for each in pools)


def _inputs(machine: Machine) -> int:
    pools = machine.report.pools.values() if machine.report is not None else ()
    return sum(each.held + each.waiting for each in pools)
