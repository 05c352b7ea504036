"""How many inputs to hand to a container at once, and when to take them back. Pure.

One at a time for slow or unknown inputs; many for tiny ones, so that a hand-over is paid for by
milliseconds of work, as joblib's auto-batching does it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: seconds of work that one hand-over should carry
HANDOVER_WORK = 0.002
MAX_BATCH = 128
#: seconds after which whatever waits behind a running input is taken back
PATIENCE = 0.02
#: weight of the newest measurement
_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """What is known of how long a pool's inputs take, in seconds; None before the first one."""

    mean: float | None = None

    def after(self, total: float, count: int) -> ServiceTime:
        """Return the estimate after `count` inputs took `total` seconds together."""
        newest = total / count
        if self.mean is None:
            return ServiceTime(newest)
        return replace(self, mean=self.mean + _WEIGHT * (newest - self.mean))

    def at_least(self, seconds: float) -> ServiceTime:
        """Return the estimate after an input was seen to take longer than `seconds`."""
        return ServiceTime(max(self.mean or 0.0, seconds))


def batch_size(service: ServiceTime, *, single: bool) -> int:
    """Return how many inputs a container may hold, the running one included."""
    if single or service.mean is None:
        return 1
    return max(1, min(MAX_BATCH, int(HANDOVER_WORK / max(service.mean, 1e-9))))


def worth_refilling(held: int, batch: int) -> bool:
    """Whether to hand over more: at half a batch, so that hand-overs stay large."""
    return held == 0 or 2 * held <= batch
