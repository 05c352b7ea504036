"""Waiting inputs are claimed.

A process looks at pages that it heard of first, then at those that it remembers, and only then
into the index. A claim is one update of one page; who comes too late is told what is there instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from cloudfn.errors import DataLossError, Error
from cloudfn.model.call import Status
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.ledger import changes
from cloudfn.providers.aws.ledger.book import Line
from cloudfn.providers.aws.ledger.changes import Change
from cloudfn.providers.aws.ledger.inputs import GoneError, payloads_of
from cloudfn.providers.aws.ledger.packing import Ended, seal_outcome, unclose
from cloudfn.providers.aws.ledger.pages import (
    WAITS,
    Page,
    ended,
    fence_of,
    label_of,
)
from cloudfn.providers.aws.ledger.returns import Returns
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.aws.ledger.turns import Waiting
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.endings import lost_payload
from cloudfn.providers.ledger import Claim

#: seconds after which a pool's index is looked into although doorbells bring enough
_LOOK = 5.0
#: seconds for which a page that had nothing is not read again unless somebody rings
_READ = 2.0
#: Pages that a look into the index finds, the oldest ones; others make themselves heard.
_MOST = 2_000
#: how often a claim tries its luck where others are faster
_TRIES = 6


class Claims:
    """Claims inputs.

    Args:
        shelf: The table, and what is remembered of it.
        returns: Lets go of them.
    """

    def __init__(self, shelf: Shelf, returns: Returns) -> None:
        self._shelf = shelf
        self._book = shelf.book
        self._returns = returns

    def hear(self, ring: Ring) -> None:
        line = self._book.line(ring.pool, self._shelf.clock.monotonic())
        number = int(ring.page, 16)
        known = self._book.page(number)
        if ring.enclosed and known is None:
            # A ring that is not authentic says no more than that somebody rang.
            with suppress(DataLossError):
                page, payloads = unclose(self._shelf.inputs, ring.page, ring.enclosed)
                self._book.note(page)
                self._book.keep(number, payloads)
        # A page that is known has something new; what it has besides may just now be claimed.
        if known is not None or self._book.page(number) is None:
            line.unread[number] = None
        line.numbers[number] = None

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        self._book.see(now)
        claims: list[Claim] = []
        if limit < 1:
            return claims
        line = self._book.line(pool, self._shelf.clock.monotonic())
        with line.lock:
            try:
                self._claim(line, limit, now, claims)
            except Error:
                # What this process has, it hands out; what it asked for in vain comes up again.
                if not claims:
                    raise
        return claims

    def _claim(self, line: Line, limit: int, now: float, claims: list[Claim]) -> None:
        # Whoever listens to doorbells adds to them at any moment.
        numbers = list(line.numbers)
        self._read(line, [number for number in numbers if self._is_unread(line, number)])
        self._hand_out(line, limit, claims)
        self._take(line, limit, now, claims)
        moment = self._shelf.clock.monotonic()
        if not claims or (len(claims) < limit and moment >= line.looked + _LOOK):
            self._look(line, moment)
            self._hand_out(line, limit, claims)
            self._take(line, limit, now, claims)

    def overdue(self, now: float) -> list[Claim]:
        self._book.see(now)
        late: dict[str, list[int]] = {}
        for row in self._shelf.rows():
            if row.deadline is not None and row.deadline <= now:
                late.setdefault(row.pool, []).append(row.number)
        claims: list[Claim] = []
        for pool, numbers in late.items():
            line = self._book.line(pool, self._shelf.clock.monotonic())
            with line.lock:
                try:
                    self._claim_late(line, numbers, now, claims)
                except Error:
                    if not claims:
                        raise
        return claims

    def _claim_late(
        self, line: Line, numbers: Sequence[int], now: float, claims: list[Claim]
    ) -> None:
        for page in self._shelf.read_all(numbers).values():
            slots = [slot for slot, value in enumerate(page.slots) if value == WAITS]
            if slots and page.is_late(now):
                claims += self._claim_page(line, page, slots, now)

    # What there is to claim

    def _is_unread(self, line: Line, number: int) -> bool:
        unread = number in line.unread or number in line.doubts
        return unread or self._book.page(number) is None

    def _read(self, line: Line, numbers: Sequence[int]) -> None:
        """Read pages again, and find claims of ours whose answers were lost."""
        if not numbers:
            return
        # Whoever rings while they are read means something that this may not see.
        for number in numbers:
            line.unread.pop(number, None)
        try:
            found = self._shelf.read_all(numbers)
        except Error:
            line.unread |= dict.fromkeys(numbers)
            raise
        moment = self._shelf.clock.monotonic()
        for number in numbers:
            line.doubts.pop(number, None)
            line.read[number] = moment
        for page in found.values():
            self._find(line, page)

    def _look(self, line: Line, moment: float) -> None:
        """Look into the index for pages of a pool, and read those that may have changed."""
        line.looked = moment
        numbers = [row.number for row in self._shelf.rows(line.pool, most=_MOST)]
        if len(numbers) < _MOST:
            for known in (line.numbers, line.read):
                for number in set(known) - set(numbers):
                    known.pop(number, None)
        again = []
        for number in numbers:
            line.numbers[number] = None
            page = self._book.page(number)
            if page is None or moment >= line.read.get(number, -_READ) + _READ:
                again.append(number)
        self._read(line, again)

    def _find(self, line: Line, page: Page) -> None:
        """Note inputs that this process holds, says the page, and that it does not know of."""
        for slot, _ in page.running():
            if self._is_lost(page, slot):
                line.found[page.number, slot] = None

    def _is_lost(self, page: Page, slot: int) -> bool:
        value = page.slots[slot]
        return (
            value > WAITS
            and label_of(value) == self._shelf.label
            and not self._book.holds(page.seq(slot), fence_of(value))
        )

    def _hand_out(self, line: Line, limit: int, claims: list[Claim]) -> None:
        """Hand out what was claimed before, with an answer that was lost."""
        for number, slot in list(line.found):
            page = self._book.page(number)
            if page is None or not self._is_lost(page, slot):
                del line.found[number, slot]
                continue
            scar = page.scars.get(slot)
            alone = bool(scar and scar.alone)
            if len(claims) >= limit or (claims and (alone or claims[0].alone)):
                return
            payloads = payloads_of(self._shelf, page, [slot])
            claims.append(self._make(page, slot, payloads[slot]))
            del line.found[number, slot]

    def _take(self, line: Line, limit: int, now: float, claims: list[Claim]) -> None:
        """Claim what waits on pages that are known, as fairly as may be."""
        for _ in range(_TRIES):
            if len(claims) >= limit or any(claim.alone for claim in claims):
                return
            waiting = self._waiting(line, now)
            chosen = line.turns.choose(waiting, limit - len(claims), alone=not claims)
            if not chosen:
                return
            lucky = self._claim_all(line, chosen, now, claims)
            self._hand_out(line, limit, claims)
            if lucky:
                return

    def _claim_all(
        self, line: Line, chosen: Mapping[int, Sequence[int]], now: float, claims: list[Claim]
    ) -> bool:
        """Claim slots of several pages; return whether there were as many as wanted.

        Raises:
            Error: For some pages that could not be done; the claims of others are there.
        """

        def act(number: int) -> tuple[list[Claim], Error | None]:
            page = self._book.page(number)
            try:
                claimed = self._claim_page(line, page, chosen[number], now) if page else []
            except Error as error:
                return [], error
            return claimed, None

        answers = self._shelf.crew.each(act, chosen)
        for claimed, _ in answers:
            claims += claimed
        for _, error in answers:
            if error is not None:
                raise error
        return all(len(answers[at][0]) == len(each) for at, each in enumerate(chosen.values()))

    def _waiting(self, line: Line, now: float) -> list[Waiting]:
        found = []
        for number in list(line.numbers):
            page = self._book.page(number)
            if page is None or not page.waiting:
                if number not in line.unread:
                    line.numbers.pop(number, None)
                continue
            free, alone = page.claimable(now)
            if free or alone:
                spawn = page.kind.durable
                found.append(
                    Waiting(
                        number,
                        page.call_id,
                        page.created,
                        page.first,
                        spawn,
                        page.priority,
                        free,
                        alone,
                    )
                )
        return found

    # One page

    def _claim_page(self, line: Line, page: Page, slots: Sequence[int], now: float) -> list[Claim]:
        """Claim slots of a page, or as many others of it if somebody is faster."""
        wanted, late = len(slots), page.is_late(now)
        alone = slots[0] in page.scars and page.scars[slots[0]].alone
        for _ in range(_TRIES):
            try:
                payloads = payloads_of(self._shelf, page, slots)
            except GoneError as error:
                self._give_up(page, slots, error)
                return []
            except DataLossError:
                # Perhaps it is this process that has a wrong key: others may know better.
                line.numbers.pop(page.number, None)
                raise
            write = changes.claim(page, slots, self._shelf.label, self._shelf.holder)
            try:
                after = self._shelf.write(write)
            except ConditionFailed as failed:
                seen = self._shelf.seen(page.number, failed)
                if seen is None or self._was_mine(line, seen):
                    return []
                page = seen
                if late:
                    slots = [slot for slot, value in enumerate(page.slots) if value == WAITS]
                else:
                    slots = page.claimable(now)[alone][:wanted]
                if not slots:
                    return []
                continue
            except Error:
                # Perhaps it was done: the page says so when it is read.
                line.numbers[page.number] = None
                line.doubts[page.number] = None
                raise
            claims = [self._make(after, slot, payloads[slot]) for slot in slots]
            self._book.spend(page.number, slots)
            self._find(line, after)
            return claims
        return []

    def _was_mine(self, line: Line, page: Page) -> bool:
        """Say whether a claim was done at its first try, of which the answer was lost."""
        if page.holders.get(self._shelf.label, self._shelf.holder) != self._shelf.holder:
            self._shelf.new_label()
        self._find(line, page)
        return any(number == page.number for number, _ in list(line.found))

    def _make(self, page: Page, slot: int, payload: bytes) -> Claim:
        """Return the claim of an input that this process holds, says its page."""
        seq, fence = page.seq(slot), fence_of(page.slots[slot])
        self._book.hold(seq, fence)
        scar = page.scars.get(slot)
        return Claim(
            seq,
            fence,
            page.pool,
            page.call_id,
            page.first + slot,
            payload,
            page.counters(slot),
            bool(scar and scar.alone),
            page.durable,
            page.deadline,
        )

    def _give_up(self, page: Page, slots: Sequence[int], error: GoneError) -> None:
        """End inputs that nobody can run: what they were called with is not there any more."""
        change = Change(page)
        for slot in slots:
            payload = lost_payload(page.call_id, page.first + slot, error.message.rstrip("."))
            change.slot(slot, WAITS, ended(0, Status.LOST, payload))
            outcome = Ended(slot, 0, Status.LOST, payload)
            change.outcome(slot, seal_outcome(self._shelf.results, page, outcome))
        change.end(self._shelf.now())
        with suppress(ConditionFailed):
            self._shelf.write(change.write())

    def let_go(self) -> None:
        """Give back claims whose answers were lost and which nobody has asked for again."""
        for line in self._book.lines():
            if not line.doubts and not line.found:
                continue
            with line.lock:
                self._read(line, list(line.doubts))
                for number, slot in list(line.found):
                    del line.found[number, slot]
                    page = self._book.page(number)
                    if page is not None and self._is_lost(page, slot):
                        self._return(line, page, slot)

    def _return(self, line: Line, page: Page, slot: int) -> None:
        try:
            self._returns.release(page.number, {slot: fence_of(page.slots[slot])}, {})
        except Error:
            # What is remembered of the page may be wrong now.
            line.doubts[page.number] = None
            raise
