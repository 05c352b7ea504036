"""The Queue: elements that go in at one place and come out at another, in order."""

from __future__ import annotations

import queue as standard
from collections.abc import Sequence
from typing import Any

from cloudfn import errors
from cloudfn.model import ids
from cloudfn.sdk.client import Client
from cloudfn.sdk.objects import Creatable, Paged, managed
from cloudfn.sdk.twins import Steps, iterating, twin
from cloudfn.sdk.values import packed, read

_ELEMENT = "the element"
_DAY = 86_400


class Queue(Creatable):
    """Elements, pickled, first in, first out, in partitions that do not know each other.

    An element is handed to one taker. Its partition vanishes 24 hours after the last put.
    """

    _noun = "queue"
    _prefix = "qu"
    objects = managed()

    @twin
    def put(
        self,
        v: Any,
        block: bool = True,  # noqa: FBT001, FBT002 - as Modal has it
        timeout: float | None = None,
        *,
        partition: str | None = None,
        partition_ttl: int = _DAY,
    ) -> Steps[None]:
        """Append an element; back when it is kept.

        Args:
            v: The element.
            block: Wait for room.
            timeout: Seconds to wait at most; None for as long as it takes.
            partition: Which one; None for the queue's own.
            partition_ttl: Seconds that the partition lives from now on.

        Raises:
            queue.Full: There is no room, within the time.
        """
        yield from self._put([v], block, timeout, partition, partition_ttl)

    @twin
    def put_many(
        self,
        vs: Sequence[Any],
        block: bool = True,  # noqa: FBT001, FBT002 - as Modal has it
        timeout: float | None = None,
        *,
        partition: str | None = None,
        partition_ttl: int = _DAY,
    ) -> Steps[None]:
        """Append elements, all or none; see `put`."""
        if vs:
            yield from self._put(list(vs), block, timeout, partition, partition_ttl)

    @twin
    def get(
        self,
        block: bool = True,  # noqa: FBT001, FBT002 - as Modal has it
        timeout: float | None = None,
        *,
        partition: str | None = None,
    ) -> Steps[Any]:
        """Take the first element.

        Args:
            block: Wait for one; otherwise None means that there is none.
            timeout: Seconds to wait at most; None for as long as it takes.
            partition: Which one; None for the queue's own.

        Raises:
            queue.Empty: None came within the time.
        """
        values = yield from self._take(1, block, timeout, partition)
        return values[0] if values else None

    @twin
    def get_many(
        self,
        n_values: int,
        block: bool = True,  # noqa: FBT001, FBT002 - as Modal has it
        timeout: float | None = None,
        *,
        partition: str | None = None,
    ) -> Steps[list[Any]]:
        """Take up to `n_values` elements, waiting for one at most; see `get`."""
        return (yield from self._take(n_values, block, timeout, partition))

    @iterating
    def iterate(
        self, *, partition: str | None = None, item_poll_timeout: float = 0.0
    ) -> Paged[Any]:
        """Iterate over the elements and leave them there.

        Args:
            partition: Which one; None for the queue's own.
            item_poll_timeout: Seconds to wait for the next one before the iteration ends.
        """
        return Paged("iterate", _Pages(self, partition, item_poll_timeout).next)

    @twin
    def len(self, *, partition: str | None = None, total: bool = False) -> Steps[int]:
        """Return how many elements a partition holds, with `total` all of them.

        Raises:
            InvalidError: Both a partition and all.
        """
        if partition is not None and total:
            raise errors.InvalidError("Use either `partition` or `total`, not both.")
        queue_id = yield from self._id()
        told = yield from self._engine().ask("queue_counts", queue=queue_id)
        counts: dict[str, int] = told["counts"]
        return sum(counts.values()) if total else counts.get(partition or "", 0)

    @twin
    def clear(
        self,
        *,
        partition: str | None = None,
        all: bool = False,
    ) -> Steps[None]:
        """Remove the elements of a partition, or of all.

        Raises:
            InvalidError: Both a partition and all.
        """
        if partition is not None and all:
            raise errors.InvalidError("Use either `partition` or `all`, not both.")
        queue_id = yield from self._id()
        yield from self._engine().ask(
            "queue_clear", queue=queue_id, partition=partition, all=all, request=ids.mint("rq")
        )

    def _put(
        self,
        values: list[Any],
        block: bool,  # noqa: FBT001
        timeout: float | None,
        partition: str | None,
        ttl: int,
    ) -> Steps[None]:
        queue_id = yield from self._id()
        engine, request = self._engine(), ids.mint("rq")
        items = yield from packed(engine, request, values, _ELEMENT)
        told = yield from self._asked(
            "queue_put",
            queue=queue_id,
            partition=partition,
            items=items,
            ttl=ttl,
            request=request,
            until=_until(engine, block, timeout),
        )
        if not told["put"]:
            raise standard.Full

    def _take(
        self,
        limit: int,
        block: bool,  # noqa: FBT001
        timeout: float | None,
        partition: str | None,
    ) -> Steps[list[Any]]:
        queue_id = yield from self._id()
        engine = self._engine()
        until = _until(engine, block, timeout)
        while True:
            request = ids.mint("rq")
            told = yield from self._asked(
                "queue_take",
                queue=queue_id,
                partition=partition,
                limit=limit,
                request=request,
                until=until,
            )
            if not told["items"]:
                if block:
                    raise standard.Empty
                return []
            values = yield from self._read(told["items"], request)
            # Ours from here on; had we died before, others would get them.
            settled = yield from engine.ask("queue_settle", requests=[request], keep=True)
            if settled["settled"][0]:
                return values

    def _read(self, items: list[str], request: str) -> Steps[list[Any]]:
        engine = self._engine()
        try:
            return (yield from read(engine, items, _ELEMENT))
        except errors.Error:
            # Another client may be able to read them.
            yield from engine.ask("queue_settle", requests=[request], keep=False)
            raise

    def _asked(self, op: str, *, request: str, **fields: Any) -> Steps[dict[str, Any]]:
        """Ask what may take long; whoever is interrupted meanwhile wants nothing any more."""
        engine = self._engine()
        try:
            return (yield from engine.ask(op, request=request, **fields))
        except (errors.Error, GeneratorExit):
            raise
        except BaseException:
            yield from engine.ask("queue_settle", requests=[request], keep=False)
            raise


class _Pages:
    """Looks at the elements of a partition, some at a time."""

    def __init__(self, owner: Queue, partition: str | None, patience: float) -> None:
        self._owner = owner
        self._partition = partition
        self._patience = patience
        self._after = 0

    def next(self) -> Steps[Sequence[Any]]:
        """Return the next ones; none at the end."""
        queue_id = yield from self._owner._id()  # noqa: SLF001
        engine = self._owner._engine()  # noqa: SLF001
        told = yield from self._owner._asked(  # noqa: SLF001
            "queue_peek",
            request=ids.mint("rq"),
            queue=queue_id,
            partition=self._partition,
            after=self._after,
            limit=100,
            until=engine.clock.wall() + self._patience,
        )
        items = told["items"]
        if not items:
            return ()
        self._after = items[-1][0]
        return (yield from read(engine, [item for _, item in items], _ELEMENT))


def _until(engine: Client, block: bool, timeout: float | None) -> float | None:  # noqa: FBT001
    """Return the wall time when waiting ends; None for never."""
    if not block:
        return 0.0
    return None if timeout is None else engine.clock.wall() + timeout
