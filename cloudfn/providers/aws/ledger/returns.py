"""Claims that end without an outcome: inputs wait again, or are cancelled with their call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from cloudfn.errors import Error, ResourceExhaustedError
from cloudfn.model.call import Counters
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.ledger import changes, pages
from cloudfn.providers.aws.ledger.counts import Counts
from cloudfn.providers.aws.ledger.pages import WAITS, Page, Scar, fence_of, split_seq
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.doorbells import Ring

_TRIES = 6


class Returns:
    """Lets go of inputs.

    Args:
        shelf: The table, and what is remembered of it.
        counts: Keeps counters up to date.
    """

    def __init__(self, shelf: Shelf, counts: Counts) -> None:
        self._shelf = shelf
        self._book = shelf.book
        self._counts = counts

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        by_page: dict[int, dict[int, int]] = {}
        for seq, fence in claims:
            number, slot = split_seq(seq)
            by_page.setdefault(number, {})[slot] = fence
        released = self._shelf.crew.each(
            lambda number: self.release(number, by_page[number], {}), by_page
        )
        done = {
            (number << pages.SEQ_BITS | slot, by_page[number][slot])
            for number, slots in zip(by_page, released, strict=True)
            for slot in slots
        }
        results = []
        for claim in claims:
            results.append(claim in done)
            done.discard(claim)
        return results

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        number, slot = split_seq(seq)
        scar = Scar(counters, not_before, alone)
        return bool(self.release(number, {slot: fence}, {slot: scar}))

    def release(
        self, number: int, fences: Mapping[int, int], scars: Mapping[int, Scar]
    ) -> list[int]:
        """RUNNING → PENDING, or CANCELLED if the call is, where the fences are not superseded.

        Returns:
            The slots of which that is true.
        """
        page = self._shelf.page(number)
        fresh = False
        for _ in range(_TRIES):
            slots = [
                slot
                for slot, fence in fences.items()
                if page is not None
                and slot < len(page.slots)
                and page.slots[slot] > WAITS
                and fence_of(page.slots[slot]) == fence
            ]
            if len(slots) < len(fences) and not fresh:
                page, fresh = self._shelf.read(number), True
                continue
            if page is None or not slots:
                break
            try:
                page = self._shelf.write(changes.release(page, slots, scars, self._shelf.now()))
            except ConditionFailed as failed:
                page, fresh = self._shelf.seen(number, failed), True
                continue
            self._after_release(page, slots)
            break
        else:
            raise ResourceExhaustedError(
                f"Page {pages.name_of(number)} is written to all the time.",
                hint="Try again in a moment.",
            )
        for slot, fence in fences.items():
            self._book.let_go(number << pages.SEQ_BITS | slot, fence)
        return slots

    def _after_release(self, page: Page, slots: Sequence[int]) -> None:
        """Let others hear of what waits again, and the counters too if they said less."""
        if page.waiting > page.folded_waiting or not page.unfinished:
            with suppress(Error):
                self._counts.fold([page])
        if all(page.slots[slot] < WAITS for slot in slots):
            return
        self._book.line_up(page, front=True)
        now = self._shelf.now()
        if any(page.slots[slot] == WAITS and page.due(slot) <= now for slot in slots):
            self._book.ring(Ring(page.function_id, page.pool, pages.name_of(page.number)))
