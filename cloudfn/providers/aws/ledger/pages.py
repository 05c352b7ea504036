"""Pages: up to 96 inputs of a call in one item, and what their slots say. Pure.

A slot is one number: 0 waits; above it runs, under a fence and held by the process with a label;
below it has ended, under a fence, with a status and a few bits of the outcome's digest. What is on
a page changes by updates of single slots, each conditional on what the slot said before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import inf
from typing import Any, NamedTuple

from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.providers.ledger import CallSpec

#: Inputs of a page: with more, an item whose slots all run would be larger than one write unit.
SLOTS = 96
#: a seq is the number of a page above these bits, the slot below them
SEQ_BITS = 7
NUMBER_BYTES = 7
LABEL_BITS = 24
#: what the next fence is above the last one, in a slot
STEP = 1 << LABEL_BITS
PAGE = "PAGE"
WAITS = 0

_LABEL = STEP - 1
_DIGEST_BITS = 12
_STATUS_BITS = 3
_ENDED_BITS = _DIGEST_BITS + _STATUS_BITS
_UNHURT = Counters()


class Scar(NamedTuple):
    """What is known of an unfinished input beyond that it waits or runs."""

    counters: Counters
    #: seconds since the epoch before which it must not be claimed
    not_before: float = 0.0
    alone: bool = False


#: (slot of the first input, how many, version of the page that they came to)
Segment = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Page:
    """One page, as it was at its version."""

    number: int
    call_id: str
    function_id: str
    pool: str
    kind: CallKind
    durable: bool
    #: index of its first input
    first: int
    slots: tuple[int, ...]
    #: seconds since the epoch
    created: float
    #: grows with every change
    version: int = 1
    #: of the last claim, as it stands in slots
    fence: int = 0
    #: inputs that wait, and that have not ended
    waiting: int = 0
    unfinished: int = 0
    #: what the counters of its function say of these two
    folded_waiting: int = 0
    folded_unfinished: int = 0
    priority: int = 0
    not_before: float = 0.0
    deadline: float | None = None
    reply: str = ""
    cancelled: bool = False
    #: it is in no index and no counter
    closed: bool = False
    #: when an outcome was recorded last
    ended: float = 0.0
    #: where sealed inputs lie, the latest ones last
    segments: tuple[Segment, ...] = ()
    #: the first segment itself, where it is small
    inputs: bytes = b""
    scars: Mapping[int, Scar] = field(default_factory=dict)
    #: processes that ever held an input of it, by their labels
    holders: Mapping[int, str] = field(default_factory=dict)
    #: sealed outcomes that are small, by slot
    outcomes: Mapping[int, bytes] = field(default_factory=dict)
    delivered: frozenset[int] = frozenset()
    buried: frozenset[int] = frozenset()

    @property
    def key(self) -> str:
        """Its partition."""
        return partition(self.number)

    @property
    def counters_differ(self) -> bool:
        """Whether the counters of its function say something else."""
        return (self.folded_waiting, self.folded_unfinished) != (self.waiting, self.unfinished)

    def seq(self, slot: int) -> int:
        """Return the ledger's number of the input in a slot."""
        return self.number << SEQ_BITS | slot

    def statuses(self) -> list[Status]:
        """Return the status of each slot."""
        return [status_of(value) for value in self.slots]

    def running(self) -> Iterator[tuple[int, int]]:
        """Yield (slot, value) of what runs."""
        return ((slot, value) for slot, value in enumerate(self.slots) if value > WAITS)

    def counters(self, slot: int) -> Counters:
        """Return what happened to the input in a slot so far."""
        scar = self.scars.get(slot)
        return scar.counters if scar else _UNHURT

    def due(self, slot: int) -> float:
        """Return from when on a waiting input may be claimed."""
        scar = self.scars.get(slot)
        return max(self.not_before, scar.not_before if scar else 0.0)

    def is_late(self, now: float) -> bool:
        """Whether its inputs must not begin any more."""
        return self.deadline is not None and self.deadline <= now

    def claimable(self, now: float) -> tuple[list[int], list[int]]:
        """Return the slots that may be claimed, and those that must be claimed alone."""
        free: list[int] = []
        alone: list[int] = []
        if not self.waiting or self.not_before > now or self.is_late(now):
            return free, alone
        if not self.scars:
            return [slot for slot, value in enumerate(self.slots) if value == WAITS], alone
        for slot, value in enumerate(self.slots):
            if value != WAITS or self.due(slot) > now:
                continue
            scar = self.scars.get(slot)
            (alone if scar and scar.alone else free).append(slot)
        return free, alone

    def next_due(self, now: float) -> float:
        """Return when time changes something of it next; infinity for never."""
        if not self.waiting:
            return inf
        times = [self.due(slot) for slot, value in enumerate(self.slots) if value == WAITS]
        later = min((each for each in times if each > now), default=inf)
        return later if self.deadline is None else min(later, max(self.deadline, now))


