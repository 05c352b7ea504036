"""Which calls, lanes and pages of the ledger are in memory, and how the others get there.

A call is in memory while something of it waits, runs or changes; a lane has some thousands of its
waiting inputs in memory and the rest on disk only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby

from cloudfn.model.call import Status
from cloudfn.model.terms import Terms
from cloudfn.providers.ledger import CallSpec
from cloudfn.providers.local.queue import Queue
from cloudfn.providers.local.records import (
    BLOCK,
    BLOCK_BITS,
    DELIVERED,
    UNHURT,
    Call,
    Lane,
    Page,
    Scar,
    split_payloads,
)
from cloudfn.providers.local.store import Row, Store
from cloudfn.wire.messages import DIGEST

_PENDING = int(Status.PENDING)
_RETURNED = int(Status.RETURNED)
_LAST = int(Status.LOST)
#: what becomes of status bytes when a call is cancelled
_CANCEL = bytes([Status.CANCELLED, *range(1, 256)])
#: and when it is reopened: only what ended by itself stays
_UNSETTLE = bytes(
    status if Status.RETURNED <= status <= Status.LOST and status != Status.CANCELLED else 0
    for status in range(256)
)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of a ledger may be in memory."""

    #: waiting inputs of a lane from which further ones stay on disk
    loaded: int = 4_096
    #: how many a lane reads at a time
    refill: int = 2_048
    #: bytes of payloads from which further ones stay on disk
    payload_bytes: int = 16 << 20
    #: inputs and bytes of one payload row
    page_inputs: int = 1_024
    page_bytes: int = 1 << 20
    #: calls from which idle ones are dropped
    calls: int = 8_192


