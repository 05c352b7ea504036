"""The output of containers in CloudWatch Logs: a stream for each container, entries as JSON.

`write` only collects; `flush`, which a timer of the caller's calls in a thread, sends. How long
entries are kept is the group's retention, which Terraform sets.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from json import loads
from json.encoder import encode_basestring_ascii as quoted
from threading import Lock
from typing import Any

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import AlreadyExistsError, Error, InvalidError, NotFoundError, RequestSizeError
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained

_log = logging.getLogger(__name__)

#: entries that one query returns at most, however wide it is
MOST_ENTRIES = 100_000
#: bytes that wait for a flush; what comes on top is counted and dropped
BOUND = 32 << 20
#: bytes of a batch, of which each event takes so many beside its text; events of a batch
_LARGEST_BATCH = 1_048_576
_OVERHEAD = 26
_MOST_EVENTS = 10_000
#: milliseconds that a batch may span; how old and how far ahead events may be, less a minute
_SPAN = 24 * 3_600_000
_OLDEST = 14 * 24 * 3_600_000 - 60_000
_NEWEST = 2 * 3_600_000 - 60_000
#: characters of one entry; longer texts become several. In JSON a character has up to 12 bytes, and
#: 256 KiB is what an event could have for years.
_LONGEST_TEXT = 16 << 10
#: milliseconds of the first look for the last entries, which reads all that is in it; each further
#: one is so much longer
_FIRST_LOOK = 20_000
_FURTHER = 12
_LONGEST_LOOK = 15 * 24 * 3_600_000
#: the stream for output that belongs to an app and none of its containers
_NO_CONTAINER = "_app"
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
#: what can stand in a filter pattern as it is
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

#: what tells entries apart and orders them: time, writer, number
_Key = tuple[float, str, int]


@dataclass(frozen=True, slots=True)
class _Line:
    """An event of a stream, as it is sent."""

    #: milliseconds since the epoch
    at: int
    #: ASCII
    message: str

    @property
    def size(self) -> int:
        """The bytes that it takes of a batch."""
        return len(self.message) + _OVERHEAD


class CloudWatchLogs:
    """The `Logs` port on one log group. Usable from any thread.

    An entry that was sent twice, because the answer to the first time was lost, is read once.

    Args:
        clients: Where the client of `logs` comes from.
        group: Name of the log group, which is there.
        clock: The time.
    """

    def __init__(self, clients: ClientSource, group: str, clock: Clock | None = None) -> None:
        self._clients = clients
        self._group = group
        self._clock = clock or SystemClock()
        #: tells the lines of this process from those of all others
        self._writer = os.urandom(6).hex()
        self._lock = Lock()
        #: one flush at a time keeps the order
        self._flushing = Lock()
        #: stream → lines that wait
        self._waiting: dict[str, list[_Line]] = {}
        self._size = 0
        self._number = 0
        #: streams that are known to be there
        self._streams: set[str] = set()
        #: lines that were given up
        self.lost = 0
        #: why the last flush did not send everything; None: it did
        self.trouble: Error | None = None

    # Writing

    def write(self, entry: LogEntry) -> None:
        """Collect an entry; never blocks.

        Raises:
            InvalidError: The ids are no names of streams.
        """
        stream = _stream_of(entry)
        at = int(entry.at * 1000)
        with self._lock:
            for start in range(0, max(len(entry.text), 1), _LONGEST_TEXT):
                self._number += 1
                text = entry.text[start : start + _LONGEST_TEXT]
                line = _Line(at, _message(entry, text, self._writer, self._number))
                if self._size + line.size > BOUND:
                    self.lost += 1
                    continue
                self._size += line.size
                self._waiting.setdefault(stream, []).append(line)

    def flush(self) -> None:
        """Send what was collected; what AWS cannot take now waits for the next time.

        Logs are no reason to stop the work, so it raises nothing: `trouble` says what went wrong,
        `lost` how many lines were given up.
        """
        with self._flushing:
            with self._lock:
                waiting, self._waiting, self._size = self._waiting, {}, 0
            before, self.trouble = self.trouble, None
            for stream, lines in waiting.items():
                unsent = lines if self._is_stuck() else self._send(stream, lines)
                if unsent:
                    self._put_back(stream, unsent)
            self._say(before)

    def _say(self, before: Error | None) -> None:
        """Say that there is trouble, once for as long as it lasts."""
        if before is None and self.trouble is not None:
            _log.warning("logs cannot be sent: %s", self.trouble.message)

    def _is_stuck(self) -> bool:
        """Whether the next stream would meet the same trouble: they share a group."""
        return self.trouble is not None and not isinstance(self.trouble, _REFUSED)

    def _send(self, stream: str, lines: list[_Line]) -> list[_Line]:
        """Send a stream's lines; return those that have to wait."""
        batches = _batches(lines, int(self._clock.wall() * 1000))
        for number, batch in enumerate(batches):
            try:
                self._put(stream, batch)
            except _REFUSED as error:
                # It would be refused again, for ever.
                self.trouble = error
                self.lost += len(batch)
            except Error as error:
                self.trouble = error
                return [line for each in batches[number:] for line in each]
        return []

    def _put(self, stream: str, batch: Sequence[_Line]) -> None:
        try:
            self._put_events(stream, batch)
        except NotFoundError:
            # Somebody removed the stream: it is made again, unless the group is gone.
            self._streams.discard(stream)
            self._put_events(stream, batch)

    def _put_events(self, stream: str, batch: Sequence[_Line]) -> None:
        logs = self._clients.of("logs")
        names = {"logGroupName": self._group, "logStreamName": stream}
        about = f"log group {self._group}"
        if stream not in self._streams:
            with suppress(AlreadyExistsError), explained("logs", "CreateLogStream", about):
                logs.create_log_stream(**names)
            self._streams.add(stream)
        events = [{"timestamp": line.at, "message": line.message} for line in batch]
        with explained("logs", "PutLogEvents", about):
            answer = logs.put_log_events(**names, logEvents=events)
        self.lost += _rejected(answer.get("rejectedLogEventsInfo", {}), len(batch))

    def _put_back(self, stream: str, lines: list[_Line]) -> None:
        with self._lock:
            self._waiting[stream] = lines + self._waiting.get(stream, [])
            self._size += sum(line.size for line in lines)

    # Reading

    def read(self, query: LogQuery) -> list[LogEntry]:
        limit = MOST_ENTRIES if query.tail is None else min(query.tail, MOST_ENTRIES)
        if limit <= 0 or not _may_exist(query):
            return []
        found: dict[_Key, LogEntry] = {}
        for start, end in _looks(query, int(self._clock.wall() * 1000)):
            for key, entry in self._events(query, start, end):
                found[key] = entry
                if len(found) > 2 * limit:
                    found = {each: found[each] for each in sorted(found)[-limit:]}
            if len(found) >= limit:
                break
        return [found[key] for key in sorted(found)[-limit:]]

    def _events(
        self, query: LogQuery, start: int, end: int | None
    ) -> Iterator[tuple[_Key, LogEntry]]:
        """Yield the wanted entries of some time, in milliseconds, both ends included."""
        asked: dict[str, Any] = {"logGroupName": self._group, "startTime": start, **_filter(query)}
        if end is not None:
            asked["endTime"] = end
        pages = self._clients.of("logs").get_paginator("filter_log_events").paginate(**asked)
        with explained("logs", "FilterLogEvents", f"log group {self._group}"):
            for page in pages:
                for event in page["events"]:
                    parsed = _parse(event)
                    if parsed is not None and query.wants(parsed[1]):
                        yield parsed

    def prune(self, now: float) -> int:
        """Drop nothing: the group's retention does it."""
        return 0