def number_of(call_id: str, nonce: str, part: int) -> int:
    """Return the number of a call's n-th page."""
    text = f"{call_id}\0{nonce}\0{part}"
    return int.from_bytes(blake2b(text.encode(), digest_size=NUMBER_BYTES).digest(), "big")


def name_of(number: int) -> str:
    """Return a page's name in rings and keys."""
    return f"{number:0{2 * NUMBER_BYTES}x}"


def partition(number: int) -> str:
    """Return the partition of a page."""
    return f"P#{name_of(number)}"


def split_seq(seq: int) -> tuple[int, int]:
    """Return (number of the page, slot)."""
    return seq >> SEQ_BITS, seq & ((1 << SEQ_BITS) - 1)


def fence_of(value: int) -> int:
    """Return the fence in a slot: of what runs, or of what has ended."""
    return value >> LABEL_BITS if value >= 0 else -value >> _ENDED_BITS


def label_of(value: int) -> int:
    """Return who holds what runs."""
    return value & _LABEL


def status_of(value: int) -> Status:
    """Return what a slot says of its input's status."""
    if value == WAITS:
        return Status.PENDING
    if value > WAITS:
        return Status.RUNNING
    return Status(-value >> _DIGEST_BITS & ((1 << _STATUS_BITS) - 1))


def ended(fence: int, status: Status, payload: bytes) -> int:
    """Return what a slot says after an outcome."""
    digest = int.from_bytes(blake2b(payload, digest_size=2).digest(), "big")
    kept = digest & ((1 << _DIGEST_BITS) - 1)
    return -(fence << _ENDED_BITS | status << _DIGEST_BITS | kept)


#: what a slot says of an input that was cancelled while it waited: its outcome is implied
CANCELLED = -(Status.CANCELLED << _DIGEST_BITS)


def new_page(call: CallSpec, number: int, first: int, slots: Sequence[int]) -> Page:
    """Return a page that nobody has seen yet, and that its function's counters will know of."""
    waiting = sum(value == WAITS for value in slots)
    terms = call.terms
    return Page(
        number,
        call.call_id,
        call.function_id,
        call.pool,
        call.kind,
        call.durable,
        first,
        tuple(slots),
        call.created,
        waiting=waiting,
        unfinished=waiting,
        folded_waiting=waiting,
        folded_unfinished=waiting,
        priority=terms.priority if terms else 0,
        not_before=terms.not_before if terms else 0.0,
        deadline=terms.deadline if terms else None,
        reply=call.reply,
        closed=not waiting,
    )


def renewed(before: Page, page: Page, slot: int, count: int) -> Page:
    """Return a page of a call that was begun anew, with inputs that came again.

    Args:
        before: As it is; nothing of it waits or runs but what came again already.
        page: As it would be if it were new.
        slot: Of the first input that came again.
        count: How many did; 0 for a cancelled call.
    """
    slots = list(before.slots)
    for at in range(slot, len(page.slots)):
        kept = at < len(slots) and status_of(slots[at]) != Status.CANCELLED
        slots[at : at + 1] = [slots[at] if kept else page.slots[at]]
    waiting = before.waiting + sum(value == WAITS for value in slots[slot : len(page.slots)])
    more = waiting - before.waiting
    return replace(
        page,
        slots=tuple(slots),
        version=before.version + 1,
        fence=before.fence,
        waiting=waiting,
        unfinished=before.unfinished + more,
        folded_waiting=before.folded_waiting + more,
        folded_unfinished=before.folded_unfinished + more,
        closed=before.closed and not more,
        ended=before.ended,
        segments=(*before.segments, (slot, count, before.version)) if count else before.segments,
        inputs=before.inputs,
        scars=before.scars,
        holders=before.holders,
        outcomes=before.outcomes,
        buried=before.buried,
    )


