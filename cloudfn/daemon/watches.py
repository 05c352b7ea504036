"""A call under way as the daemon holds it, and the clients that wait for its outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress

from cloudfn.daemon.session import Session
from cloudfn.providers.ledger import CallSpec, Outcome
from cloudfn.wire.messages import BlobRef, Kind, Outcomes

#: outcomes are cut into messages of at most this many payload bytes
MESSAGE_BYTES = 1 << 20


@dataclass(slots=True, eq=False)
class Watch:
    """One client's wish to have outcomes of one call."""

    session: Session
    ref: int
    call: Call
    start: int = 0
    end: int | None = None
    #: it made the call: it gets acknowledgements, and without it a transient call ends
    owner: bool = False
    #: it wants to hear which inputs are finished, and nothing of what came of them
    bare: bool = False
    indices: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    #: (index, bytes) of outcomes that stay in the ledger until the client has read what it was sent
    late: list[tuple[int, int]] = field(default_factory=list)
    #: items of a generator that it was sent
    items: int = 0

    def add(
        self, indices: Sequence[int], statuses: Sequence[int], payloads: Sequence[bytes]
    ) -> bool:
        """Queue the outcomes that are wanted; return whether this made the queue non-empty."""
        was_empty = not self.indices
        if self.start or self.end is not None:
            wanted = [self.start <= index and self._before_end(index) for index in indices]
            indices = list(compress(indices, wanted))
            statuses = list(compress(statuses, wanted))
            payloads = list(compress(payloads, wanted))
        self.indices += indices
        self.statuses += statuses
        self.payloads += [b""] * len(payloads) if self.bare else payloads
        return was_empty and bool(indices)

    def _before_end(self, index: int) -> bool:
        return self.end is None or index < self.end

    def flush(self) -> None:
        """Send what is queued, or leave it in the ledger for a client that reads slowly."""
        if self.late or self.session.congested:
            self.late += zip(self.indices, map(len, self.payloads), strict=True)
        else:
            self._send_all()
        self.indices, self.statuses, self.payloads = [], [], []

    def take_late(self) -> list[int]:
        """Remove and return the next indices that were left in the ledger, a message's worth."""
        self.late.sort()
        size = count = 0
        while count < len(self.late) and (size := size + self.late[count][1]) <= MESSAGE_BYTES:
            count += 1
        count = max(count, 1)
        taken, self.late = self.late[:count], self.late[count:]
        return [index for index, _ in taken]

    def send(self, outcomes: Sequence[Outcome]) -> None:
        """Send outcomes that were left in the ledger."""
        indices = [outcome.index for outcome in outcomes]
        statuses = [int(outcome.status) for outcome in outcomes]
        payloads = [b"" if self.bare else outcome.payload for outcome in outcomes]
        self.session.show(payloads)
        body = Outcomes(self.ref, indices, statuses, payloads).encode()
        self.session.send(Kind.OUTCOMES, body)

    def _send_all(self) -> None:
        begin, size = 0, 0
        for position, payload in enumerate(self.payloads):
            size += len(payload)
            if size > MESSAGE_BYTES:
                self._send(begin, position + 1)
                begin, size = position + 1, 0
        if begin < len(self.indices):
            self._send(begin, len(self.indices))

    def _send(self, begin: int, end: int) -> None:
        outcomes = Outcomes(
            self.ref, self.indices[begin:end], self.statuses[begin:end], self.payloads[begin:end]
        )
        self.session.show(outcomes.payloads)
        self.session.send(Kind.OUTCOMES, outcomes.encode())


@dataclass(slots=True, eq=False)
class Call:
    """A call that somebody waits for or that is not delivered yet."""

    spec: CallSpec
    known: int = 0
    sealed: bool = False
    #: how many inputs its client was told of here that they are kept
    acknowledged: int = 0
    #: outcomes that came while it was under way here
    finished: int = 0
    delivered: int = 0
    #: its client came back, and may count some deliveries twice
    resumed: bool = False
    watches: list[Watch] = field(default_factory=list)
    #: blobs of outcomes, by index, deleted when delivered
    blobs: dict[int, BlobRef] = field(default_factory=dict)
    has_blobs: bool = False
    #: a limit refused inputs, and its client waits for room
    starved: bool = False
    #: monotonic time since when no client is there
    orphaned: float | None = None
    #: container that its client is in
    home: str | None = None
    #: seq of the input that waits for this call
    parent_seq: int | None = None
    #: how many commits there had been when it was made; -1: it is on disk already
    made_at: int = -1
