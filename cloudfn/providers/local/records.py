"""What the ledger keeps in memory of calls and of the inputs that wait or run. Pure."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from cloudfn.model.call import Counters
from cloudfn.providers.ledger import CallRecord, CallSpec

#: inputs whose status bytes share a row
BLOCK_BITS = 10
BLOCK = 1 << BLOCK_BITS
#: bit of a status byte: the outcome was delivered and is gone
DELIVERED = 0x80
#: a seq is the number of its lane above this bit, the number within the lane below it
LANE_BITS = 40

#: what `scar` says of an input that has none
UNHURT = Counters()


class Scar(NamedTuple):
    """What is known of an unfinished input beyond that it waits or runs."""

    counters: Counters
    #: wall time before which it must not be claimed
    not_before: float
    alone: bool
    #: wall time after which it must not run
    deadline: float | None = None


class Lane:
    """The waiting inputs of one pool: those of `.spawn` at one priority, or all others."""

    __slots__ = (
        "behind", "cursor", "delayed", "function", "loaded", "next_seq", "number", "pending",
        "pool", "priority", "ring", "running", "spawn",
    )  # fmt: skip

    def __init__(
        self, number: int, function: str, pool: str, *, spawn: bool, priority: int = 0
    ) -> None:
        self.number = number
        self.function = function
        self.pool = pool
        self.spawn = spawn
        self.priority = priority
        #: waiting inputs that may run now, those on disk only included
        self.pending = 0
        #: waiting inputs whose time has not come
        self.delayed = 0
        self.running = 0
        #: waiting inputs of the calls in `ring`
        self.loaded = 0
        #: calls with inputs to be claimed, in turns
        self.ring: deque[Call] = deque()
        self.next_seq = number << LANE_BITS
        #: what lies behind this seq is on disk only
        self.cursor = self.next_seq - 1
        #: whether anything does
        self.behind = False

    @property
    def waiting(self) -> int:
        """Inputs that no container has."""
        return self.pending + self.delayed

    @property
    def end(self) -> int:
        """The first seq that is not of this lane any more."""
        return (self.number + 1) << LANE_BITS


class Page:
    """Unfinished inputs that were submitted together, with consecutive seqs and indices."""

    __slots__ = ("call", "count", "first", "left", "next", "payloads", "seq", "size")

    def __init__(self, seq: int, call: Call, first: int, count: int) -> None:
        #: of its first input; the row's key
        self.seq = seq
        self.call = call
        #: index of its first input
        self.first = first
        self.count = count
        #: inputs without an outcome
        self.left = count
        #: offset of the first input that was never claimed; those behind it were not either
        self.next = 0
        self.payloads: list[bytes] | None = None
        #: bytes in `payloads`
        self.size = 0


class Chunk:
    """A row of outcomes; it goes when none of them is left to be delivered."""

    __slots__ = ("left", "number")

    def __init__(self, number: int, left: int) -> None:
        self.number = number
        self.left = left


#: (seq, fence of the last claim, page)
Returned = tuple[int, int, Page]
#: (index, payload)
FreshOutcome = tuple[int, bytes]


class Call:
    """A call, and which of its inputs wait in memory."""

    __slots__ = (
        "cancelled", "changed", "chunks", "dead", "delayed", "digested", "digests", "ended",
        "expired", "failed", "finished", "first_seq", "fresh", "gone", "lane", "last_seq", "number",
        "outcomes", "pages", "queued", "returned", "running", "scars", "sealed", "settled",
        "spec", "statuses", "stored", "total", "waiting",
    )  # fmt: skip

    def __init__(self, number: int, spec: CallSpec, lane: Lane) -> None:
        self.number = number
        self.spec = spec
        self.lane = lane
        #: one byte for each known input: its Status, and whether its outcome was delivered
        self.statuses = bytearray()
        self.first_seq = self.last_seq = 0
        self.sealed = self.cancelled = self.expired = False
        #: wall time when it finished
        self.ended: float | None = None
        self.finished = self.failed = self.running = 0
        #: pages that have running, queued or scarred inputs, by seq
        self.pages: dict[int, Page] = {}
        #: waiting inputs in `returned` and `fresh`
        self.waiting = 0
        #: heap of inputs that were claimed before
        self.returned: list[Returned] = []
        #: pages with inputs that were never claimed
        self.fresh: list[Page] = []
        self.scars: dict[int, Scar] = {}
        #: waiting inputs whose retry is not due
        self.delayed = 0
        #: whether it is in its lane's ring
        self.queued = False
        #: outcomes that are not in the file yet
        self.outcomes: list[FreshOutcome] = []
        #: where the undelivered outcomes of a call that is not durable are, by index
        self.chunks: dict[int, Chunk] = {}
        #: blocks of status bytes that differ from the file
        self.changed: set[int] = set()
        #: whether the file has its row
        self.stored = False
        #: of a named call: 16 bytes for each input that it ever had, and how many are in the file
        self.digests = bytearray()
        self.digested = 0
        #: of one that was reopened: status bytes of inputs that were finished before, else 0
        self.settled = b""
        #: and how many inputs it has, where that is known
        self.total: int | None = None
        #: (index, payload) of inputs that failed for good, and are not in the file yet
        self.dead: list[FreshOutcome] = []
        #: it was forgotten; whoever still has this object finds nothing in it
        self.gone = False

    @property
    def complete(self) -> bool:
        """Whether nothing of it will ever run again."""
        return (self.sealed or self.cancelled) and self.finished == len(self.statuses)

    def mark(self, first: int, last: int) -> None:
        """Note that the statuses of inputs `first` to `last` change."""
        self.changed.update(range(first >> BLOCK_BITS, (last >> BLOCK_BITS) + 1))

    def record(self) -> CallRecord:
        """Return what the port tells about it."""
        return CallRecord(
            self.spec,
            len(self.statuses),
            self.sealed,
            self.finished,
            self.cancelled,
            self.failed,
            self.expired,
            len(self.statuses) if self.sealed else self.total,
        )


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """Return numbers below 2³² as bytes."""
    return array("I", numbers).tobytes()


def unpack_numbers(data: bytes) -> array[int]:
    """Return the numbers that `pack_numbers` packed."""
    numbers = array("I")
    numbers.frombytes(data)
    return numbers


def join_payloads(payloads: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return (lengths, data) of payloads; a single one needs no lengths."""
    if len(payloads) == 1:
        return b"", payloads[0]
    return array("I", map(len, payloads)).tobytes(), b"".join(payloads)


def split_payloads(lengths: bytes, data: bytes) -> list[bytes]:
    """Return the payloads that `join_payloads` joined."""
    if not lengths:
        return [data]
    ends = accumulate(unpack_numbers(lengths), initial=0)
    return [data[begin:end] for begin, end in pairwise(ends)]
