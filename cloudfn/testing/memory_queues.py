"""What queues hold, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from cloudfn.providers.queues import Leftovers, too_many_partitions
from cloudfn.wire.messages import is_blob


@dataclass(slots=True, eq=False)
class _Item:
    position: int
    payload: bytes
    taken: str | None = None


@dataclass(slots=True)
class _Request:
    state: str
    at: float


class MemoryQueues:
    """The `Queues` port as lists.

    Args:
        capacity: Elements that a partition holds.
        partitions: Partitions that a queue may have.
    """

    def __init__(self, capacity: int, partitions: int) -> None:
        self._capacity = capacity
        self._partitions = partitions
        self._parts: dict[tuple[str, str], list[_Item]] = {}
        self._until: dict[tuple[str, str], float] = {}
        self._requests: dict[str, _Request] = {}
        self._blobs: list[tuple[float, bytes]] = []
        self._positions = count(1)

    def put(
        self,
        queue_id: str,
        partition: str,
        items: Sequence[bytes],
        *,
        request: str,
        ttl: float,
        now: float,
    ) -> bool:
        if request in self._requests:
            return True
        key = queue_id, partition
        self._drop_if_dead(key, now)
        if len(self._free(key, now)) + len(items) > self._capacity:
            return False
        of_queue = sum(known == queue_id for known, _ in self._until)
        if key not in self._until and of_queue >= self._partitions:
            raise too_many_partitions(self._partitions)
        self._until[key] = now + ttl
        part = self._parts.setdefault(key, [])
        part += [_Item(next(self._positions), payload) for payload in items]
        self._requests[request] = _Request("put", now)
        return True

    def take(
        self, queue_id: str, partition: str, limit: int, size: int, *, request: str, now: float
    ) -> list[bytes]:
        known = self._requests.get(request)
        if known is not None and known.state == "held":
            return [item.payload for item in self._held(request)]
        found = self._front((queue_id, partition), 0, limit, size, now)
        for item in found:
            item.taken = request
        if found:
            self._requests[request] = _Request("held", now)
        return [item.payload for item in found]

    def settle(self, requests: Sequence[str], *, keep: bool, now: float) -> list[bool]:
        return [self._settle(request, keep=keep, now=now) for request in requests]

    def peek(
        self, queue_id: str, partition: str, after: int, limit: int, size: int, now: float
    ) -> list[tuple[int, bytes]]:
        found = self._front((queue_id, partition), after, limit, size, now)
        return [(item.position, item.payload) for item in found]

    def counts(self, queue_id: str, now: float) -> Mapping[str, int]:
        sizes = {
            part: len(self._free((known, part), now))
            for known, part in self._parts
            if known == queue_id
        }
        return {part: size for part, size in sizes.items() if size}

    def expire(self, now: float, patience: float) -> Leftovers:
        for key in list(self._until):
            self._drop_if_dead(key, now)
        late = now - patience
        self._requests = {
            request: each
            for request, each in self._requests.items()
            if each.state in ("held", "back") or each.at > late
        }
        gone = tuple(payload for at, payload in self._blobs if at <= late)
        self._blobs = [(at, payload) for at, payload in self._blobs if at > late]
        unsettled = (r for r, each in self._requests.items() if each.state == "held")
        return Leftovers(tuple(unsettled), gone)

    def close(self) -> None:
        """See the port; memory needs none."""

    def _free(self, key: tuple[str, str], now: float) -> list[_Item]:
        if self._until.get(key, now) <= now:
            return []
        return [item for item in self._parts.get(key, ()) if item.taken is None]

    def _front(
        self, key: tuple[str, str], after: int, limit: int, size: int, now: float
    ) -> list[_Item]:
        found: list[_Item] = []
        for item in self._free(key, now):
            if item.position <= after:
                continue
            size -= len(item.payload)
            if len(found) == limit or (found and size < 0):
                break
            found.append(item)
        return found

    def _held(self, request: str) -> list[_Item]:
        return [item for part in self._parts.values() for item in part if item.taken == request]

    def _settle(self, request: str, *, keep: bool, now: float) -> bool:
        known = self._requests.get(request)
        wanted = "kept" if keep else "back"
        if known is None or known.state != "held":
            return known is None or known.state == wanted
        for item in self._held(request):
            if keep:
                self._discard(item, now)
            else:
                item.taken = None
        self._requests[request] = _Request(wanted, now)
        return True

    def _drop_if_dead(self, key: tuple[str, str], now: float) -> None:
        if self._until.get(key, now) > now:
            return
        self._until.pop(key, None)
        for item in [item for item in self._parts.get(key, ()) if item.taken is None]:
            self._discard(item, now)

    def _discard(self, item: _Item, now: float) -> None:
        for part in self._parts.values():
            if item in part:
                part.remove(item)
        if is_blob(item.payload):
            self._blobs.append((now, item.payload))
