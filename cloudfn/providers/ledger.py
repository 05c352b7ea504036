"""The port of the ledger: the durable truth about calls, inputs, attempts and outcomes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.model.terms import Terms


class CallSpec(NamedTuple):
    """A Call as its client made it; the client mints the id, so that submitting is idempotent."""

    call_id: str
    function_id: str
    #: name of the pool: the function at the revision that the call is pinned to
    pool: str
    kind: CallKind
    #: seconds since the epoch
    created: float
    #: (call id, index) of the input whose user code made this call
    parent: tuple[str, int] | None = None
    #: outcomes stay after delivery, and the call survives its client and a power cut
    durable: bool = False
    #: of a durable call: when its inputs may begin, and who goes first
    terms: Terms | None = None
    #: by which a later process finds it: app/function/name; empty for most calls
    name: str = ""
    #: of a call that somebody made of dead letters: the call that they are of
    origin: str = ""
    #: where its client waits for wakeups; empty: with the ledger itself
    reply: str = ""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What the ledger knows of a Call."""

    spec: CallSpec
    #: inputs that the ledger has
    known: int
    #: no more inputs follow
    sealed: bool
    finished: int
    cancelled: bool
    #: finished inputs that did not return
    failed: int = 0
    #: its outcomes were kept for their time and are gone
    expired: bool = False
    #: of a named call: how many inputs it has in all, where that was said once
    total: int | None = None

    def lacks(self, found: int, start: int, end: int | None) -> bool:
        """Whether finished inputs start ≤ index < end have no outcome any more, but `found`."""
        if self.finished < self.known or not self.known:
            return False
        last = self.known if end is None else min(end, self.known)
        return found < last - start


class Admission(NamedTuple):
    """The answer to a submission: the ledger has inputs 0 … known − 1 of the call."""

    known: int
    #: which limit refused the rest, as a sentence for the caller; empty when nothing was refused
    refused: str = ""


class Claim:
    """The right to run one input: it lasts until recorded, given back, retried or superseded."""

    __slots__ = (
        "alone",
        "call_id",
        "counters",
        "deadline",
        "durable",
        "fence",
        "index",
        "payload",
        "pool",
        "seq",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - one value per column, built on the hot path
        self,
        seq: int,
        fence: int,
        pool: str,
        call_id: str,
        index: int,
        payload: bytes,
        counters: Counters,
        alone: bool,  # noqa: FBT001 - hot path
        durable: bool,  # noqa: FBT001 - hot path
        deadline: float | None = None,
    ) -> None:
        #: the ledger's number of the input
        self.seq = seq
        #: grows with each claim of the input, also over restarts; guards every write
        self.fence = fence
        self.pool = pool
        self.call_id = call_id
        self.index = index
        self.payload = payload
        self.counters = counters
        #: it must run with no other input beside it
        self.alone = alone
        #: its outcome must survive a power cut
        self.durable = durable
        #: wall time after which it must not run
        self.deadline = deadline


class Entry(NamedTuple):
    """An outcome to be recorded by the holder of a claim."""

    seq: int
    fence: int
    status: Status
    payload: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one recorded outcome of an input."""

    index: int
    status: Status
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An input of a durable call that ended by a failure, with what it would take to run it."""

    call: CallSpec
    index: int
    status: Status
    outcome: bytes
    payload: bytes


class PoolCounts(NamedTuple):
    """Exact numbers of a pool's inputs, derived from the records themselves."""

    #: waiting inputs that may run now
    pending: int
    #: waiting inputs whose time has not come: a retry's, or that of a delayed call
    delayed: int
    running: int


