"""The port for what dicts hold: opaque keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DictEntry:
    """One entry, and where it stands in the order in which keys were first put."""

    position: int
    key: bytes
    value: bytes


class Dicts(Protocol):
    """Entries of dicts: batch first, one is the batch of one.

    Keys and values are opaque bytes; a value may refer to a blob, whose file belongs to the dict.
    A request carries an id: asked again with the same one, it has the same answer and no further
    effect, until `expire` forgets it. An entry that nobody read or wrote for its time to live is
    gone. Every write survives the death of the process when the method returns.
    """

    def get(self, dict_id: str, keys: Sequence[bytes], now: float) -> list[bytes | None]:
        """Return the values of keys, None for those that are not there."""
        ...

    def put(
        self,
        dict_id: str,
        entries: Sequence[tuple[bytes, bytes]],
        *,
        skip_existing: bool,
        request: str,
        now: float,
    ) -> list[bool]:
        """Write entries, all at once; whether each was written, which one skipped was not."""
        ...

    def pop(
        self, dict_id: str, keys: Sequence[bytes] | None, *, request: str, now: float
    ) -> list[bytes | None]:
        """Remove entries, all at once, and return their values; without `keys` all, unanswered."""
        ...

    def scan(self, dict_id: str, after: int, limit: int, size: int, now: float) -> list[DictEntry]:
        """Return entries beyond a position, in order: `limit` at most, of some `size` bytes.

        At least one where there is one.
        """
        ...

    def count(self, dict_id: str, now: float) -> int:
        """Return how many entries there are."""
        ...

    def expire(self, now: float, patience: float) -> list[bytes]:
        """Drop entries that had their time, and answers that are `patience` seconds old.

        Returns:
            Values that no entry has had for `patience` seconds: their blobs can be deleted.
        """
        ...

    def close(self) -> None:
        """Give the store back. Idempotent."""
        ...