class Residents:
    """The calls, lanes and pages in memory."""

    def __init__(
        self, store: Store, epoch: int, budget: Budget, after: Residents | None = None
    ) -> None:
        self._store = store
        self._budget = budget
        self.queue = Queue(epoch, store.dirty, self._load, self._refill)
        self.lanes: dict[int, Lane] = {}
        #: lanes with unfinished inputs, perhaps others
        self._lanes_of: dict[str, list[Lane]] = {}
        self._by_pool: dict[tuple[str, bool, int], Lane] = {}
        self._calls: dict[str, Call] = {}
        self._by_number: dict[int, Call] = {}
        #: the call that was asked for last and does not exist: a new one is asked for twice
        self._absent = ""
        self._next_number = store.number("SELECT max(number) FROM call") + 1
        self._sweep_at = budget.calls
        self._bytes = 0
        self._next_lane = store.number("SELECT max(number) FROM lane") + 1
        self._read_lanes()
        if after is not None:
            self._stay_above(after)

    def _read_lanes(self) -> None:
        columns = "number, function, pool, spawn, priority"
        for number, function, pool, spawn, priority in self._store.read(
            f"SELECT {columns} FROM lane ORDER BY number"
        ):
            self._add_lane(Lane(number, function, pool, spawn=bool(spawn), priority=priority))
        # "Has payloads" means "is unfinished", so finished calls cost nothing here.
        unfinished = (
            "SELECT lane, sum(known - finished), sum(running) FROM call "
            "WHERE number IN (SELECT call FROM payload) GROUP BY lane"
        )
        for number, waiting, running in self._store.read(unfinished):
            lane = self.lanes[number]
            lane.behind = True
            lane.pending, lane.running = waiting - running, running
            query = "SELECT seq + count FROM payload WHERE seq<? ORDER BY seq DESC LIMIT 1"
            lane.next_seq = self._store.number(query, (lane.end,))

    def _stay_above(self, other: Residents) -> None:
        """Never give out a seq that `other` may have given out."""
        self._next_lane = max(self._next_lane, other._next_lane)
        for number, lane in self.lanes.items():
            if number in other.lanes:
                lane.next_seq = max(lane.next_seq, other.lanes[number].next_seq)

    # Lanes

    def lane(self, function: str, pool: str, *, spawn: bool, priority: int = 0) -> Lane:
        """Return the lane of new inputs."""
        lane = self._by_pool.get((pool, spawn, priority))
        if lane is None:
            lane = Lane(self._next_lane, function, pool, spawn=spawn, priority=priority)
            self._next_lane += 1
            self._store.add_lane(lane)
            self._add_lane(lane)
        return lane

    def _add_lane(self, lane: Lane) -> None:
        self.lanes[lane.number] = lane
        self._by_pool[lane.pool, lane.spawn, lane.priority] = lane
        self._lanes_of.setdefault(lane.function, []).append(lane)
        self.queue.add_lane(lane)

    def load_of(self, function: str, *, spawn: bool) -> tuple[int, int]:
        """Return how many inputs of a function (wait, run), over all of its pools."""
        waiting = running = 0
        for lane in self._lanes_of.get(function, ()):
            if lane.spawn == spawn:
                waiting += lane.pending + lane.delayed
                running += lane.running
        return waiting, running

    # Calls

    def find(self, call_id: str) -> Call | None:
        """Return a call by its id."""
        call = self._calls.get(call_id)
        if call is not None:
            return call
        if call_id == self._absent:
            return None
        row = self._store.call_by_id(call_id)
        if row is None:
            self._absent = call_id
            return None
        return self._build(row)

    def numbered(self, number: int) -> Call:
        """Return a call that exists."""
        return self._by_number.get(number) or self._build(self._store.call_by_number(number))

    def in_memory(self) -> Iterator[Call]:
        """Yield the calls that are in memory."""
        yield from self._calls.values()

    def get(self, number: int) -> Call | None:
        """Return a call if it is in memory."""
        return self._by_number.get(number)

    def add_call(self, spec: CallSpec) -> Call:
        """Return a new call."""
        if spec.call_id in self._store.forgotten:
            # The row of its namesake has to go first.
            self._store.flush()
        priority = spec.terms.priority if spec.terms else 0
        spawn = spec.kind.durable
        lane = self.lane(spec.function_id, spec.pool, spawn=spawn, priority=priority)
        self._absent = ""
        call = Call(self._next_number, spec, lane)
        self._next_number += 1
        self._store.dirty[call] = None
        self._register(call)
        return call

    def _build(self, row: Row) -> Call:
        call = self._store.build_call(row, self.lanes[row[2]])
        self._register(call)
        return call

    def _register(self, call: Call) -> None:
        self._calls[call.spec.call_id] = call
        self._by_number[call.number] = call

    def cancel(self, call: Call, kept: Collection[Page]) -> None:
        """End all waiting inputs of a call; `kept` are the pages of those that run."""
        self.queue.remove(call)
        waiting = len(call.statuses) - call.finished - call.running
        call.statuses = call.statuses.translate(_CANCEL)
        call.cancelled = True
        call.finished += waiting
        call.failed += waiting
        call.changed.update(range((len(call.statuses) + BLOCK - 1) >> BLOCK_BITS))
        for seq in [seq for seq in call.scars if seq not in self.queue.running]:
            self.heal(call, seq)
        self._store.dirty[call] = None
        self._store.finish_pages(call, [page.seq for page in kept])
        for page in list(call.pages.values()):
            if page not in kept:
                self.drop_page(page)
                continue
            page.next = page.count
            page.left = call.statuses.count(Status.RUNNING, page.first, page.first + page.count)

    def forget(self, call: Call) -> None:
        """Delete a call with everything of it; no claim of it is in the queue any more."""
        self.queue.remove(call)
        call.lane.running -= call.running
        for seq in list(call.scars):
            self.heal(call, seq)
        self._store.forget(call)
        self.drop(call)
        call.gone = True
        # What is left of it in heaps shall not look as if it waited.
        call.statuses = call.statuses.translate(_CANCEL)

    def note_digests(self, call_id: str, first: int, digests: Sequence[bytes]) -> None:
        """Keep the digests of inputs from `first` on that are new."""
        call = self.find(call_id)
        if call is None:
            return
        have = len(call.digests) // DIGEST
        call.digests += b"".join(digests[have - first :] if first <= have else ())
        self._store.dirty[call] = None

    def reopen(self, call: Call, spec: CallSpec) -> None:
        """Begin a call anew, all of whose inputs are finished."""
        count = len(call.digests) // DIGEST
        now = call.statuses.translate(_UNSETTLE)
        settled = bytes(now) + call.settled[len(now) : count]
        kept = frozenset(index for index, status in enumerate(settled) if status)
        self._store.keep_outcomes(call, kept)
        self._store.drop_rows(call)
        self.drop(call)
        call.gone = True
        priority = spec.terms.priority if spec.terms else 0
        lane = self.lane(spec.function_id, spec.pool, spawn=spec.kind.durable, priority=priority)
        new = Call(call.number, spec, lane)
        new.digests, new.digested = call.digests, call.digested
        new.settled = settled
        new.total = len(call.statuses) if call.sealed else call.total
        self._store.dirty[new] = None
        self._register(new)

    def deliver(self, call: Call, indices: Sequence[int]) -> None:
        """Delete outcomes, those that exist."""
        statuses = call.statuses
        known = len(statuses)
        for index in indices:
            if not (0 <= index < known and _RETURNED <= statuses[index] <= _LAST):
                continue
            statuses[index] |= DELIVERED
            call.changed.add(index >> BLOCK_BITS)
            chunk = call.chunks.pop(index, None)
            if chunk is None:
                # It is not in the file yet, or was implied by a cancellation.
                call.outcomes = [fresh for fresh in call.outcomes if fresh[0] != index]
                continue
            chunk.left -= 1
            if not chunk.left:
                self._store.finish_chunk(call, chunk)
        self._store.dirty[call] = None

    def hurt(self, call: Call, seq: int, scar: Scar) -> None:
        """Note what became of an unfinished input."""
        call.scars[seq] = scar
        self._store.scars[seq] = call.number, scar

    def heal(self, call: Call, seq: int) -> None:
        """Drop the scar of an input, if it has one."""
        if call.scars.pop(seq, None) is not None:
            self._store.scars[seq] = None

    def drop(self, call: Call) -> None:
        """Take a call out of memory."""
        for page in list(call.pages.values()):
            self.drop_page(page)
        self._calls.pop(call.spec.call_id, None)
        self._by_number.pop(call.number, None)

    def sweep(self) -> None:
        """Drop idle calls when there are many; only right after a commit."""
        if len(self._calls) < self._sweep_at:
            return
        for call in list(self._calls.values()):
            if not call.pages and (call.ended is not None or not call.complete):
                self.drop(call)
        self._sweep_at = max(self._budget.calls, 2 * len(self._calls))

    # Pages

    def admit(self, call: Call, payloads: Sequence[bytes]) -> None:
        """Append waiting inputs to a call, or finished ones where they are settled already."""
        known = len(call.statuses)
        if not any(call.settled[known : known + len(payloads)]):
            self._admit(call, payloads)
            return
        start = 0
        for count, status in _runs(call.settled, known, len(payloads)):
            if status:
                self._admit_settled(call, status, count)
            else:
                self._admit(call, payloads[start : start + count])
            start += count

    def _admit_settled(self, call: Call, status: int, count: int) -> None:
        known = len(call.statuses)
        call.statuses += bytes([status]) * count
        call.finished += count
        call.failed += count if status != _RETURNED else 0
        call.mark(known, known + count - 1)
        self._store.dirty[call] = None

    def _admit(self, call: Call, payloads: Sequence[bytes]) -> None:
        most, most_bytes = self._budget.page_inputs, self._budget.page_bytes
        if len(payloads) <= most and sum(map(len, payloads)) <= most_bytes:
            self._add_page(call, payloads)
            return
        start = size = 0
        for position, payload in enumerate(payloads):
            count = position - start
            if count and (count == most or size + len(payload) > most_bytes):
                self._add_page(call, payloads[start:position])
                start, size = position, 0
            size += len(payload)
        self._add_page(call, payloads[start:])

    def _add_page(self, call: Call, payloads: Sequence[bytes]) -> None:
        lane, first, count = call.lane, len(call.statuses), len(payloads)
        seq = lane.next_seq
        lane.next_seq = seq + count
        lane.pending += count
        call.statuses += bytes(count)
        call.last_seq = seq
        if not first:
            call.first_seq = seq
        call.mark(first, first + count - 1)
        self._store.add_page(seq, call, first, payloads)
        self._store.dirty[call] = None
        terms = call.spec.terms
        if terms is not None and terms.timed:
            self._queue_by_terms(Page(seq, call, first, count), payloads, terms)
            return
        if lane.behind or lane.loaded >= self._budget.loaded:
            lane.behind = True
            return
        lane.cursor = seq
        page = call.pages[seq] = Page(seq, call, first, count)
        if self._bytes < self._budget.payload_bytes:
            self._keep(page, list(payloads))
        self.queue.add_fresh(page)

    def _queue_by_terms(self, page: Page, payloads: Sequence[bytes], terms: Terms) -> None:
        """Queue new inputs that may not run at any time: each has a scar, and stays in memory."""
        call, lane = page.call, page.call.lane
        call.pages[page.seq] = page
        page.next = page.count
        if not lane.behind:
            lane.cursor = page.seq
        if self._bytes < self._budget.payload_bytes:
            self._keep(page, list(payloads))
        scar = Scar(UNHURT, terms.not_before, alone=False, deadline=terms.deadline)
        for seq in range(page.seq, page.seq + page.count):
            self.hurt(call, seq, scar)
            self.queue.add_back(page, seq, 0, self.queue.now)

    def admit_cancelled(self, call: Call, count: int) -> None:
        """Append inputs to a cancelled call: nothing of it runs, and its client learns so."""
        known = len(call.statuses)
        call.statuses += bytes([Status.CANCELLED]) * count
        call.finished += count
        call.failed += count
        call.mark(known, known + count - 1)
        self._store.dirty[call] = None

    def seal(self, call: Call) -> None:
        """Note that no input follows."""
        call.sealed = True
        self._store.dirty[call] = None

    def page_at(self, seq: int) -> Page | None:
        """Return the page of an unfinished input that the file has."""
        row = self._store.page_at(seq)
        if row is None:
            return None
        return self.page(self.numbered(row[1]), row[0], row[2], row[3])

    def page(self, call: Call, seq: int, first: int, count: int) -> Page:
        """Return a page that the file has."""
        page = call.pages.get(seq)
        if page is None:
            page = call.pages[seq] = Page(seq, call, first, count)
            statuses = call.statuses[first : first + count]
            page.left = statuses.count(Status.PENDING) + statuses.count(Status.RUNNING)
        return page

    def end(self, page: Page, seq: int, status: Status, payload: bytes | None = None) -> None:
        """PENDING → an outcome, for an input that is in no queue; CANCELLED needs no payload."""
        call, index = page.call, page.first + seq - page.seq
        call.statuses[index] = status
        call.mark(index, index)
        call.finished += 1
        call.failed += 1
        call.lane.pending -= 1
        if payload is not None:
            call.outcomes.append((index, payload))
            self.keep_dead(page, seq, status)
        self.heal(call, seq)
        self._store.dirty[call] = None
        page.left -= 1
        if not page.left:
            self.finish_page(page)

    def keep_dead(self, page: Page, seq: int, status: int) -> None:
        """An input ends: where it is a dead letter from here on, its payload is kept."""
        call = page.call
        if call.spec.durable and Status(status).dead:
            payload = (page.payloads or self._load(page))[seq - page.seq]
            call.dead.append((page.first + seq - page.seq, payload))

    def finish_page(self, page: Page) -> None:
        """Delete a page whose inputs are all finished."""
        self._store.finish_page(page)
        self.drop_page(page)

    def drop_page(self, page: Page) -> None:
        """Take a page out of memory."""
        del page.call.pages[page.seq]
        self._bytes -= page.size
        page.payloads, page.size = None, 0

    def _keep(self, page: Page, payloads: list[bytes]) -> None:
        page.payloads = payloads
        page.size = sum(map(len, payloads))
        self._bytes += page.size

    def _load(self, page: Page) -> list[bytes]:
        """Read a page's payloads; they stay until its last input is finished."""
        payloads = self._store.payloads(page)
        self._keep(page, payloads)
        return payloads

    def _refill(self, lane: Lane) -> None:
        """Queue the next inputs of a lane that are on disk only."""
        self._store.flush()
        with closing(self._store.pages_after(lane)) as rows:
            for seq, first, count, lengths, data, *call_row in rows:
                if lane.loaded >= self._budget.refill:
                    return
                lane.cursor = seq
                call = self._by_number.get(call_row[0]) or self._build(tuple(call_row))
                page = self.page(call, seq, first, count)
                if page.payloads is None and self._bytes < self._budget.payload_bytes:
                    self._keep(page, split_payloads(lengths, data))
                self._queue_page(page)
        lane.behind = False

    def _queue_page(self, page: Page) -> None:
        """Queue those inputs of a page from disk that wait and are in no queue.

        Those with scars are in one, and those that were given back after memory was read again.
        """
        call, first, count = page.call, page.first, page.count
        statuses = call.statuses
        seqs = range(page.seq, page.seq + count)
        queued = {*call.scars, *(seq for seq, _, _ in call.returned)}
        untouched = statuses.count(_PENDING, first, first + count) == count
        if untouched and queued.isdisjoint(seqs):
            self.queue.add_fresh(page)
            return
        page.next = count
        for seq, status in zip(seqs, statuses[first : first + count], strict=True):
            if status == _PENDING and seq not in queued:
                self.queue.add_returned(page, seq, 0, front=False)


def _runs(settled: bytes, start: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield (length, status) of inputs from `start` on; the status is 0 where none is settled."""
    statuses = settled[start : start + count].ljust(count, b"\0")
    for status, run in groupby(statuses):
        yield len(list(run)), status
