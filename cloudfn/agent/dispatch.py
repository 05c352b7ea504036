"""How many inputs to hand to a container at once, and when to take them back. Pure.

One at a time for slow or unknown inputs; many for tiny ones, so that a hand-over is paid for by
milliseconds of work, as joblib's auto-batching does it.
"""

from __future__ import annotations

from typing import NamedTuple

#: seconds of work that one hand-over should carry
HANDOVER_WORK = 0.002
MAX_BATCH = 128
#: the running input and the next one, so that a container need not wait for its next hand-over
NEXT_ONLY = 2
#: seconds after which whatever waits behind a running input is taken back
PATIENCE = 0.02
#: weight of the newest measurement
_WEIGHT = 0.3


class ServiceTime(NamedTuple):
    """What is known of how long a pool's inputs take, in seconds."""

    #: None before the first one has finished
    mean: float | None = None
    #: what one was seen to exceed lately; one slow input among many makes hand-overs small, but it
    #: does not make the mean large
    slowest: float = 0.0

    def after(self, total: float, count: int) -> ServiceTime:
        """Return the estimate after `count` (at least 1) inputs took `total` seconds together."""
        newest = total / count
        slowest = self.slowest * (1 - _WEIGHT)
        if self.mean is None:
            return ServiceTime(newest, slowest)
        return ServiceTime(self.mean + _WEIGHT * (newest - self.mean), slowest)

    def at_least(self, seconds: float) -> ServiceTime:
        """Return the estimate after an input was seen to take longer than `seconds`."""
        return self._replace(slowest=max(self.slowest, seconds))


def batch_size(service: ServiceTime, limit: int = MAX_BATCH) -> int:
    """Return how many inputs a container may hold, the running one included; `limit` at most."""
    if service.mean is None:
        return 1
    expected = max(service.mean, service.slowest, 1e-9)
    return max(1, min(limit, int(HANDOVER_WORK / expected)))


def worth_refilling(held: int, batch: int) -> bool:
    """Whether to hand over more: at half a batch, so that hand-overs stay large."""
    return held == 0 or 2 * held <= batch
