"""One standard queue of the fake SQS: its messages, and what befalls them. Not thread-safe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, islice
from random import Random
from typing import Any

from cloudfn.testing.aws.knobs import SqsKnobs

#: the longest that a message may be invisible, counted from its receive
LONGEST_VISIBILITY = 43_200


@dataclass(slots=True, eq=False)
class Message:
    """One message; the same object wherever it goes."""

    id: str
    body: str
    attributes: dict[str, Any]
    group: str | None
    sent_at: float
    #: from here on it can be received
    visible_at: float
    receives: int = 0
    first_received_at: float = 0.0
    received_at: float = 0.0
    #: of the last receive; older ones are stale
    handle: str = ""
    gone: bool = False


@dataclass(slots=True)
class Attributes:
    """What can be set of a queue, in SQS's units."""

    visibility: int = 30
    delay: int = 0
    retention: int = 345_600
    wait: int = 0
    largest: int = 1_048_576
    #: of the dead-letter queue, and the receives after which a message goes there
    dead_letters: str | None = None
    max_receives: int = 0


@dataclass(slots=True)
class Counts:
    """What `ApproximateNumberOf…` says."""

    visible: int
    in_flight: int
    delayed: int


@dataclass(slots=True)
class Queue:
    """One standard queue.

    Args:
        name: Of the queue.
        created_at: When it was made.
        raw: Attributes as they were given.
        now_holds: Those that hold already.
    """

    name: str
    created_at: float
    raw: dict[str, str]
    now_holds: Attributes
    changed_at: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    purged_at: float = -float("inf")
    #: attributes that hold from a time on
    coming: list[tuple[float, Attributes]] = field(default_factory=list)
    _ready: dict[str, Message] = field(default_factory=dict)
    _hidden: list[tuple[float, int, Message]] = field(default_factory=list)
    _all: dict[str, Message] = field(default_factory=dict)
    _in_flight: dict[str, Message] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _sample: tuple[float, Counts] | None = None
    _mixed: bool = False

    def pass_time(self, now: float) -> None:
        """Show what has become visible, drop what is older than the retention."""
        while self.coming and self.coming[0][0] <= now:
            self.now_holds = self.coming.pop(0)[1]
        while self._hidden and self._hidden[0][0] <= now:
            at, _, message = heappop(self._hidden)
            if not message.gone and message.visible_at == at:
                self._in_flight.pop(message.id, None)
                self._ready[message.id] = message
        # Messages lie in the order of their sending, unless some came from another queue.
        too_old = now - self.now_holds.retention
        for message in list(self._all.values()) if self._mixed else self._oldest():
            if message.sent_at <= too_old:
                self.remove(message)
            elif not self._mixed:
                break

    def _oldest(self) -> Iterator[Message]:
        while self._all:
            yield next(iter(self._all.values()))

    def add(self, message: Message, *, moved: bool = False) -> None:
        """Take a message in; it can be received from its `visible_at` on.

        Args:
            message: What to take in.
            moved: Whether it comes from another queue, and so may be older than others here.
        """
        self._mixed = self._mixed or moved
        self._all[message.id] = message
        self.hide(message, message.visible_at)

    def hide(self, message: Message, until: float) -> None:
        """Let a message be invisible until then."""
        self._ready.pop(message.id, None)
        message.visible_at = until
        heappush(self._hidden, (until, next(self._numbers), message))

    def remove(self, message: Message) -> None:
        """Let a message be no more."""
        message.gone = True
        self.forget(message)

    def forget(self, message: Message) -> None:
        """Let a message go, to another queue or for good."""
        self._all.pop(message.id, None)
        self._ready.pop(message.id, None)
        self._in_flight.pop(message.id, None)

    def pick(
        self, limit: int, random: Random, knobs: SqsKnobs, *, everywhere: bool
    ) -> list[Message]:
        """Return up to `limit` visible messages, as a receive would find them.

        Args:
            limit: How many at most.
            random: Chance.
            knobs: How nasty.
            everywhere: Whether all servers are asked, as a long poll does; then there is at least
                one if there is any.
        """
        window = list(islice(self._ready.values(), max(limit, knobs.shuffled)))
        if knobs.shuffled > 1:
            random.shuffle(window)
        found = window[:limit]
        if found and random.random() < knobs.sampled:
            found = found[: random.randint(1 if everywhere else 0, len(found))]
        return found

    def receive(self, message: Message, handle: str, now: float, until: float) -> None:
        """Give a message out."""
        message.receives += 1
        message.first_received_at = message.first_received_at or now
        message.received_at = now
        message.handle = handle
        self.hide(message, until)
        self._in_flight[message.id] = message

    def is_in_flight(self, message: Message) -> bool:
        """Say whether somebody has it."""
        return message.id in self._in_flight

    def find(self, message_id: str) -> Message | None:
        """Return a message that is still there."""
        return self._all.get(message_id)

    @property
    def in_flight(self) -> int:
        """How many messages somebody has."""
        return len(self._in_flight)

    @property
    def messages(self) -> Iterable[Message]:
        """All that are there, in whatever state: the truth, which no client sees."""
        return self._all.values()

    def next_change(self) -> float:
        """Return when the next message becomes visible."""
        while self._hidden:
            at, _, message = self._hidden[0]
            if not message.gone and message.visible_at == at and message.id in self._all:
                return at
            heappop(self._hidden)
        return float("inf")

    def counts(self, now: float, lag: float) -> Counts:
        """Return how many there are, or were up to `lag` seconds ago."""
        if self._sample is not None and now - self._sample[0] < lag:
            return self._sample[1]
        held = len(self._in_flight)
        fresh = Counts(len(self._ready), held, len(self._all) - len(self._ready) - held)
        self._sample = (now, fresh)
        return fresh
