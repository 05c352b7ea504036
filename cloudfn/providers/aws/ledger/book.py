"""What one process remembers of the ledger, to read less of it. In memory; thread-safe.

Pages are as they were seen last, which their version says; a write that relied on one that is out
of date is refused, and says what is there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock, RLock

from cloudfn.providers.aws.ledger.pages import Page, split_seq
from cloudfn.providers.aws.ledger.turns import Turns
from cloudfn.providers.doorbells import Ring

#: pages that are remembered, beside those with inputs of ours
_PAGES = 1_024
#: bytes of inputs that are remembered
_PAYLOADS = 64 << 20
_REPLIES = 10_000


@dataclass(slots=True, eq=False)
class Line:
    """What this process knows of one pool's waiting inputs."""

    pool: str
    #: monotonic time of the last look into the index
    looked: float
    #: held by whoever claims: two claims of one pool do not learn from each other's answers
    lock: Lock = field(default_factory=Lock)
    turns: Turns = field(default_factory=Turns)
    #: pages that may have something
    numbers: dict[int, None] = field(default_factory=dict)
    #: of these, the ones to be read before the next claim
    unread: dict[int, None] = field(default_factory=dict)
    #: of these, the ones that a claim got no answer about
    doubts: dict[int, None] = field(default_factory=dict)
    #: monotonic time when a page was read last
    read: dict[int, float] = field(default_factory=dict)
    #: claims whose answer was lost: (number, slot), held by this process, and not handed out yet
    found: dict[tuple[int, int], None] = field(default_factory=dict)


class Book:
    """Pages, inputs and claims of this process."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._pages: OrderedDict[int, Page] = OrderedDict()
        self._payloads: OrderedDict[int, dict[int, bytes]] = OrderedDict()
        self._bytes = 0
        #: fences of what this process holds, by seq
        self._held: dict[int, int] = {}
        self._lines: dict[str, Line] = {}
        self._replies: OrderedDict[str, str] = OrderedDict()
        self._rings: dict[int, Ring] = {}
        self._now = 0.0

    def see(self, now: float) -> None:
        """Take note of the time that a caller speaks of."""
        self._now = now

    @property
    def now(self) -> float:
        """The time that was spoken of last."""
        return self._now

    # Pages

    def note(self, page: Page) -> Page:
        """Remember a page; return the latest version of it that was seen."""
        with self._lock:
            known = self._pages.pop(page.number, None)
            if known is not None and known.version > page.version:
                page = known
            self._pages[page.number] = page
            self._replies[page.call_id] = page.reply
            while len(self._replies) > _REPLIES:
                self._replies.popitem(last=False)
            self._shrink()
            return page

    def page(self, number: int) -> Page | None:
        """Return a page as it was seen last."""
        with self._lock:
            return self._pages.get(number)

    def drop(self, number: int) -> None:
        """Forget a page that is gone."""
        with self._lock:
            self._pages.pop(number, None)
            self._drop_payloads(number)
            for line in self._lines.values():
                for known in (line.numbers, line.unread, line.doubts, line.read):
                    known.pop(number, None)

    def _shrink(self) -> None:
        if len(self._pages) <= 2 * _PAGES:
            return
        busy = {split_seq(seq)[0] for seq in self._held}
        for number in list(self._pages)[:_PAGES]:
            if number not in busy:
                del self._pages[number]

    def reply(self, call_id: str) -> str | None:
        """Return where a call's client waits, if a page of it was seen."""
        with self._lock:
            return self._replies.get(call_id)

    # Inputs

    def keep(self, number: int, payloads: Mapping[int, bytes]) -> None:
        """Remember inputs by their slots."""
        with self._lock:
            self._drop_payloads(number)
            self._payloads[number] = dict(payloads)
            self._bytes += sum(map(len, payloads.values()))
            while self._bytes > _PAYLOADS and len(self._payloads) > 1:
                self._drop_payloads(next(iter(self._payloads)))

    def payloads(self, number: int) -> dict[int, bytes]:
        """Return the inputs of a page that are remembered."""
        with self._lock:
            return dict(self._payloads.get(number, ()))

    def spend(self, number: int, slots: Iterable[int]) -> None:
        """Forget inputs that were handed out."""
        with self._lock:
            known = self._payloads.get(number, {})
            for slot in slots:
                self._bytes -= len(known.pop(slot, b""))
            if not known:
                self._payloads.pop(number, None)

    def _drop_payloads(self, number: int) -> None:
        self._bytes -= sum(map(len, self._payloads.pop(number, {}).values()))

    # Claims

    def hold(self, seq: int, fence: int) -> None:
        """Note a claim of this process."""
        with self._lock:
            self._held[seq] = fence

    def holds(self, seq: int, fence: int) -> bool:
        """Say whether this process made a claim, and has not heard of its end."""
        with self._lock:
            return self._held.get(seq) == fence

    def let_go(self, seq: int, fence: int) -> None:
        """Forget a claim that has ended."""
        with self._lock:
            if self._held.get(seq) == fence:
                del self._held[seq]

    # Pools

    def line(self, pool: str, now: float) -> Line:
        """Return what is known of a pool; `now` is monotonic."""
        with self._lock:
            if pool not in self._lines:
                self._lines[pool] = Line(pool, now)
            return self._lines[pool]

    def lines(self) -> list[Line]:
        """Return all pools that were claimed from."""
        with self._lock:
            return list(self._lines.values())

    def line_up(self, page: Page, *, front: bool = False) -> None:
        """Note that inputs of a page wait, if this process claims from its pool."""
        with self._lock:
            line = self._lines.get(page.pool)
            if line is not None:
                line.numbers[page.number] = None
                if front:
                    line.turns.go_first(page.call_id)

    # Rings

    def ring(self, ring: Ring) -> None:
        """Note that a page has something new to claim."""
        number = int(ring.page, 16)
        with self._lock:
            # Of two rings for one page, neither encloses everything.
            known = self._rings.get(number)
            self._rings[number] = ring if known is None else ring._replace(enclosed=b"")

    def take_rings(self) -> list[Ring]:
        """Return what is to be rung, once."""
        with self._lock:
            rings, self._rings = self._rings, {}
            return list(rings.values())
