"""Queues as clients ask for them: plain fields in, plain fields out, now or later."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from cloudfn.control.operations import Fields
from cloudfn.control.stores.later import Later
from cloudfn.control.stores.payloads import Intake, StoreBlobs
from cloudfn.control.stores.registry import Registry
from cloudfn.errors import InvalidError
from cloudfn.providers.objects import ObjectKind
from cloudfn.providers.queues import Queues
from cloudfn.settings import StoreLimits
from cloudfn.wire.texts import from_texts

_PARTITION_NAME = 64
_TTL_RANGE = (1, 7 * 86_400)


class Broker(Protocol):
    """Has requests of queues wait; `broker.py` has one that hands elements out itself."""

    def put(
        self,
        owner: Hashable,
        key: tuple[str, str],
        items: list[bytes],
        *,
        request: str,
        ttl: float,
        until: float | None,
        now: float,
    ) -> Later:
        """Append elements; the answer says whether they were."""
        ...

    def take(
        self,
        owner: Hashable,
        key: tuple[str, str],
        limit: int,
        *,
        request: str,
        until: float | None,
        now: float,
    ) -> Later:
        """Take elements; the answer has none when there were none in time."""
        ...

    def peek(
        self,
        owner: Hashable,
        key: tuple[str, str],
        after: int,
        limit: int,
        *,
        request: str,
        until: float | None,
        now: float,
    ) -> Later:
        """Look at elements beyond a position; the answer has none when there were none in time."""
        ...

    def settle(self, requests: list[str], *, keep: bool, now: float) -> list[bool]:
        """End requests: their clients have what they took, or do not wait for it any more."""
        ...

    def clear(self, queue_id: str, partition: str | None, *, request: str, now: float) -> None:
        """Remove all elements of a partition, or of all partitions."""
        ...


class QueueDesk:
    """Answers questions about queues."""

    def __init__(
        self,
        queues: Queues,
        broker: Broker,
        registry: Registry,
        blobs: StoreBlobs,
        limits: StoreLimits,
    ) -> None:
        self._queues = queues
        self._broker = broker
        self._registry = registry
        self._capacity = limits.queue_items
        self._intake = Intake(
            blobs,
            limits.queue_item_size,
            "An element of a queue",
            "Put what is larger into a Dict or a Volume, and its key into the queue.",
        )

    def put(self, owner: Hashable, fields: Fields, now: float) -> Later:
        """Append elements, all or none."""
        key, ttl = self._key(fields), fields["ttl"]
        if not _TTL_RANGE[0] <= ttl <= _TTL_RANGE[1]:
            raise InvalidError(f"`partition_ttl` must be 1 second to 7 days, not {ttl} seconds.")
        if len(fields["items"]) > self._capacity:
            raise InvalidError(
                f"{len(fields['items'])} elements at once; a partition holds {self._capacity}.",
                hint="Put them in parts.",
            )
        items = self._intake.take_in(key[0], from_texts(fields["items"]))
        later = self._broker.put(
            owner,
            key,
            items,
            request=fields["request"],
            ttl=ttl,
            until=fields.get("until"),
            now=now,
        )
        later.then(lambda told: None if told["put"] else self._intake.delete(items))
        return later

    def take(self, owner: Hashable, fields: Fields, now: float) -> Later:
        """Take elements."""
        return self._broker.take(
            owner,
            self._key(fields),
            fields["limit"],
            request=fields["request"],
            until=fields.get("until"),
            now=now,
        )

    def peek(self, owner: Hashable, fields: Fields, now: float) -> Later:
        """Look at elements."""
        return self._broker.peek(
            owner,
            self._key(fields),
            fields["after"],
            fields["limit"],
            request=fields["request"],
            until=fields.get("until"),
            now=now,
        )

    def settle(self, fields: Fields, now: float) -> Fields:
        """End requests that took elements, or that wait for some."""
        kept = self._broker.settle(fields["requests"], keep=bool(fields["keep"]), now=now)
        return {"settled": kept}

    def counts(self, fields: Fields, now: float) -> Fields:
        """Return how many elements each partition holds."""
        return {"counts": dict(self._queues.counts(self._id(fields), now))}

    def clear(self, fields: Fields, now: float) -> Fields:
        """Remove all elements of a partition, or of all."""
        partition = None if fields.get("all") else self._key(fields)[1]
        self._broker.clear(self._id(fields), partition, request=fields["request"], now=now)
        return {}

    def expire(self, now: float, patience: float) -> None:
        """Drop what had its time."""
        self._intake.delete(self._queues.expire(now, patience).gone)

    def _id(self, fields: Fields) -> str:
        return self._registry.record(fields["queue"], ObjectKind.QUEUE).object_id

    def _key(self, fields: Fields) -> tuple[str, str]:
        partition = fields.get("partition")
        if partition is None:
            return self._id(fields), ""
        if not isinstance(partition, str) or not 1 <= len(partition.encode()) <= _PARTITION_NAME:
            raise InvalidError(
                f"The partition {partition!r} is not text of 1 to {_PARTITION_NAME} bytes."
            )
        return self._id(fields), partition
