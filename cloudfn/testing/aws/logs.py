"""Fake CloudWatch Logs: batches with their rules, events that are readable a little later, pages.

From the API reference of PutLogEvents and FilterLogEvents, "CloudWatch Logs quotas", and "Filter
pattern syntax".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from cloudfn.testing.aws.knobs import LogsKnobs
from cloudfn.testing.aws.service import Answer, Bucket, Refused, Request, Service
from cloudfn.testing.clock import FakeClock

#: bytes of a batch, and of one event; each counts so many more than its text
_LARGEST = 1_048_576
_OVERHEAD = 26
_PAGE = 10_000
_DAY = 86_400_000
_OLDEST = 14 * _DAY
_NEWEST = 2 * 3_600_000
_RETENTIONS = frozenset(
    {1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731}
    | {1096, 1827, 2192, 2557, 2922, 3288, 3653}
)
#: terms of a filter pattern that is no JSON and no list
_TERM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([\w]+))')


@dataclass(frozen=True, slots=True)
class _Event:
    """What a stream has; in the order in which events are read."""

    #: milliseconds since the epoch: when it happened, and when it was taken
    at: int
    taken: int
    #: of the request; which of two comes first is anybody's guess
    request: float
    #: in the request
    number: int
    stream: str
    message: str

    @property
    def place(self) -> tuple[int, int, float, int]:
        """Where it is among the others."""
        return self.at, self.taken, self.request, self.number


@dataclass(slots=True)
class _Group:
    name: str
    created: int
    #: days; None: for ever
    retention: int | None = None
    streams: dict[str, int] = field(default_factory=dict)
    events: list[_Event] = field(default_factory=list)

    def kept_since(self, now: int) -> int:
        """Return how old its events may be, in milliseconds since the epoch."""
        return 0 if self.retention is None else now - self.retention * _DAY


class Logs(Service):
    """All log groups of an account and region.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
        knobs: How nasty.
    """

    name = "logs"

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: LogsKnobs
    ) -> None:
        super().__init__(clock, random, region, account)
        self._knobs = knobs
        self._groups: dict[str, _Group] = {}
        self._ids = count(1)
        self._puts = Bucket(knobs.puts)
        self._creations = Bucket(knobs.creations)
        self._filters = Bucket(knobs.filters)

    def truth(self, group: str) -> dict[str, list[str]]:
        """Return what the streams of a group really have, whoever can read it yet."""
        with self.changed:
            known = self._groups[group]
            found: dict[str, list[str]] = {name: [] for name in known.streams}
            for event in sorted(known.events, key=lambda event: event.place):
                found[event.stream].append(event.message)
            return found

    # -------------------------------------------------------------------------- groups, streams

    def create_log_group(self, request: Request) -> None:
        name = request["logGroupName"]
        if name in self._groups:
            raise _exists("log group")
        self._groups[name] = _Group(name, _milliseconds(request.now))

    def delete_log_group(self, request: Request) -> None:
        del self._groups[self._group(request).name]

    def put_retention_policy(self, request: Request) -> None:
        days = request["retentionInDays"]
        if days not in _RETENTIONS:
            raise _invalid(f"{days} is no number of days that a retention may have.")
        self._group(request).retention = days

    def describe_log_groups(self, request: Request) -> Answer:
        prefix = request.get("logGroupNamePrefix", "")
        return {
            "logGroups": [
                {
                    "logGroupName": each.name,
                    "arn": self.arn(f"log-group:{each.name}:*"),
                    "creationTime": each.created,
                    **({"retentionInDays": each.retention} if each.retention else {}),
                }
                for name, each in sorted(self._groups.items())
                if name.startswith(prefix)
            ]
        }

    def create_log_stream(self, request: Request) -> None:
        self._spend(self._creations, request)
        group, name = self._group(request), request["logStreamName"]
        if name in group.streams:
            raise _exists("log stream")
        group.streams[name] = _milliseconds(request.now)

    def delete_log_stream(self, request: Request) -> None:
        group, name = self._group(request), request["logStreamName"]
        _check_stream(group, name)
        del group.streams[name]
        group.events = [event for event in group.events if event.stream != name]

    # ----------------------------------------------------------------------------------- events

    def put_log_events(self, request: Request) -> Answer:
        self._spend(self._puts, request)
        group, stream = self._group(request), request["logStreamName"]
        _check_stream(group, stream)
        events, now = request["logEvents"], _milliseconds(request.now)
        _check_batch(events, now)
        old = sum(event["timestamp"] < now - _OLDEST for event in events)
        expired = sum(event["timestamp"] < group.kept_since(now) for event in events)
        new = sum(event["timestamp"] > now + _NEWEST for event in events)
        rank = self.random.random()
        for number, event in enumerate(events):
            if max(old, expired) <= number < len(events) - new:
                group.events.append(
                    _Event(event["timestamp"], now, rank, number, stream, event["message"])
                )
        rejected = {
            **({"tooOldLogEventEndIndex": old} if old else {}),
            **({"expiredLogEventEndIndex": expired} if expired else {}),
            **({"tooNewLogEventStartIndex": len(events) - new} if new else {}),
        }
        answer: Answer = {"nextSequenceToken": f"{next(self._ids):056d}"}
        return answer | ({"rejectedLogEventsInfo": rejected} if rejected else {})

    def filter_log_events(self, request: Request) -> Answer:
        self._spend(self._filters, request)
        wanted = list(self._wanted(self._group(request), request))
        limit = request.get("limit", _PAGE)
        if self.chance(self._knobs.short_pages):
            limit = self.random.choice((0, self.random.randint(0, min(limit, len(wanted)))))
        page: list[_Event] = []
        size = 0
        for event in wanted[:limit]:
            size += len(event.message.encode()) + _OVERHEAD
            if page and size > _LARGEST:
                break
            page.append(event)
        answer: Answer = {"events": [_shown(each) for each in page], "searchedLogStreams": []}
        if len(page) < len(wanted):
            after = page[-1].place if page else self._after(request)
            # A token is another one each time, though nothing may have come.
            answer["nextToken"] = f"{_token(after)}/{next(self._ids)}"
        return answer

    # ------------------------------------------------------------------------------------ parts

    def _wanted(self, group: _Group, request: Request) -> Iterator[_Event]:
        """Yield the events that a request is about and that follow those of its token."""
        names, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix", "")
        if names and prefix:
            raise _invalid("Either logStreamNames or logStreamNamePrefix may be given, not both.")
        for name in names or ():
            _check_stream(group, name)
        start = max(request.get("startTime", 0), group.kept_since(_milliseconds(request.now)))
        end = request.get("endTime", 1 << 60)
        terms = _terms(request.get("filterPattern", ""))
        readable = _milliseconds(request.now - self._knobs.reads_lag)
        after = self._after(request)
        for event in sorted(group.events, key=lambda event: event.place):
            if (
                event.place > after
                and start <= event.at <= end
                and event.taken <= readable
                and (not names or event.stream in names)
                and event.stream.startswith(prefix)
                and all(term in event.message for term in terms)
            ):
                yield event

    def _after(self, request: Request) -> tuple[int, int, float, int]:
        token = request.get("nextToken")
        if token is None:
            return (-1, 0, 0.0, 0)
        try:
            at, taken, rank, number, _ = token.split("/")
            return (int(at), int(taken), float.fromhex(rank), int(number))
        except ValueError:
            raise _invalid("The specified nextToken is invalid.") from None

    def _group(self, request: Request) -> _Group:
        found = self._groups.get(request.get("logGroupName", ""))
        if found is None:
            raise Refused("ResourceNotFoundException", "The specified log group does not exist.")
        return found

    def _spend(self, bucket: Bucket, request: Request) -> None:
        if not bucket.take(1, request.now):
            raise Refused("ThrottlingException", "Rate exceeded")


def _check_stream(group: _Group, name: str) -> None:
    if name not in group.streams:
        raise Refused("ResourceNotFoundException", "The specified log stream does not exist.")


def _check_batch(events: Sequence[Mapping[str, Any]], now: int) -> None:
    """Refuse a batch that CloudWatch Logs refuses as a whole."""
    sizes = [len(event["message"].encode()) + _OVERHEAD for event in events]
    if max(sizes) > _LARGEST:
        raise _invalid(f"Log event too large: {max(sizes)} bytes exceeds limit of {_LARGEST}")
    if sum(sizes) > _LARGEST:
        raise _invalid(f"Upload too large: {sum(sizes)} bytes exceeds limit of {_LARGEST}")
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        raise _invalid(
            "Log events in a single PutLogEvents request must be in chronological order."
        )
    valid = [each for each in times if now - _OLDEST <= each <= now + _NEWEST]
    if valid and valid[-1] - valid[0] > _DAY:
        raise _invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24"
            " hours."
        )


def _terms(pattern: str) -> list[str]:
    """Return the terms of a filter pattern; the fake knows no other patterns."""
    terms: list[str] = []
    position = 0
    while position < len(pattern.rstrip()):
        found = _TERM.match(pattern, position)
        if found is None:
            raise NotImplementedError(f"The fake of logs does not know the pattern {pattern!r}.")
        quoted, plain = found.groups()
        terms.append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        position = found.end()
    return terms


def _shown(event: _Event) -> Answer:
    return {
        "logStreamName": event.stream,
        "timestamp": event.at,
        "message": event.message,
        "ingestionTime": event.taken,
        "eventId": _token(event.place),
    }


def _token(place: tuple[int, int, float, int]) -> str:
    at, taken, rank, number = place
    return f"{at}/{taken}/{rank.hex()}/{number}"


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _exists(what: str) -> Refused:
    return Refused("ResourceAlreadyExistsException", f"The specified {what} already exists")


def _invalid(message: str) -> Refused:
    return Refused("InvalidParameterException", message)
