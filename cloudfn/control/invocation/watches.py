"""Calls that a client waits for, and how outcomes and items come to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress

from cloudfn.clock import Clock
from cloudfn.control.invocation.caller import Caller, Tell
from cloudfn.control.invocation.crew import Crew, Lane
from cloudfn.control.invocation.insisting import insist
from cloudfn.control.invocation.missing import Missing
from cloudfn.errors import DataLossError, Error
from cloudfn.model.call import CallKind, Status
from cloudfn.providers.base import Cloud
from cloudfn.providers.ledger import CallRecord
from cloudfn.wire.messages import BlobRef, Items, Kind, Outcomes, encode_json, is_blob
from cloudfn.wire.replies import error_json

_log = logging.getLogger(__name__)

#: bytes of payloads in one message
MESSAGE_BYTES = 1 << 20


class Seen:
    """Numbers that were met before, from a start on: all below a floor, and some beyond it."""

    __slots__ = ("_beyond", "floor", "start")

    def __init__(self, start: int = 0) -> None:
        self.start = self.floor = start
        self._beyond: set[int] = set()

    def __len__(self) -> int:
        return self.floor - self.start + len(self._beyond)

    def add(self, number: int) -> bool:
        """Note a number; whether it is new."""
        if number < self.floor or number in self._beyond:
            return False
        self._beyond.add(number)
        while self.floor in self._beyond:
            self._beyond.remove(self.floor)
            self.floor += 1
        return True


@dataclass(slots=True, eq=False)
class Watch:
    """One client's wish to hear of one call."""

    ref: int
    call_id: str
    caller: Caller
    tell: Tell
    #: what it hears comes in order
    lane: Lane
    seen: Seen
    end: int | None = None
    #: it wants to hear which inputs are finished, and nothing of what came of them
    bare: bool = False
    kind: CallKind | None = None
    #: items of a generator that it was sent
    items: int = 0
    #: seconds between two looks into the ledger, which grow up to `most` while nothing comes
    pause: float = 1.0
    least: float = 1.0
    most: float = 10.0
    #: monotonic time of the next look
    next_look: float = 0.0
    #: the ledger has had it
    opened: bool = False
    #: a look is under way, or will be
    looking: bool = False
    over: bool = False
    #: inputs that returned, and that did not
    done: int = 0
    failed: int = 0
    #: the results in files that it was sent, by index
    blobs: dict[int, BlobRef] = field(default_factory=dict)


def reject(watch: Watch, error: Error) -> None:
    """Tell a client that a call is over, for good and without outcomes."""
    body = {"event": "rejected", "ref": watch.ref, "error": error_json(error)}
    watch.tell(Kind.EVENT, encode_json(body))


class Deliveries:
    """Brings what the ledger knows to watches. Its methods run in the watch's own lane.

    Args:
        cloud: Its ledger has outcomes, its streams have items, and its depot has big payloads.
        crew: Fetches several at a time.
        clock: The time.
    """

    def __init__(self, cloud: Cloud, crew: Crew, clock: Clock) -> None:
        self._ledger = cloud.ledger
        self._streams = cloud.streams
        self._depot = cloud.depot
        self._crew = crew
        self._clock = clock
        #: hears of notes, and of outcomes that came without
        self.missing = Missing()

    def offer(
        self,
        watch: Watch,
        indices: Sequence[int],
        statuses: Sequence[int],
        payloads: Sequence[bytes],
    ) -> int:
        """Tell of those outcomes that are wanted and new; return how many."""
        if watch.over:
            return 0
        if watch.kind == CallKind.REMOTE_GEN and indices:
            self.send_items(watch)  # all of them are there by now, and go first
        new = [
            (watch.end is None or index < watch.end) and watch.seen.add(index) for index in indices
        ]
        indices, statuses = list(compress(indices, new)), list(compress(statuses, new))
        payloads = list(compress(payloads, new))
        returned = sum(status == Status.RETURNED for status in statuses)
        watch.done += returned
        watch.failed += len(statuses) - returned
        if watch.bare:
            payloads = [b""] * len(payloads)
        self._fetch(watch, payloads)
        for index, payload in zip(indices, payloads, strict=True):
            if is_blob(payload):
                watch.blobs[index] = BlobRef.decode(payload)
        for begin, end in _parts(payloads):
            message = Outcomes(
                watch.ref, indices[begin:end], statuses[begin:end], payloads[begin:end]
            )
            watch.tell(Kind.OUTCOMES, message.encode())
        return len(indices)

    def read(self, watch: Watch, start: int, end: int | None) -> int:
        """Read outcomes and tell of those that are wanted and new; return how many."""
        found = self._ledger.outcomes(watch.call_id, start, end)
        return self.offer(
            watch,
            [each.index for each in found],
            [each.status for each in found],
            [each.payload for each in found],
        )

    def look(self, watch: Watch) -> tuple[int, CallRecord | None]:
        """Look whether there is anything new; return how much, and what is known of the call."""
        record = self._ledger.call(watch.call_id)
        if record is None or watch.over:
            return 0, record
        news = self.send_items(watch) if watch.kind == CallKind.REMOTE_GEN else 0
        if record.finished > 0 and not self._has_all(watch, record):
            news += self.read(watch, watch.seen.floor, watch.end)
        return news, record

    def send_items(self, watch: Watch) -> int:
        """Tell of a generator's items that are new; return how many."""
        try:
            payloads = self._streams.read(watch.call_id, watch.items)
        except DataLossError:  # they were taken meanwhile, and so the reader has them
            return 0
        if payloads:
            self._fetch(watch, payloads)
            message = Items(watch.ref, watch.items, payloads)
            watch.items += len(payloads)
            watch.tell(Kind.ITEMS, message.encode())
        return len(payloads)

    @staticmethod
    def _has_all(watch: Watch, record: CallRecord) -> bool:
        if watch.seen.start == 0 and watch.end is None:
            return len(watch.seen) >= record.finished
        wanted = record.known if watch.end is None else min(watch.end, record.known)
        return watch.seen.floor >= wanted

    def _fetch(self, watch: Watch, payloads: Sequence[bytes]) -> None:
        """Have the files of big payloads where the client reads them."""
        refs = [BlobRef.decode(each) for each in payloads if is_blob(each)]
        self._crew.map(lambda ref: self.bring(watch.caller, ref), refs)

    def bring(self, caller: Caller, ref: BlobRef) -> None:
        """Have the file of one; where it is lost, its reader finds that nothing is there."""
        path = caller.files.path(ref)
        if path.exists():
            return
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            insist(self._clock, lambda: self._depot.fetch(ref, path))
        except FileExistsError:  # another reader of the same call was faster
            return
        except (Error, OSError) as error:
            _log.warning("a payload cannot be fetched: %s", error)


def _parts(payloads: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return (begin, end) of parts whose payloads fit into a message."""
    parts, begin, size = [], 0, 0
    for position, payload in enumerate(payloads):
        size += len(payload)
        if size > MESSAGE_BYTES and position > begin:
            parts.append((begin, position))
            begin, size = position, len(payload)
    return [*parts, (begin, len(payloads))] if payloads else parts
