"""Attempts of generator functions in an offline run: an item at a time, when somebody wants one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import CoroutineType
from typing import Any

from cloudfn.model.call import Raised
from cloudfn.providers.ledger import Claim
from cloudfn.testing.inprocess import InProcess, Write
from cloudfn.testing.pools import Pool
from cloudfn.wire.messages import StreamEnd
from cloudfn.worker.streaming import iterator_of


class Generation:
    """One attempt.

    Args:
        code: Runs user code.
        pool: The function.
        claim: The input.
        started: When it began, on the monotonic clock.
        write: Gets what the code prints.
        quiet: Says whether nobody else gets it.
    """

    def __init__(
        self,
        code: InProcess,
        pool: Pool,
        claim: Claim,
        started: float,
        write: Write,
        quiet: Callable[[], bool],
    ) -> None:
        self.claim = claim
        self.pool = pool
        self.started = started
        #: items so far
        self.length = 0
        #: it has ended
        self.over = False
        self._code = code
        self._write = write
        self._quiet = quiet
        self._items: Iterator[Any] | AsyncIterator[Any] | None = None

    def step(self) -> bytes | Raised:
        """Go on to the next item; return its payload, or that of the end, or the exception."""
        told = self._carry_out(self._next)
        self.over = self.over or isinstance(told, Raised)
        if not self.over:
            self.length += 1
        return told

    def close(self) -> None:
        """Close the generator, as a container does whose client went away."""
        if not self.over:
            self.over = True
            self._carry_out(self._close)

    def _carry_out(self, work: Callable[[], Any]) -> bytes | Raised:
        claim, pool = (self.claim.seq, self.claim.fence), self.pool
        return self._code.carry_out(
            pool.spec, pool.module, claim, self._write, work, quiet=self._quiet()
        )

    def _next(self) -> Any:
        if self._items is None:
            self._items = self._begin()
        try:
            if isinstance(self._items, AsyncIterator):
                return self._code.awaited(_next_of(self._items))
            return next(self._items)
        except (StopIteration, StopAsyncIteration):
            self.over = True
            return StreamEnd(self.length)

    def _begin(self) -> Iterator[Any] | AsyncIterator[Any]:
        made = self._code.begun(self.pool, self.claim.payload)
        if type(made) is CoroutineType:
            made = self._code.awaited(made)
        return iterator_of(made)

    def _close(self) -> None:
        items: Any = self._items
        if hasattr(items, "aclose"):
            self._code.awaited(items.aclose())
        elif hasattr(items, "close"):
            items.close()


async def _next_of(items: AsyncIterator[Any]) -> Any:
    return await anext(items)