class Ledger(Protocol):
    """The durable truth about calls, inputs and outcomes.

    Promises (one contract suite for all adapters): an admitted input ends in exactly one outcome;
    the first recorded outcome wins for ever; a write with a superseded fence is refused; counts
    are exact; every method is idempotent where it says so. Batch first: one is the batch of one.

    Writes become visible to this process at once; they survive the death of the process after
    `commit` returned, and a power cut after `sync` returned.
    """

    def submit(
        self,
        call: CallSpec,
        first: int,
        payloads: Sequence[bytes],
        *,
        sealed: bool,
        now: float,
        digests: Sequence[bytes] = (),
    ) -> Admission:
        """Admit inputs `first` … of a call, as many as the limits allow, in order.

        Idempotent: inputs that the ledger has already are skipped, so a client may send again
        what was not acknowledged. A gap (`first` beyond what is known) admits nothing. Inputs of a
        named call come with 16-byte digests, which are kept as long as the call.

        Raises:
            ConflictError: The call exists with another function, or is sealed and this would add.
        """
        ...

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        """Take up to `limit` waiting inputs of a pool, PENDING → RUNNING, fence + 1 each.

        Calls of `.remote` and `.map` and those of `.spawn` take turns, so that neither starves.
        Of the latter, those of the highest priority go first, but for every eighth turn in which
        several priorities wait: it begins with one of the lower ones, each in its turn.
        """
        ...

    def overdue(self, now: float) -> list[Claim]:
        """Take all waiting inputs whose deadline has passed; `claim` never returns them.

        Their holder records how they ended, as for any other claim.
        """
        ...

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        """RUNNING → PENDING for each (seq, fence) that never started; no counter moves.

        The inputs go back to the front of the queue in their old order.
        """
        ...

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        """RUNNING → PENDING with new counters, not to be claimed before the wall time given."""
        ...

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        """Record outcomes; False for each whose fence is superseded or that is finished."""
        ...

    def outcomes(self, call_id: str, start: int = 0, end: int | None = None) -> list[Outcome]:
        """Return the recorded, not yet deleted outcomes of inputs start ≤ index < end, in order.

        Raises:
            NotFoundError: There is no such call.
        """
        ...

    def delivered(self, call_id: str, indices: Sequence[int]) -> None:
        """The client has these outcomes: delete them unless the call is durable. Idempotent."""
        ...

    def cancel(self, call_id: str) -> list[tuple[int, int, int]]:
        """Cancel all unfinished inputs of a call: waiting ones get the outcome CANCELLED.

        Returns:
            (seq, fence, index) of those that are RUNNING; their holder stops them and records.
        """
        ...

    def call(self, call_id: str) -> CallRecord | None:
        """Return what is known of a call."""
        ...

    def named(self, name: str) -> str | None:
        """Return the id of the call that has a name."""
        ...

    def digests(self, call_id: str, start: int, end: int) -> list[bytes]:
        """Return the digests of inputs start ≤ index < end that the call ever had."""
        ...

    def names(self) -> dict[str, str]:
        """Return the ids of all named calls by name."""
        ...

    def digest_count(self, call_id: str) -> int:
        """Return how many inputs a named call ever had."""
        ...

    def settled(self, call_id: str, start: int = 0, end: int | None = None) -> list[int]:
        """Return which inputs start ≤ index < end need no payload any more, in order.

        They are known, or were finished before `reopen`.
        """
        ...

    def reopen(self, call: CallSpec) -> None:
        """Begin a named call anew, for another function or pool; nothing of it may run or wait.

        Inputs that ended in any way but CANCELLED keep their outcomes, and are finished when they
        are submitted again; all others are as if they had never been.
        """
        ...

    def calls(
        self,
        *,
        limit: int,
        functions: Collection[str] | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[CallRecord]:
        """Return the latest calls, the newest first.

        Args:
            limit: How many at most.
            functions: Ids of the functions whose calls are wanted; None: of all.
            since: Created at this time or later, in seconds since the epoch.
            until: Created at this time or before.
        """
        ...

    def open_calls(self, function_id: str | None = None) -> list[CallRecord]:
        """Return the calls that are not over: unfinished, not sealed, or not delivered yet."""
        ...

    def children(self, call_id: str) -> list[CallRecord]:
        """Return the calls that inputs of this call made."""
        ...

    def statuses(self, call_id: str) -> list[Status]:
        """Return the status of each known input of a call, by index."""
        ...

    def dead_letters(self, *, limit: int, call_id: str | None = None) -> list[DeadLetter]:
        """Return inputs of durable calls that ended by a failure and were not buried.

        Those of the latest calls come first. They go when the call's outcomes expire.
        """
        ...

    def bury(self, call_id: str, indices: Sequence[int]) -> None:
        """Make inputs dead letters no more; their outcomes stay. Idempotent."""
        ...

    def forget(self, call_id: str) -> None:
        """Delete a call that needs no more reading: everything of it is delivered or unwanted.

        Unfinished inputs are deleted with it.
        """
        ...

    def expire(self, now: float, retention: float) -> list[str]:
        """Drop the outcomes of calls that finished `retention` seconds ago; return their ids.

        The call itself stays known as expired (all `outcomes` gone) for another retention.
        """
        ...

    def counts(self, pool: str) -> PoolCounts:
        """Return a pool's exact counts."""
        ...

    def pools(self) -> list[str]:
        """Return the pools that have unfinished inputs."""
        ...

    def next_due(self, now: float) -> float | None:
        """Return when the next delayed input or deadline is due, as wall time; None without one."""
        ...

    def commit(self) -> None:
        """Make all writes so far survive the death of this process.

        Raises:
            ResourceExhaustedError: The disk is full; the writes since the last commit are undone.
        """
        ...

    def sync(self) -> None:
        """Make all committed writes survive a power cut. May be called from another thread."""
        ...

    def close(self) -> None:
        """Give the store back; what is not committed is lost. Idempotent."""
        ...
