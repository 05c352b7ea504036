"""What dicts hold, in DynamoDB. Thin I/O; thread-safe.

- `DI#<dict>#<hash of the key>`/`E`: an entry. Each has a partition of its own, so that the load of
  a dict is spread.
- `DI#<dict>`/`P#<position>`: the same entry in the order of first puts, without key and value.
- `DI#R#<request>#<n>`/`A`: the answer of a request from its n-th key on.
- `DI#BLOBS`/`<dict>#<hash>`: an entry whose value refers to a blob; `DI#GONE`/`<time>#…`: such a
  value that no entry has any more.

What is read and decided is written in one transaction, whose conditions are the versions of the
entries that were read; it is decided anew where one does not hold. An update of more than 24
entries, or 2 MB, is several transactions, each with an answer of its own: it is done once, but not
seen whole or not at all. DynamoDB deletes entries that had their time, except those with blobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from threading import Lock
from typing import Any

from cloudfn.clock import Clock
from cloudfn.model.ids import mint
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.gone import gone, take_gone
from cloudfn.providers.aws.retries import too_busy, tries
from cloudfn.providers.aws.table import Item, Table, Write, delete, put, update
from cloudfn.providers.dicts import DictEntry
from cloudfn.wire.messages import is_blob

_ENTRY, _ANSWER, _BLOBS, _GONE = "E", "A", "DI#BLOBS", "DI#GONE"
#: entries of one transaction, which has up to four writes for each, and may have 100
_MOST_ENTRIES = 24
#: bytes of values in one transaction, which may have 4 MB, and in one answer, which may have 400 KB
_MOST_BYTES = 2 << 20
_MOST_ANSWERED = 300_000
#: a read moves the end of an entry's life by no less than this part of it: most reads write nothing
_GRAIN = 0.01
#: seconds that DynamoDB leaves what is over, and that it keeps answers
_SLACK = 2 * 86_400
_REMEMBERED = 86_400
#: entries that a scan looks at together
_PAGE = 100


class DynamoDicts:
    """The `Dicts` port on a table.

    Args:
        clients: Where the client of DynamoDB comes from.
        table: The name of the environment's table.
        clock: Gives new entries their place in the order, and waits between two tries.
        ttl: Seconds that an entry is kept after it was last read or written.
    """

    def __init__(self, clients: ClientSource, table: str, clock: Clock, ttl: float) -> None:
        self._table = Table(clients, table, clock)
        self._clock = clock
        self._ttl = ttl
        self._random = Random()
        self._last_position = 0
        self._placing = Lock()

    def get(self, dict_id: str, keys: Sequence[bytes], now: float) -> list[bytes | None]:
        places = [_place(dict_id, key) for key in keys]
        found = self._table.get_all([(place, _ENTRY) for place in places])
        live = {pk: item for (pk, _), item in found.items() if item["until"] > now}
        stale = [
            item for item in live.values() if now + self._ttl - item["until"] > self._ttl * _GRAIN
        ]
        for start in range(0, len(stale), _MOST_ENTRIES):
            writes = list(self._prolonging(dict_id, stale[start : start + _MOST_ENTRIES], now))
            # Whoever changed one of them meanwhile has prolonged it; the others wait for the next.
            with suppress(ConditionFailed):
                self._table.transact(writes)
        return [live[place]["value"] if place in live else None for place in places]

    def put(
        self,
        dict_id: str,
        entries: Sequence[tuple[bytes, bytes]],
        *,
        skip_existing: bool,
        request: str,
        now: float,
    ) -> list[bool]:
        written: list[bool] = []
        for some in _portions(entries):
            change = _Put(dict_id, some, skip_existing, self._positions(len(some)))
            answer = self._decide(change, f"DI#R#{request}#{len(written)}", now)
            written += [each == 1 for each in answer["written"]]
        return written

    def pop(
        self, dict_id: str, keys: Sequence[bytes] | None, *, request: str, now: float
    ) -> list[bytes | None]:
        if keys is None:
            self._clear(dict_id, f"DI#R#{request}#0", now)
            return []
        values: list[bytes | None] = []
        while len(values) < len(keys):
            some = _distinct(keys[len(values) :])
            answer = self._decide(_Pop(dict_id, some), f"DI#R#{request}#{len(values)}", now)
            values += answer["values"]
        return values

    def scan(self, dict_id: str, after: int, limit: int, size: int, now: float) -> list[DictEntry]:
        found: list[DictEntry] = []
        for item in self._in_order(dict_id, after, now):
            size -= len(item["key"]) + len(item["value"])
            if len(found) == limit or (found and size < 0):
                break
            found.append(DictEntry(item["position"], item["key"], item["value"]))
        return found

    def count(self, dict_id: str, now: float) -> int:
        return sum(item["until"] > now for item in self._table.query(f"DI#{dict_id}", begins="P#"))

    def expire(self, now: float, patience: float) -> list[bytes]:
        for listed in self._table.query(_BLOBS):
            entry = self._table.get(listed["entry"], _ENTRY)
            if entry is not None and entry["until"] <= now:
                self._remove(listed["dict_id"], [entry], now)
        return take_gone(self._table, _GONE, now - patience)

    def close(self) -> None:
        """See the port; connections belong to the clients."""

    # How

    def _decide(self, change: _Put | _Pop, answer: str, now: float) -> Item:
        """Carry a change out once, and return its answer."""
        places = [_place(change.dict_id, key) for key in change.keys]
        wanted = [(answer, _ANSWER), *((place, _ENTRY) for place in places)]
        for _ in tries(self._clock):
            found = self._table.get_all(wanted)
            if (known := found.get((answer, _ANSWER))) is not None:
                return known
            entries = [found.get((place, _ENTRY)) for place in places]
            told, writes = change.decide(entries, now, self._ttl)
            item = {"pk": answer, "sk": _ANSWER, "expires": self._later(_REMEMBERED), **told}
            with suppress(ConditionFailed):
                self._table.transact([put(item, "attribute_not_exists(pk)"), *writes])
                return item
        raise too_busy(f"the same keys of {change.dict_id}")

    def _clear(self, dict_id: str, answer: str, now: float) -> None:
        """Remove all entries that are there now, once."""
        if self._table.get(answer, _ANSWER) is not None:
            return
        listed = list(self._table.query(f"DI#{dict_id}", begins="P#"))
        for start in range(0, len(listed), _MOST_ENTRIES):
            some = listed[start : start + _MOST_ENTRIES]
            self._remove(dict_id, list(self._entries(some)), now)
        marker = {"pk": answer, "sk": _ANSWER, "expires": self._later(_REMEMBERED)}
        self._table.write(put(marker))

    def _remove(self, dict_id: str, entries: Sequence[Item], now: float) -> None:
        """Remove entries that were read, except those that somebody has changed since."""
        try:
            self._table.transact([w for each in entries for w in _removing(dict_id, each, now)])
        except ConditionFailed:
            for each in entries if len(entries) > 1 else ():
                self._remove(dict_id, [each], now)

    def _in_order(self, dict_id: str, after: int, now: float) -> Iterator[Item]:
        """Return the living entries beyond a position, in the order of first puts."""
        page: list[Item] = []
        for listed in self._table.query(f"DI#{dict_id}", after=f"{_position(after)}~", limit=_PAGE):
            if listed["until"] > now:
                page.append(listed)
            if len(page) == _PAGE:
                yield from self._entries(page)
                page = []
        yield from self._entries(page)

    def _entries(self, listed: Sequence[Item]) -> Iterator[Item]:
        found = self._table.get_all([(each["entry"], _ENTRY) for each in listed])
        for each in listed:
            entry = found.get((each["entry"], _ENTRY))
            # One that was removed and put again has another position by now.
            if entry is not None and entry["position"] == each["position"]:
                yield entry

    def _prolonging(self, dict_id: str, entries: Sequence[Item], now: float) -> Iterator[Write]:
        until = now + self._ttl
        for entry in entries:
            life = _life(until, entry["value"])
            change = "SET " + ", ".join(f"#{name} = :{name}" for name in life)
            seen = {"seen": entry["version"]}
            yield update(entry["pk"], _ENTRY, change, "#version = :seen", **seen, **life)
            yield update(*_order_key(dict_id, entry), change, "attribute_exists(pk)", **life)

    def _positions(self, number: int) -> range:
        """Return places in the order, in this process one beyond the other.

        Of several processes, clocks decide.
        """
        with self._placing:
            micros = int(self._clock.wall() * 1e6)
            first = max(self._last_position + 1, micros << 10 | self._random.getrandbits(10))
            self._last_position = first + number - 1
            return range(first, first + number)

    def _later(self, seconds: float) -> int:
        return int(self._clock.wall() + seconds)


@dataclass(frozen=True, slots=True)
class _Put:
    """Entries to write, no two of one key, with the places that new ones get."""

    dict_id: str
    entries: Sequence[tuple[bytes, bytes]]
    skip_existing: bool
    positions: range

    @property
    def keys(self) -> list[bytes]:
        return [key for key, _ in self.entries]

    def decide(
        self, present: Sequence[Item | None], now: float, ttl: float
    ) -> tuple[Item, list[Write]]:
        """Return what becomes the answer, and what is to be written. Pure, but for the version."""
        written: list[bool] = []
        writes: list[Write] = []
        for (key, value), old, position in zip(self.entries, present, self.positions, strict=True):
            written.append(not (self.skip_existing and old is not None and old["until"] > now))
            if written[-1]:
                entry: Item = {
                    "pk": _place(self.dict_id, key),
                    "sk": _ENTRY,
                    "key": key,
                    "value": value,
                    "position": position if old is None else old["position"],
                    "version": mint("v"),
                    **_life(now + ttl, value),
                }
                writes += _writing(self.dict_id, entry, old, now)
        return {"written": bytes(written)}, writes


@dataclass(frozen=True, slots=True)
class _Pop:
    """Keys to remove, no two the same."""

    dict_id: str
    keys: Sequence[bytes]

    def decide(
        self,
        present: Sequence[Item | None],
        now: float,
        ttl: float,
    ) -> tuple[Item, list[Write]]:
        """Return what becomes the answer, and what is to be written.

        As many as fit into one answer, one at least.
        """
        values: list[bytes | None] = []
        writes: list[Write] = []
        size = 0
        for entry in present:
            size += 0 if entry is None else len(entry["value"])
            if values and size > _MOST_ANSWERED:
                break
            live = entry is not None and entry["until"] > now
            values.append(entry["value"] if entry is not None and live else None)
            if entry is not None:
                writes += _removing(self.dict_id, entry, now)
        return {"values": values}, writes


def _writing(dict_id: str, entry: Item, old: Item | None, now: float) -> list[Write]:
    order_pk, order_sk = _order_key(dict_id, entry)
    listed = {
        "pk": order_pk,
        "sk": order_sk,
        "entry": entry["pk"],
        "position": entry["position"],
        **_life(entry["until"], entry["value"]),
    }
    if old is None:
        writes = [put(entry, "attribute_not_exists(pk)"), put(listed)]
    else:
        writes = [put(entry, "#version = :seen", seen=old["version"]), put(listed)]
        writes += _discarding(old["value"], now)
    if is_blob(entry["value"]):
        index = {"pk": _BLOBS, "sk": entry["pk"], "entry": entry["pk"], "dict_id": dict_id}
        writes.append(put(index))
    elif old is not None and is_blob(old["value"]):
        writes.append(delete(_BLOBS, entry["pk"]))
    return writes


def _removing(dict_id: str, entry: Item, now: float) -> list[Write]:
    writes = [
        delete(entry["pk"], _ENTRY, "#version = :seen", seen=entry["version"]),
        delete(*_order_key(dict_id, entry)),
        *_discarding(entry["value"], now),
    ]
    if is_blob(entry["value"]):
        writes.append(delete(_BLOBS, entry["pk"]))
    return writes


def _discarding(value: bytes, now: float) -> list[Write]:
    return [gone(_GONE, value, now)] if is_blob(value) else []


def _life(until: float, value: bytes) -> dict[str, Any]:
    """Return until when an entry lives, and when DynamoDB deletes it, which tells nobody."""
    return {"until": until} | ({} if is_blob(value) else {"expires": int(until) + _SLACK})


def _place(dict_id: str, key: bytes) -> str:
    return f"DI#{dict_id}#{sha256(key).hexdigest()}"


def _order_key(dict_id: str, entry: Mapping[str, Any]) -> tuple[str, str]:
    return f"DI#{dict_id}", f"{_position(entry['position'])}#{entry['pk'][-16:]}"


def _position(position: int) -> str:
    return f"P#{position:022}"


def _portions(entries: Sequence[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    """Cut entries into what one transaction can write, of each key once."""
    some: dict[bytes, bytes] = {}
    size = 0
    for key, value in entries:
        size += len(key) + len(value)
        if some and (key in some or len(some) == _MOST_ENTRIES or size > _MOST_BYTES):
            yield list(some.items())
            some, size = {}, len(key) + len(value)
        some[key] = value
    if some:
        yield list(some.items())


def _distinct(keys: Sequence[bytes]) -> list[bytes]:
    """Return the first keys, up to one that comes again."""
    some: dict[bytes, None] = {}
    for key in keys[:_MOST_ENTRIES]:
        if key in some:
            break
        some[key] = None
    return list(some)
