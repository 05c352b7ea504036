"""The port for what queues hold: opaque elements, first in, first out, in partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloudfn.errors import ResourceExhaustedError


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What `Queues.expire` found."""

    #: requests that took elements and were not settled
    unsettled: tuple[str, ...]
    #: elements that are gone for good: their blobs can be deleted
    gone: tuple[bytes, ...]


class Queues(Protocol):
    """Elements of queues. Nobody waits here; whoever is above does the waiting.

    An element is in its queue until a request takes it. The request is settled when its client has
    what it took (kept: gone for good), or will never have it (back to the front, in the old order).
    So no element is lost with a message, and none is given to two clients. A request carries an
    id: asked again with the same one, it has the same answer and no further effect.

    Every write survives the death of the process when the method returns.
    """

    def put(
        self,
        queue_id: str,
        partition: str,
        items: Sequence[bytes],
        *,
        request: str,
        ttl: float,
        now: float,
    ) -> bool:
        """Append elements, all or none; False when there is no room for all.

        The partition lives for `ttl` seconds from now on.

        Raises:
            ResourceExhaustedError: The queue has as many partitions as it may.
        """
        ...

    def take(
        self, queue_id: str, partition: str, limit: int, size: int, *, request: str, now: float
    ) -> list[bytes]:
        """Take elements from the front: `limit` at most, of some `size` bytes, one at least."""
        ...

    def settle(self, requests: Sequence[str], *, keep: bool, now: float) -> list[bool]:
        """End requests that took elements; whether each was still as `keep` wants it.

        Keeping is refused once the elements are back in the queue; giving back does nothing once
        they are kept. Idempotent.
        """
        ...

    def peek(
        self, queue_id: str, partition: str, after: int, limit: int, size: int, now: float
    ) -> list[tuple[int, bytes]]:
        """Return elements beyond a position, with their positions, and leave them there."""
        ...

    def counts(self, queue_id: str, now: float) -> Mapping[str, int]:
        """Return how many elements the partitions hold that hold any."""
        ...

    def expire(self, now: float, patience: float) -> Leftovers:
        """Drop partitions that had their time, and answers that are `patience` seconds old."""
        ...

    def close(self) -> None:
        """Give the store back. Idempotent."""
        ...


def too_many_partitions(limit: int) -> ResourceExhaustedError:
    """Return the error for one partition more than a queue may have."""
    return ResourceExhaustedError(
        f"The queue has {limit} partitions, and may have no more.",
        hint="Partitions vanish when their time to live is over: put with a smaller partition_ttl.",
    )
