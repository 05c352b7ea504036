"""The port for what generators yield, on its way from container to client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append."""

    #: the stream has, or had, items 0 … known − 1
    known: int
    #: its reader has items 0 … acknowledged − 1
    acknowledged: int
    #: payloads that were not kept: superseded, there already, read already, or too many
    dropped: tuple[bytes, ...] = ()


class Streams(Protocol):
    """Items of generators that their readers do not have yet; one stream for each call.

    Promises (one contract suite for all adapters): items are numbered from 0 and stay in order;
    the first item at a position wins, whichever attempt yielded it; an append with a superseded
    fence keeps nothing; at most `WINDOW_ITEMS` are there unacknowledged. A stream that nobody
    appended to is an empty one. A store may forget everything when its process dies: the attempt
    dies with it, and the next one yields again from 0.
    """

    def append(self, stream: str, fence: int, first: int, items: Sequence[bytes]) -> Appended:
        """Keep items `first` … of an attempt, as many as there is room for. Idempotent.

        A gap (`first` beyond what is known) keeps nothing.

        Args:
            stream: The call.
            fence: That of the attempt; from here on, lower ones are superseded.
            first: The position of the first of the items.
            items: Their payloads.
        """
        ...

    def read(self, stream: str, after: int) -> list[bytes]:
        """Return the payloads from position `after` on.

        Raises:
            DataLossError: Items from there on were acknowledged, and are gone.
        """
        ...

    def acknowledge(self, stream: str, end: int) -> list[bytes]:
        """The reader has items 0 … end − 1, be they there or not: drop and return them.

        Idempotent; what is acknowledged stays so.
        """
        ...

    def forget(self, streams: Sequence[str]) -> None:
        """Drop everything of these streams. Idempotent."""
        ...
