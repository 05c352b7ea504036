"""Outcomes are recorded, read and delivered.

A few small ones lie on the page itself. Others are first put as one sealed chunk beside the page,
which nobody reads as an outcome until the page says so: a slot names the fence, the status and
bits of the digest of the one that counts. So an outcome that a superseded holder left counts for
nothing, and the update of the page is the moment at which all of a group are recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from cloudfn.errors import DataLossError, Error, NotFoundError, ResourceExhaustedError
from cloudfn.model.call import Status
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.ledger import changes, pages
from cloudfn.providers.aws.ledger.counts import Counts
from cloudfn.providers.aws.ledger.packing import (
    Ended,
    chunk_key,
    joined,
    open_chunk,
    open_outcome,
    pieces,
    seal_chunk,
    seal_outcome,
    sealed_size,
    size_of,
)
from cloudfn.providers.aws.ledger.pages import (
    CANCELLED,
    WAITS,
    Page,
    ended,
    fence_of,
    split_seq,
    status_of,
)
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.endings import cancelled_payload
from cloudfn.providers.ledger import Entry, Outcome

#: Bytes of a page up to which outcomes are put onto it. A chunk is a request of its own, and no
#: cheaper before some kilobytes; a page of this size is still read for one unit.
_FULL = 4_096
_TRIES = 8


class Outcomes:
    """Records outcomes, and reads them.

    Args:
        shelf: The table, and what is remembered of it.
        counts: Closes pages.
    """

    def __init__(self, shelf: Shelf, counts: Counts) -> None:
        self._shelf = shelf
        self._counts = counts

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        results = [False] * len(entries)
        by_page: dict[int, dict[int, int]] = {}
        for place, entry in enumerate(entries):
            number, slot = split_seq(entry.seq)
            if Status(entry.status).terminal:
                places = by_page.setdefault(number, {})
                # Of two for one input, that of the later claim counts, or else the first one.
                if slot not in places or entries[places[slot]].fence < entry.fence:
                    places[slot] = place

        def act(number: int) -> list[int]:
            places = by_page[number]
            recorded = self._record(number, {slot: entries[at] for slot, at in places.items()})
            return [places[slot] for slot in recorded]

        for recorded in self._shelf.crew.each(act, by_page):
            for place in recorded:
                results[place] = True
        return results

    def _record(self, number: int, asked: Mapping[int, Entry]) -> list[int]:
        """Record outcomes of one page; return the slots that say so."""
        page = self._shelf.page(number)
        fresh = stored = False
        done: list[int] = []
        for _ in range(_TRIES):
            after = {slot: ended(e.fence, e.status, e.payload) for slot, e in asked.items()}
            done, open_ = _sorted_out(page, asked, after)
            if len(done) + len(open_) < len(asked) and not fresh:
                page, fresh = self._shelf.read(number), True
                continue
            if page is None or not open_:
                break
            outcomes = [
                Ended(slot, asked[slot].fence, Status(asked[slot].status), asked[slot].payload)
                for slot in open_
            ]
            inline = self._inline(page, outcomes)
            if not inline and not stored:
                self._store(page, outcomes)
                stored = True
            ends = {slot: after[slot] for slot in open_}
            try:
                page = self._shelf.write(changes.record(page, ends, inline, self._shelf.now()))
            except ConditionFailed as failed:
                page, fresh = self._shelf.seen(number, failed), True
                continue
            done += open_
            self._after(page)
            break
        else:
            raise ResourceExhaustedError(
                f"Page {pages.name_of(number)} is written to all the time.",
                hint="Try again in a moment.",
            )
        for entry in asked.values():
            self._shelf.book.let_go(entry.seq, entry.fence)
        return done

    def _inline(self, page: Page, outcomes: Sequence[Ended]) -> dict[int, bytes]:
        """Return what lies on the page itself, if all of it may."""
        size = size_of(page) + sum(sealed_size(each.payload) for each in outcomes)
        if size > _FULL:
            return {}
        return {each.slot: seal_outcome(self._shelf.results, page, each) for each in outcomes}

    def _store(self, page: Page, outcomes: Sequence[Ended]) -> None:
        sealed = seal_chunk(self._shelf.results, page, outcomes)
        key = chunk_key(sealed)
        writes = pieces(page.key, key, sealed, self._shelf.expiry(page.durable))
        if len(writes) == 1:
            self._shelf.table.write(writes[0])
        else:
            self._shelf.table.write_all(writes)

    def _after(self, page: Page) -> None:
        """Close a page whose inputs have all ended.

        One with a single input is not worth a transaction of its own: it goes when its call is
        forgotten, or with others of its kind.
        """
        if not page.unfinished and len(page.slots) > 1 and not page.closed:
            with suppress(Error):
                self._counts.fold([page])

    # Reading

    def outcomes(self, call_id: str, start: int = 0, end: int | None = None) -> list[Outcome]:
        head = self._shelf.head(call_id)
        if head is None:
            raise NotFoundError(f"There is no call {call_id}.", hint="See `cloudfn call list`.")
        if head.expired:
            return []
        end = head.known if end is None else min(end, head.known)
        known = end

        def read(page: Page) -> list[Outcome]:
            wanted = [
                slot
                for slot in range(
                    max(start - page.first, 0), min(known - page.first, len(page.slots))
                )
                if page.slots[slot] < WAITS and slot not in page.delivered
            ]
            payloads = self.payloads(page, wanted)
            return [
                Outcome(page.first + slot, status_of(page.slots[slot]), payloads[slot])
                for slot in wanted
            ]

        found = self._shelf.crew.each(read, self._shelf.pages_of(head, start, end))
        return [outcome for some in found for outcome in some]

    def payloads(self, page: Page, slots: Iterable[int]) -> dict[int, bytes]:
        """Return outcomes of a page by slot.

        Raises:
            DataLossError: One is gone, or is not authentic.
        """
        found: dict[int, bytes] = {}
        elsewhere: dict[int, int] = {}
        for slot in slots:
            value = page.slots[slot]
            if value == CANCELLED:
                found[slot] = cancelled_payload(page.call_id)
            elif slot in page.outcomes:
                found[slot] = open_outcome(self._shelf.results, page, slot, status_of(value))
            else:
                elsewhere[slot] = value
        if elsewhere:
            for outcome in self._chunks(page):
                value = ended(outcome.fence, outcome.status, outcome.payload)
                if elsewhere.get(outcome.slot) == value:
                    found.setdefault(outcome.slot, outcome.payload)
            if missing := sorted(elsewhere.keys() - found.keys()):
                raise DataLossError(
                    f"Outcomes of call {page.call_id} are gone: "
                    f"{', '.join(str(page.first + slot) for slot in missing)}.",
                    hint="They were deleted from the table by something else than cloudfn.",
                )
        return found

    def _chunks(self, page: Page) -> Iterator[Ended]:
        for sealed in joined(self._shelf.table.query(page.key, begins="O#")).values():
            yield from open_chunk(self._shelf.results, page, sealed)

    # What clients have

    def delivered(self, call_id: str, indices: Sequence[int]) -> None:
        head = self._shelf.head(call_id)
        if head is None or head.spec.durable or not indices:
            return
        wanted = {index for index in indices if 0 <= index < head.known}
        for page in self._shelf.pages_of(head, min(indices), max(indices) + 1):
            slots = {
                slot
                for slot, value in enumerate(page.slots)
                if page.first + slot in wanted and value < WAITS and slot not in page.delivered
            }
            if slots:
                with suppress(ConditionFailed):
                    self._shelf.write(changes.add_to_set(page, "d", slots))


def _sorted_out(
    page: Page | None, asked: Mapping[int, Entry], after: Mapping[int, int]
) -> tuple[list[int], list[int]]:
    """Return the slots that say already what is to be recorded, and those where it may be."""
    done: list[int] = []
    open_: list[int] = []
    for slot, entry in asked.items():
        value = page.slots[slot] if page is not None and slot < len(page.slots) else WAITS
        if value == after[slot]:
            done.append(slot)
        elif value > WAITS and fence_of(value) == entry.fence:
            open_.append(slot)
    return done, open_
