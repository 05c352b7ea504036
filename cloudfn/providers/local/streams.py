"""Streams in the daemon's memory: a window of each, which dies with the attempts that fill it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from cloudfn.errors import DataLossError
from cloudfn.providers.streams import Appended
from cloudfn.wire.messages import WINDOW_ITEMS


@dataclass(slots=True)
class _Window:
    """The items of one stream from `base` on; those before are acknowledged."""

    base: int = 0
    fence: int = 0
    items: deque[bytes] = field(default_factory=deque)

    @property
    def known(self) -> int:
        return self.base + len(self.items)


class LocalStreams:
    """The Streams port of one machine."""

    def __init__(self) -> None:
        self._windows: defaultdict[str, _Window] = defaultdict(_Window)

    def append(self, stream: str, fence: int, first: int, items: Sequence[bytes]) -> Appended:
        window = self._windows[stream]
        if fence < window.fence or first > window.known:
            return Appended(window.known, window.base, tuple(items))
        window.fence = fence
        begin = window.known - first
        end = max(begin, window.base + WINDOW_ITEMS - first)
        window.items.extend(items[begin:end])
        dropped = (*items[:begin], *items[end:])
        return Appended(window.known, window.base, dropped)

    def read(self, stream: str, after: int) -> list[bytes]:
        window = self._windows.get(stream)
        if window is None:
            return []
        if after < window.base:
            raise DataLossError(f"Item {after} of {stream} was acknowledged, and is gone.")
        return list(islice(window.items, after - window.base, None))

    def acknowledge(self, stream: str, end: int) -> list[bytes]:
        window = self._windows[stream]
        dropped: list[bytes] = []
        while window.items and window.base < end:
            dropped.append(window.items.popleft())
            window.base += 1
        window.base = max(window.base, end)
        return dropped

    def forget(self, streams: Sequence[str]) -> None:
        for stream in streams:
            self._windows.pop(stream, None)
