"""The port of doorbells: messages that say which pool has work, for agents that wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Ring(NamedTuple):
    """Word that a pool has work on a page of its ledger. Disposable: the ledger is the truth."""

    function_id: str
    pool: str
    #: the ledger's name for the page
    page: str
    #: what the ledger sends along so that the page need not be read first; opaque to all others
    enclosed: bytes = b""


class Heard(NamedTuple):
    """A ring that was received and is not answered yet."""

    ring: Ring
    #: names this delivery to the queue
    receipt: str


class Doorbells(Protocol):
    """Queues of rings, one for each deployed function. Safe to share between threads; blocks.

    A variant shares the queue of its function: its id stands for that one's wherever a function's
    is asked for, and rings of its pools come to whoever listens there.

    At least once, in any order; losing or doubling any of them is harmless. What is not answered
    comes again after some time, and what comes too often ends in `dead`. Rings of a variant come
    out of its function's queue.
    """

    def open(self, function_id: str) -> None:
        """Have a queue for a function. Idempotent."""
        ...

    def remove(self, function_id: str) -> None:
        """Have no queue for a function. Idempotent."""
        ...

    def functions(self) -> list[str]:
        """Return the functions that have a queue."""
        ...

    def ring(self, rings: Sequence[Ring]) -> int:
        """Send rings; return how many were taken. Those of functions without a queue are lost."""
        ...

    def listen(self, function_id: str, seconds: float, limit: int) -> list[Heard]:
        """Wait up to `seconds` (0 to 20) for rings of a function; return `limit` (1 to 10) of them.

        That nothing came proves nothing. A function without a queue has no rings.
        """
        ...

    def answer(self, heard: Sequence[Heard]) -> None:
        """Forget rings for good. Idempotent, and never a reason to believe that they are gone."""
        ...

    def dead(self, limit: int) -> list[Heard]:
        """Return rings that nobody answered however often they came; `answer` forgets them."""
        ...

    def close(self) -> None:
        """Give connections back. Idempotent."""
        ...