def to_item(page: Page) -> dict[str, Any]:
    """Return a page as an item."""
    item: dict[str, Any] = {
        "pk": page.key,
        "sk": PAGE,
        "c": page.call_id,
        "fn": page.function_id,
        "p": page.pool,
        "k": int(page.kind),
        "i": page.first,
        "s": page.slots,
        "t": page.created,
        "v": page.version,
        "f": page.fence,
        "w": page.waiting,
        "u": page.unfinished,
        "fw": page.folded_waiting,
        "fu": page.folded_unfinished,
        "sc": scars_item(page.scars),
        "h": {f"l{label}": holder for label, holder in page.holders.items()},
        "o": {f"k{slot}": sealed for slot, sealed in page.outcomes.items()},
        "g": [segment(*each) for each in page.segments],
    }
    optional: dict[str, Any] = {
        "du": page.durable,
        "pr": page.priority,
        "nb": page.not_before,
        "r": page.reply,
        "x": page.cancelled,
        "z": page.closed,
        "e": page.ended,
        "a": page.inputs,
        "d": page.delivered,
        "b": page.buried,
    }
    item |= {name: value for name, value in optional.items() if value}
    if page.deadline is not None:
        item["dl"] = page.deadline
    return item


def from_item(item: Mapping[str, Any]) -> Page:
    """Return the page that an item holds."""
    return Page(
        number=int(item["pk"].partition("#")[2], 16),
        call_id=item["c"],
        function_id=item["fn"],
        pool=item["p"],
        kind=CallKind(item["k"]),
        durable=bool(item.get("du")),
        first=item["i"],
        slots=tuple(item["s"]),
        created=float(item["t"]),
        version=item["v"],
        fence=item["f"],
        waiting=item["w"],
        unfinished=item["u"],
        folded_waiting=item["fw"],
        folded_unfinished=item["fu"],
        priority=item.get("pr", 0),
        not_before=float(item.get("nb", 0.0)),
        deadline=float(item["dl"]) if "dl" in item else None,
        reply=item.get("r", ""),
        cancelled=bool(item.get("x")),
        closed=bool(item.get("z")),
        ended=float(item.get("e", 0.0)),
        segments=tuple(_segment(each) for each in item["g"]),
        inputs=item.get("a", b""),
        scars={int(name[1:]): _scar(each) for name, each in item["sc"].items()},
        holders={int(name[1:]): holder for name, holder in item["h"].items()},
        outcomes={int(name[1:]): sealed for name, sealed in item["o"].items()},
        delivered=item.get("d", frozenset()),
        buried=item.get("b", frozenset()),
    )


def segment(slot: int, count: int, version: int) -> int:
    """Return a segment of inputs as one number."""
    return version << 2 * SEQ_BITS | slot << SEQ_BITS | count


def _segment(value: int) -> Segment:
    version, rest = divmod(value, 1 << 2 * SEQ_BITS)
    return *divmod(rest, 1 << SEQ_BITS), version


def scar_item(scar: Scar) -> list[Any]:
    """Return a scar as it lies in a page."""
    counters = scar.counters
    return [counters.failures, counters.crashes, counters.losses, scar.not_before, scar.alone]


def scars_item(scars: Mapping[int, Scar]) -> dict[str, Any]:
    """Return all scars as they lie in a page."""
    return {f"k{slot}": scar_item(scar) for slot, scar in scars.items()}


def _scar(item: Sequence[Any]) -> Scar:
    failures, crashes, losses, not_before, alone = item
    return Scar(Counters(failures, crashes, losses), float(not_before), bool(alone))
