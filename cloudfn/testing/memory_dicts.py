"""What dicts hold, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from cloudfn.providers.dicts import DictEntry
from cloudfn.wire.messages import is_blob


@dataclass(slots=True)
class _Value:
    position: int
    value: bytes
    until: float


@dataclass(slots=True)
class _Answer:
    at: float
    values: list[bytes | None] = field(default_factory=list)
    written: list[bool] = field(default_factory=list)


class MemoryDicts:
    """The `Dicts` port as dictionaries.

    Args:
        ttl: Seconds that an entry is kept after it was last read or written.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._entries: dict[str, dict[bytes, _Value]] = {}
        self._answers: dict[str, _Answer] = {}
        self._blobs: list[tuple[float, bytes]] = []
        self._positions = count(1)

    def get(self, dict_id: str, keys: Sequence[bytes], now: float) -> list[bytes | None]:
        found = [self._live(dict_id, key, now) for key in keys]
        for each in filter(None, found):
            each.until = now + self._ttl
        return [each.value if each else None for each in found]

    def put(
        self,
        dict_id: str,
        entries: Sequence[tuple[bytes, bytes]],
        *,
        skip_existing: bool,
        request: str,
        now: float,
    ) -> list[bool]:
        if request not in self._answers:
            written = [
                self._put(dict_id, key, value, skip_existing=skip_existing, now=now)
                for key, value in entries
            ]
            self._answers[request] = _Answer(now, written=written)
        return list(self._answers[request].written)

    def pop(
        self, dict_id: str, keys: Sequence[bytes] | None, *, request: str, now: float
    ) -> list[bytes | None]:
        if request not in self._answers:
            entries = self._entries.get(dict_id, {})
            values = [self._pop(dict_id, key, now) for key in keys or ()]
            for key in list(entries) if keys is None else ():
                self._pop(dict_id, key, now)
            self._answers[request] = _Answer(now, values)
        return list(self._answers[request].values)

    def scan(self, dict_id: str, after: int, limit: int, size: int, now: float) -> list[DictEntry]:
        found: list[DictEntry] = []
        entries = self._entries.get(dict_id, {}).items()
        for key, each in sorted(entries, key=lambda item: item[1].position):
            if each.position <= after or each.until <= now:
                continue
            size -= len(key) + len(each.value)
            if len(found) == limit or (found and size < 0):
                break
            found.append(DictEntry(each.position, key, each.value))
        return found

    def count(self, dict_id: str, now: float) -> int:
        return sum(each.until > now for each in self._entries.get(dict_id, {}).values())

    def expire(self, now: float, patience: float) -> list[bytes]:
        for dict_id, entries in self._entries.items():
            for key in [key for key, each in entries.items() if each.until <= now]:
                self._pop(dict_id, key, now)
        late = now - patience
        self._answers = {key: each for key, each in self._answers.items() if each.at > late}
        gone = [value for at, value in self._blobs if at <= late]
        self._blobs = [(at, value) for at, value in self._blobs if at > late]
        return gone

    def close(self) -> None:
        """See the port; memory needs none."""

    def _live(self, dict_id: str, key: bytes, now: float) -> _Value | None:
        found = self._entries.get(dict_id, {}).get(key)
        return found if found is not None and found.until > now else None

    def _put(
        self, dict_id: str, key: bytes, value: bytes, *, skip_existing: bool, now: float
    ) -> bool:
        if skip_existing and self._live(dict_id, key, now):
            return False
        entries = self._entries.setdefault(dict_id, {})
        old = entries.get(key)
        if old is not None:
            self._discard(old.value, now)
        position = old.position if old else next(self._positions)
        entries[key] = _Value(position, value, now + self._ttl)
        return True

    def _pop(self, dict_id: str, key: bytes, now: float) -> bytes | None:
        found = self._entries.get(dict_id, {}).pop(key, None)
        if found is None:
            return None
        self._discard(found.value, now)
        return found.value if found.until > now else None

    def _discard(self, value: bytes, now: float) -> None:
        if is_blob(value):
            self._blobs.append((now, value))
