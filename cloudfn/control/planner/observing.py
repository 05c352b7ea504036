"""What the planner sees of an environment: everything that changes, as often as it does. Thin I/O.

Auto Scaling and its like allow few questions, so machines' providers are asked every few seconds
while something changes, and rarely else.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cloudfn.control.planner.fleet_quotas import READY_FOR
from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot, PoolView
from cloudfn.control.planner.pool_book import PoolBook
from cloudfn.providers.base import Cloud
from cloudfn.providers.fleet import Instance, InstanceState, MachineClass
from cloudfn.providers.ledger import PoolCounts
from cloudfn.providers.machines import MachineRow, MachineState

#: seconds for which instances are taken to be as they were: while some come and go, and else
_CHANGING_FOR, _STEADY_FOR = 3.0, 15.0
_CLASSES_FOR = 15.0
#: pools whose counts are asked for one after the other, and side by side where there are more
_ONE_BY_ONE, _AT_ONCE = 2, 8


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

    def _pools(self, rows: list[MachineRow], memory: FleetMemory, now: float) -> list[PoolView]:
        counts = self._counts()
        wanted = dict.fromkeys(counts)
        wanted |= dict.fromkeys(pool for row in rows for pool in row.report.pools)
        live = self.book.live()
        found = []
        for pool in [*wanted, *(each for each in live if each not in wanted)]:
            view = self.book.view(pool, counts.get(pool), now)
            if view is None:
                continue
            lately = now - memory.active_at.get(pool, float("-inf")) <= READY_FOR
            if pool in wanted or lately or view.settings.min_containers:
                found.append(view)
        return found

    def _counts(self) -> dict[str, PoolCounts]:
        """Return the inputs of all pools that have some, asked for side by side."""
        pools = self._cloud.ledger.pools()
        if len(pools) <= _ONE_BY_ONE:
            return {pool: self._cloud.ledger.counts(pool) for pool in pools}
        with ThreadPoolExecutor(_AT_ONCE) as crew:
            return dict(zip(pools, crew.map(self._cloud.ledger.counts, pools), strict=True))

    def _see_machines(self, rows: list[MachineRow], memory: FleetMemory, now: float) -> None:
        if now - self._classes_at >= _CLASSES_FOR:
            self._classes = tuple(self._cloud.fleet.classes())
            self._classes_at = now
        joined = {row.report.machine_id for row in rows}
        changing = (
            bool(memory.asked)
            or any(row.report.state != MachineState.READY for row in rows)
            or any(i.state != InstanceState.IN_SERVICE for i in self._instances)
            or joined != {each.machine_id for each in self._instances}
        )
        if now - self._instances_at >= (_CHANGING_FOR if changing else _STEADY_FOR):
            self._instances = tuple(self._cloud.fleet.instances())
            self._instances_at = now