#: what AWS says of requests that will never be good
_REFUSED = (InvalidError, RequestSizeError)


def _stream_of(entry: LogEntry) -> str:
    for name in (entry.app_id, entry.container_id or "none"):
        if not _SAFE.fullmatch(name):
            raise InvalidError(f"{name!r} is no name of an app or a container.")
    return f"{entry.app_id}/{entry.container_id or _NO_CONTAINER}"


def _message(entry: LogEntry, text: str, writer: str, number: int) -> str:
    """Return an entry as JSON in ASCII, which has a place for half a character, too."""
    return (
        f'{{"at":{entry.at!r},"app":{quoted(entry.app_name)},"function":{quoted(entry.function)},'
        f'"call":{quoted(entry.call_id)},"input":{quoted(entry.input_id)},'
        f'"source":"{entry.source}","text":{quoted(text)},'
        f'"app_id":"{entry.app_id}","container":"{entry.container_id}",'
        f'"writer":"{writer}","number":{number}}}'
    )


def _parse(event: Mapping[str, Any]) -> tuple[_Key, LogEntry] | None:
    """Return what an event says; None for what somebody else has put there."""
    try:
        data = loads(event["message"])
        entry = LogEntry(
            data["at"],
            data["app_id"],
            data["app"],
            data["function"],
            data["container"],
            data["call"],
            data["input"],
            data["source"],
            data["text"],
        )
        return (entry.at, data["writer"], data["number"]), entry
    except (ValueError, KeyError, TypeError):
        return None


