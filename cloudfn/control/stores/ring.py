"""The latest of something that happens, and a few values beside it, in a dict of the environment.

Its name is one that no user's dict can have. Thin I/O.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from cloudfn.model import ids
from cloudfn.providers.dicts import Dicts

#: the ring of what the planner of an environment did
PLANNER = "di-planner"
_NUMBER = b"number"


class Ring:
    """Keeps plain data: a value by name, and the latest entries.

    Args:
        dicts: Where it is kept.
        name: Id of the dict.
        size: Entries that are kept.
    """

    def __init__(self, dicts: Dicts, name: str = PLANNER, size: int = 200) -> None:
        self._dicts = dicts
        self._name = name
        self._size = size
        self._number: int | None = None

    def get(self, key: str, now: float) -> dict[str, Any] | None:
        """Return a value; None where there is none, or none that can be read."""
        (data,) = self._dicts.get(self._name, [key.encode()], now)
        return _loaded(data)

    def put(self, key: str, value: Mapping[str, Any], now: float) -> None:
        """Keep a value under a name."""
        self._put([(key.encode(), _dumped(value))], now)

    def add(self, entry: Mapping[str, Any], now: float) -> None:
        """Keep an entry, in place of the oldest."""
        if self._number is None:
            (data,) = self._dicts.get(self._name, [_NUMBER], now)
            self._number = int(data) if data else 0
        self._number += 1
        key = _key(self._number % self._size)
        self._put([(key, _dumped(entry)), (_NUMBER, str(self._number).encode())], now)

    def latest(self, limit: int, now: float) -> list[dict[str, Any]]:
        """Return the latest entries that have an `at`, the oldest of them first."""
        found = self._dicts.get(self._name, [_key(each) for each in range(self._size)], now)
        entries = [each for each in map(_loaded, found) if each is not None]
        return sorted(entries, key=lambda each: each["at"])[-limit:]

    def _put(self, entries: list[tuple[bytes, bytes]], now: float) -> None:
        request = ids.mint("rq")
        self._dicts.put(self._name, entries, skip_existing=False, request=request, now=now)


def _key(number: int) -> bytes:
    return f"entry {number}".encode()


def _dumped(data: Mapping[str, Any]) -> bytes:
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode())


def _loaded(data: bytes | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        loaded: dict[str, Any] = json.loads(zlib.decompress(data))
    except (ValueError, zlib.error):
        return None
    return loaded
