"""The Streams port as plain dictionaries, item by item: slow and easy to believe."""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.errors import DataLossError
from cloudfn.providers.streams import Appended
from cloudfn.wire.messages import WINDOW_ITEMS


class MemoryStreams:
    """Every item under (stream, position)."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, int], bytes] = {}
        self._fences: dict[str, int] = {}
        self._acknowledged: dict[str, int] = {}

    def append(self, stream: str, fence: int, first: int, items: Sequence[bytes]) -> Appended:
        acknowledged = self._acknowledged.get(stream, 0)
        current = fence >= self._fences.get(stream, 0)
        dropped = []
        for position, item in enumerate(items, first):
            is_next = position == self._known(stream)
            if current and is_next and position < acknowledged + WINDOW_ITEMS:
                self._items[stream, position] = item
                self._fences[stream] = fence
            else:
                dropped.append(item)
        if current and first <= self._known(stream):
            self._fences[stream] = fence
        return Appended(self._known(stream), acknowledged, tuple(dropped))

    def read(self, stream: str, after: int) -> list[bytes]:
        if after < self._acknowledged.get(stream, 0):
            raise DataLossError(f"Item {after} of {stream} was acknowledged, and is gone.")
        return [self._items[stream, position] for position in range(after, self._known(stream))]

    def acknowledge(self, stream: str, end: int) -> list[bytes]:
        before = self._acknowledged.get(stream, 0)
        self._acknowledged[stream] = max(before, end)
        keys = [(stream, position) for position in range(before, end)]
        return [self._items.pop(key) for key in keys if key in self._items]

    def forget(self, streams: Sequence[str]) -> None:
        for stream in streams:
            for position in range(self._known(stream)):
                self._items.pop((stream, position), None)
            self._fences.pop(stream, None)
            self._acknowledged.pop(stream, None)

    def _known(self, stream: str) -> int:
        position = self._acknowledged.get(stream, 0)
        while (stream, position) in self._items:
            position += 1
        return position