def _batches(lines: Sequence[_Line], now: int) -> list[list[_Line]]:
    """Return lines in the order of time, in batches that AWS takes.

    Args:
        lines: Of one stream; those of a time that AWS would refuse get the nearest that it takes.
        now: Milliseconds since the epoch.
    """
    oldest, newest = max(now - _OLDEST, 0), now + _NEWEST
    taken = [replace(line, at=min(max(line.at, oldest), newest)) for line in lines]
    batches: list[list[_Line]] = []
    size = 0
    for line in sorted(taken, key=lambda line: line.at):
        size += line.size
        if (
            not batches
            or size > _LARGEST_BATCH
            or len(batches[-1]) == _MOST_EVENTS
            or line.at - batches[-1][0].at >= _SPAN
        ):
            batches.append([])
            size = line.size
        batches[-1].append(line)
    return batches


def _rejected(told: Mapping[str, int], count: int) -> int:
    """Return how many events of a batch AWS did not take, from its account of that."""
    old = max(told.get("tooOldLogEventEndIndex", 0), told.get("expiredLogEventEndIndex", 0))
    return old + count - told.get("tooNewLogEventStartIndex", count)


def _may_exist(query: LogQuery) -> bool:
    """Whether entries can have such ids."""
    return all(_SAFE.fullmatch(name) for name in (query.app_id, query.container_id) if name)


def _filter(query: LogQuery) -> dict[str, str]:
    """Return what has AWS leave out most of what is not wanted: streams, and one word of the text.

    One word alone is what every emulator understands as AWS does.
    """
    asked = {}
    if query.app_id is not None:
        asked["logStreamNamePrefix"] = f"{query.app_id}/"
    words = (query.call_id, query.container_id, query.function)
    plain = [word for word in words if word and _PLAIN.fullmatch(word)]
    if plain:
        asked["filterPattern"] = f'"{plain[0]}"'
    return asked


def _looks(query: LogQuery, now: int) -> Iterator[tuple[int, int | None]]:
    """Yield the times to look at, in milliseconds, the latest first.

    Nobody can ask for the last entries of a group: looks go back further and further.
    """
    floor = 0 if query.since is None else max(int(query.since * 1000), 0)
    end = None if query.until is None else int(query.until * 1000)
    latest = now if end is None else end
    span = _FIRST_LOOK
    while query.tail is not None and span <= _LONGEST_LOOK and latest - span > floor:
        yield latest - span, end
        latest = end = latest - span - 1
        span *= _FURTHER
    if end is None or end >= floor:
        yield floor, end
