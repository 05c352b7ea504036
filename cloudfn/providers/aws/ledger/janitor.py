"""The janitor: what machines held that are gone runs again, and what nobody heard of is rung for.

Every write is conditional on the fence that was read. What a janitor remembers only keeps it from
ringing too often, so there may be several, and each may start anew.
"""

from __future__ import annotations

from collections.abc import Callable

from cloudfn.model.call import Again, ContainerLost, Status, settle
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.ledger.calls import held_of
from cloudfn.providers.aws.ledger.changes import Change
from cloudfn.providers.aws.ledger.counts import Counts
from cloudfn.providers.aws.ledger.packing import Ended, seal_outcome
from cloudfn.providers.aws.ledger.pages import (
    CANCELLED,
    WAITS,
    Page,
    Scar,
    ended,
    fence_of,
    label_of,
    name_of,
)
from cloudfn.providers.aws.ledger.rows import drop
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.endings import lost_payload
from cloudfn.providers.shared_ledger import Held, Repairs

#: seconds after which a page that waits is rung for once more; doubled each time, up to
_PATIENCE = 30.0
_LONGEST = 480.0
_TRIES = 6


class Janitor:
    """Repairs what dead holders and lost doorbells left.

    Args:
        shelf: The table, and what is remembered of it.
        counts: Keeps counters up to date.
    """

    def __init__(self, shelf: Shelf, counts: Counts) -> None:
        self._shelf = shelf
        self._counts = counts
        #: (when a page is rung for next, seconds until the time after that)
        self._next: dict[int, tuple[float, float]] = {}

    def repair(self, alive: Callable[[str], bool], now: float) -> Repairs:
        self._shelf.book.see(now)
        rows = self._shelf.rows()
        found = self._shelf.read_all([row.number for row in rows]) if rows else {}
        asked: dict[str, bool] = {}

        def lives(holder: str) -> bool:
            if holder not in asked:
                asked[holder] = alive(holder)
            return asked[holder]

        returned = given_up = 0
        rings: list[Ring] = []
        taken: list[Held] = []
        pages: list[Page] = []
        for row in rows:
            page: Page | None = found.get(row.number)
            if page is None:
                self._shelf.table.write(drop(row))
                continue
            page, again, lost = self._lose(page, lives, now, taken)
            returned += again
            given_up += lost
            if page is None:
                continue
            pages.append(page)
            if self._must_ring(page, now, returned=bool(again)):
                rings.append(Ring(page.function_id, page.pool, name_of(page.number)))
                self._shelf.book.line_up(page)
        open_ = {page.number for page in pages if page.waiting}
        self._next = {number: times for number, times in self._next.items() if number in open_}
        # Counters that say too much hurt nobody until somebody is refused, who looks for himself.
        self._counts.fold(
            page for page in pages if not page.unfinished or page.waiting > page.folded_waiting
        )
        return Repairs(returned, given_up, tuple(rings), tuple(taken))

    def _lose(
        self, page: Page, lives: Callable[[str], bool], now: float, taken: list[Held]
    ) -> tuple[Page | None, int, int]:
        """Take from a page's holders what they hold, if they are gone, and note it in `taken`.

        Returns:
            The page, how many inputs wait again, and how many were given up.
        """
        seen: Page | None = page
        for _ in range(_TRIES):
            if seen is None:
                return None, 0, 0
            slots = [
                slot
                for slot, value in seen.running()
                if not lives(seen.holders.get(label_of(value), ""))
            ]
            if not slots:
                return seen, 0, 0
            change = Change(seen)
            again = sum(self._settle(change, seen, slot) for slot in slots)
            change.require(f"attribute_{'' if seen.cancelled else 'not_'}exists(#x)")
            if again < len(slots):
                change.end(now)
            try:
                after = self._shelf.write(change.write())
            except ConditionFailed as failed:
                seen = self._shelf.seen(seen.number, failed)
                continue
            lost = {seen.seq(slot) for slot in slots}
            taken += [each for each in held_of(seen) if each.seq in lost]
            given_up = sum(after.slots[slot] < CANCELLED for slot in slots)
            return after, again, given_up if not after.cancelled else 0
        return seen, 0, 0

    def _settle(self, change: Change, page: Page, slot: int) -> bool:
        """Say what becomes of an input that was lost, and whether it runs again."""
        value = page.slots[slot]
        if page.cancelled:
            change.slot(slot, value, CANCELLED)
            return False
        verdict = settle(page.counters(slot), ContainerLost("its machine is gone"), None)
        if isinstance(verdict, Again):
            before = page.scars.get(slot)
            change.slot(slot, value, WAITS)
            change.scar(slot, Scar(verdict.counters, alone=bool(before and before.alone)))
            return True
        payload = lost_payload(page.call_id, page.first + slot, verdict.reason)
        outcome = Ended(slot, fence_of(value), Status.LOST, payload)
        change.slot(slot, value, ended(outcome.fence, outcome.status, payload))
        change.outcome(slot, seal_outcome(self._shelf.results, page, outcome))
        return False

    def _must_ring(self, page: Page, now: float, *, returned: bool) -> bool:
        """Say whether somebody should be told of a page, and note when to say it again."""
        due = [
            max(page.created, page.due(slot))
            for slot, value in enumerate(page.slots)
            if value == WAITS and page.due(slot) <= now
        ]
        if not due or page.is_late(now):
            return False
        # Whoever submitted it rang then, but for what had to wait.
        first = min(due)
        waited = first > page.created
        at, wait = self._next.get(page.number, (first if waited else first + _PATIENCE, _PATIENCE))
        if now < at and not returned:
            return False
        self._next[page.number] = (now + wait, min(2 * wait, _LONGEST))
        return True
