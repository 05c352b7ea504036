"""The clock: the only module that asks the time or sleeps."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is."""

    def wall(self) -> float:
        """Seconds since the epoch; only for records, schedules and people."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back and go on while the machine sleeps, for leases."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        # CLOCK_BOOTTIME counts a suspended laptop's sleep; macOS has no such clock.
        self._boottime: int | None = getattr(time, "CLOCK_BOOTTIME", None)

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        if self._boottime is None:
            return time.monotonic()
        return time.clock_gettime(self._boottime)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
