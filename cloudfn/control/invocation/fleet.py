"""What machines report of pools, added up. Only reads."""

from __future__ import annotations

from collections.abc import Iterator

from cloudfn.clock import Clock
from cloudfn.model.variant import base_id
from cloudfn.providers.machines import MachineRow, Machines, PoolReport


class FleetView:
    """All containers of an environment, as far as machines said.

    Args:
        machines: Their rows.
        clock: The time.
    """

    def __init__(self, machines: Machines, clock: Clock) -> None:
        self._machines = machines
        self._clock = clock

    def rows(self) -> list[MachineRow]:
        """Return the rows of machines that live."""
        now = self._clock.wall()
        return [row for row in self._machines.list() if row.lease_until > now]

    def reports(self) -> Iterator[tuple[MachineRow, str, PoolReport]]:
        """Yield each machine with each pool that it has, and what it says of that."""
        for row in self.rows():
            for pool, report in row.report.pools.items():
                yield row, pool, report

    def containers(self) -> dict[str, int]:
        """Return how many containers each function has, those of its variants among them."""
        counts: dict[str, int] = {}
        for _, pool, report in self.reports():
            function_id = base_id(function_of(pool))
            counts[function_id] = counts.get(function_id, 0) + present(report)
        return counts


def function_of(pool: str) -> str:
    """Return the function, or variant, that a pool is one of."""
    return pool.rpartition("@")[0]


def present(report: PoolReport) -> int:
    """Return how many containers a machine has of a pool."""
    return report.starting + report.idle + report.busy
