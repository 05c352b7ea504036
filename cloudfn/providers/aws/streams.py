"""What generators yield, in DynamoDB. Thin I/O; thread-safe.

`ST#<stream>`/`HEAD` says how many items there are (`known`), how many of them the reader has
(`base`), and which attempt may append (`fence`). `ST#<stream>#<position>`/`I` is an item, in a
partition of its own, since one takes a megabyte a second at most. Items become known in the
transaction that writes them, so that the first one at a position wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cloudfn.clock import Clock
from cloudfn.errors import DataLossError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.retries import too_busy, tries
from cloudfn.providers.aws.table import Table, delete, put, update
from cloudfn.providers.streams import Appended
from cloudfn.wire.messages import WINDOW_ITEMS

_HEAD, _ITEM = "HEAD", "I"
#: seconds after which DynamoDB deletes what nobody has forgotten
_KEPT = 8 * 86_400
#: bytes of items in one transaction, which may have 4 MB
_MOST_BYTES = 3 << 20


class DynamoStreams:
    """The `Streams` port on a table.

    Args:
        clients: Where the client of DynamoDB comes from.
        table: The name of the environment's table.
        clock: Says until when what everybody forgot is kept.
    """

    def __init__(self, clients: ClientSource, table: str, clock: Clock) -> None:
        self._table = Table(clients, table, clock)
        self._clock = clock

    def append(self, stream: str, fence: int, first: int, items: Sequence[bytes]) -> Appended:
        head = self._head(stream)
        dropped: list[bytes] = []
        for start, some in _portions(items):
            head, left = self._append(stream, head, fence, first + start, some)
            dropped += left
        return Appended(_known(head), head.get("base", 0), tuple(dropped))

    def read(self, stream: str, after: int) -> list[bytes]:
        head = self._head(stream)
        if after < head.get("base", 0):
            raise _gone(stream, after)
        wanted = range(after, _known(head))
        found = self._items(stream, wanted)
        if len(found) < len(wanted):
            # Somebody has acknowledged them just now.
            raise _gone(stream, after)
        return found

    def acknowledge(self, stream: str, end: int) -> list[bytes]:
        head = self._head(stream)
        base = head.get("base", 0)
        if end <= base:
            return []
        # First the items, so that who dies in between can be followed by somebody else.
        positions = range(base, min(end, _known(head)))
        dropped = self._items(stream, positions)
        self._delete(stream, positions)
        acknowledging = update(
            _pk(stream),
            _HEAD,
            "SET #base = :end, #expires = :expires",
            "attribute_not_exists(#base) OR #base < :end",
            end=end,
            expires=self._expires(),
        )
        with suppress(ConditionFailed):
            self._table.write(acknowledging)
        return dropped

    def forget(self, streams: Sequence[str]) -> None:
        for stream in streams:
            head = self._head(stream)
            self._delete(stream, range(head.get("base", 0), _known(head)))
            self._table.write(delete(_pk(stream), _HEAD))

    def _append(
        self, stream: str, head: Mapping[str, Any], fence: int, first: int, items: Sequence[bytes]
    ) -> tuple[Mapping[str, Any], Sequence[bytes]]:
        """Append what there is room for; return the head after it, and what was dropped."""
        for _ in tries(self._clock):
            known, last = _known(head), head.get("fence", 0)
            if fence < last or first > known:
                return head, items
            begin = known - first
            end = max(begin, head.get("base", 0) + WINDOW_ITEMS - first)
            kept = items[begin:end]
            dropped = [*items[:begin], *items[end:]]
            if not kept and fence == last:
                return head, dropped
            after = {**head, "known": known + len(kept), "fence": fence}
            expires = self._expires()
            # Only acknowledgements may come between, which make more room.
            seen = {"seen": head["known"], "last": last} if "known" in head else {}
            moving = update(
                _pk(stream),
                _HEAD,
                "SET #known = :known, #fence = :fence, #expires = :expires",
                "#known = :seen AND #fence = :last" if seen else "attribute_not_exists(#known)",
                **seen,
                known=after["known"],
                fence=fence,
                expires=expires,
            )
            keeping = [
                put({"pk": _pk(stream, n), "sk": _ITEM, "payload": payload, "expires": expires})
                for n, payload in enumerate(kept, known)
            ]
            try:
                self._table.transact([moving, *keeping])
            except ConditionFailed as failed:
                head = failed.items[0] or {}
            else:
                return after, dropped
        raise too_busy(stream)

    def _head(self, stream: str) -> Mapping[str, Any]:
        return self._table.get(_pk(stream), _HEAD) or {}

    def _items(self, stream: str, positions: range) -> list[bytes]:
        keys = [(_pk(stream, n), _ITEM) for n in positions]
        found = self._table.get_all(keys)
        return [found[key]["payload"] for key in keys if key in found]

    def _delete(self, stream: str, positions: range) -> None:
        self._table.write_all([delete(_pk(stream, n), _ITEM) for n in positions])

    def _expires(self) -> int:
        return int(self._clock.wall()) + _KEPT


def _known(head: Mapping[str, Any]) -> int:
    """Return how many items there are, or were: a reader may have some of a stream that is gone."""
    return int(max(head.get("known", 0), head.get("base", 0)))


def _pk(stream: str, position: int | None = None) -> str:
    return f"ST#{stream}" if position is None else f"ST#{stream}#{position}"


def _gone(stream: str, position: int) -> DataLossError:
    return DataLossError(f"Item {position} of {stream} was acknowledged, and is gone.")


def _portions(items: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Return what goes into one transaction each, with its place; one portion at least."""
    start = size = 0
    for n, item in enumerate(items):
        if size + len(item) > _MOST_BYTES and n > start:
            yield start, items[start:n]
            start, size = n, 0
        size += len(item)
    yield start, items[start:]
