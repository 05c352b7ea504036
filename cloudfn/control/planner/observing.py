"""What the planner sees of an environment: everything that changes, as often as it does. Thin I/O.

Auto Scaling and its like allow few questions, so machines' providers are asked every few seconds
while something changes, and rarely else.
"""

from __future__ import annotations

from cloudfn.control.planner.fleet_quotas import READY_FOR
from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot, PoolView
from cloudfn.control.planner.pool_book import PoolBook
from cloudfn.providers.base import Cloud
from cloudfn.providers.fleet import Instance, InstanceState, MachineClass
from cloudfn.providers.machines import MachineRow, MachineState
from cloudfn.providers.shared_ledger import Overview

#: seconds for which instances are taken to be as they were: while some come and go, and else
_CHANGING_FOR, _STEADY_FOR = 3.0, 15.0
_CLASSES_FOR = 15.0
#: Records of the ledger that are read in a second at most, on average: they cost $0.45 an hour
#: then, and a backlog of a million inputs, which is 10,000 of them, is looked at each 10 s.
_READ_PER_SECOND = 1_000


class Observer:
    """Builds snapshots.

    Args:
        cloud: The environment.
        keep_alive: See `FleetSnapshot`.
    """

    def __init__(self, cloud: Cloud, keep_alive: float | None) -> None:
        self._cloud = cloud
        self._keep_alive = keep_alive
        self.book = PoolBook(cloud.catalog, cloud.scheduled)
        self._classes: tuple[MachineClass, ...] = ()
        self._classes_at = float("-inf")
        self._instances: tuple[Instance, ...] = ()
        self._instances_at = float("-inf")
        self._seen = Overview({}, None, 0)
        self._seen_at = float("-inf")

    def rows(self) -> list[MachineRow]:
        """Return all machines, as they were heard last."""
        return self._cloud.machines.list()

    def observe(
        self, rows: list[MachineRow], epoch: int, memory: FleetMemory, now: float
    ) -> FleetSnapshot:
        """Return what there is.

        Args:
            rows: All machines.
            epoch: Of the leader.
            memory: What the last decision left.
            now: Seconds since the epoch.
        """
        self.book.refresh(now)
        self._see_machines(rows, memory, now)
        return FleetSnapshot(
            now,
            epoch,
            tuple(self._pools(rows, memory, now)),
            self._classes,
            self._instances,
            tuple(rows),
            memory,
            self._keep_alive,
        )

    def changed(self) -> None:
        """The fleet was asked for something: look at it again soon."""
        self._instances_at = float("-inf")

    def next_due(self) -> float | None:
        """Return when something that waits may run, or is too late, as of the last look."""
        return self._seen.next_due

    def _overview(self, now: float) -> Overview:
        if now - self._seen_at >= self._seen.size / _READ_PER_SECOND:
            self._seen, self._seen_at = self._cloud.ledger.overview(now), now
        return self._seen

    def _pools(self, rows: list[MachineRow], memory: FleetMemory, now: float) -> list[PoolView]:
        counts = self._overview(now).counts
        wanted = dict.fromkeys(counts)
        wanted |= dict.fromkeys(pool for row in rows for pool in row.report.pools)
        live = self.book.live()
        pools = [*wanted, *(each for each in live if each not in wanted)]
        self.book.refresh_settings(pools, now)
        found = []
        for pool in pools:
            view = self.book.view(pool, counts.get(pool), now)
            if view is None:
                continue
            lately = now - memory.active_at.get(pool, float("-inf")) <= READY_FOR
            if pool in wanted or lately or view.settings.min_containers:
                found.append(view)
        return found

    def _see_machines(self, rows: list[MachineRow], memory: FleetMemory, now: float) -> None:
        if now - self._classes_at >= _CLASSES_FOR:
            self._classes = tuple(self._cloud.fleet.classes())
            self._classes_at = now
        joined = {row.report.machine_id for row in rows}
        present = [each for each in self._instances if each.state != InstanceState.WARM]
        changing = (
            bool(memory.asked)
            or any(row.report.state != MachineState.READY for row in rows)
            or any(each.state != InstanceState.IN_SERVICE for each in present)
            or joined != {each.machine_id for each in present}
        )
        if now - self._instances_at >= (_CHANGING_FOR if changing else _STEADY_FOR):
            self._instances = tuple(self._cloud.fleet.instances())
            self._instances_at = now
