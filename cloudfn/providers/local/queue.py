"""Which input is claimed next: lanes, turns, delays and the right to run. Pure, in memory.

A pool has a lane for each priority of `.spawn` and one for everything else; the two kinds take
turns, and so do the calls in a lane. Inputs that come back go before those of their call that were
never claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from cloudfn.errors import Error
from cloudfn.model.call import Status
from cloudfn.providers.ledger import Claim
from cloudfn.providers.local.records import (
    BLOCK_BITS,
    UNHURT,
    Call,
    Lane,
    Page,
    Returned,
    Scar,
)

#: claims of one input for which an epoch has fences
_FENCE_BITS = 10
#: a lane with fewer inputs in memory than this reads on
_LOW = 512
#: of so many turns in which several priorities wait, one begins with a lower one
_FAIR = 8

_PENDING, _RUNNING = int(Status.PENDING), int(Status.RUNNING)
#: the page of a running input, and the fence of its claim
Hold = tuple[Page, int]


class Pool:
    """The lanes of one pool, and its inputs that must run alone."""

    __slots__ = ("alone", "lanes", "name", "other_first", "priority_turn", "skip_alone")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lanes: list[Lane] = []
        #: heap
        self.alone: list[Returned] = []
        #: whose turn it is: that of the second kind of lanes
        self.other_first = False
        #: turns in which several priorities waited
        self.priority_turn = 0
        #: whose turn it is: that of inputs that need not run alone
        self.skip_alone = False


class Queue:
    """All waiting and running inputs that are in memory.

    Args:
        epoch: Number of this opening of the ledger; fences grow with it.
        dirty: Collects the calls whose statuses changed.
        load: Reads the payloads of a page into memory.
        refill: Reads the next pages of a lane into memory.
    """

    def __init__(
        self,
        epoch: int,
        dirty: dict[Call, None],
        load: Callable[[Page], list[bytes]],
        refill: Callable[[Lane], None],
    ) -> None:
        self._fence = epoch << _FENCE_BITS
        self._dirty = dirty
        self._load = load
        self._refill = refill
        self.pools: dict[str, Pool] = {}
        self.running: dict[int, Hold] = {}
        #: heap of (wall time, seq, last fence, page)
        self._delayed: list[tuple[float, int, int, Page]] = []
        #: heap of (wall time, seq, minus its last fence, page), some of them long over
        self._deadlines: list[tuple[float, int, int, Page]] = []
        #: claims of inputs whose deadline passed while they waited
        self.late: list[Claim] = []
        #: wall time, as last told
        self.now = 0.0

    @property
    def epoch(self) -> int:
        """The epoch of the fences that are given out; grows when one input uses an epoch up."""
        return self._fence >> _FENCE_BITS

    def add_lane(self, lane: Lane) -> None:
        """Make a lane part of its pool."""
        pool = self.pools.get(lane.pool)
        if pool is None:
            pool = self.pools[lane.pool] = Pool(lane.pool)
        pool.lanes.append(lane)

    # In

    def add_fresh(self, page: Page) -> None:
        """Queue all inputs of a page that were never claimed; the lane counts them already."""
        call = page.call
        waiting = page.count - page.next
        call.fresh.append(page)
        call.waiting += waiting
        call.lane.loaded += waiting
        if not call.queued:
            call.queued = True
            call.lane.ring.append(call)

    def add_returned(self, page: Page, seq: int, fence: int, *, front: bool = True) -> None:
        """Queue an input that waits again, or whose page has gaps; the lane counts it already."""
        call = page.call
        scar = call.scars.get(seq)
        if scar is not None and scar.alone:
            heappush(self.pools[call.lane.pool].alone, (seq, fence, page))
            return
        heappush(call.returned, (seq, fence, page))
        call.waiting += 1
        call.lane.loaded += 1
        if call.queued:
            return
        call.queued = True
        if front:
            call.lane.ring.appendleft(call)
        else:
            call.lane.ring.append(call)

    def add_back(self, page: Page, seq: int, fence: int, now: float) -> None:
        """Queue an input that waits again where its scar says; the lane counts it as pending."""
        call = page.call
        scar = call.scars.get(seq)
        if scar is not None and scar.deadline is not None:
            heappush(self._deadlines, (scar.deadline, seq, -fence, page))
        if scar is None or scar.not_before <= now:
            self._line_up(page, seq, fence)
            return
        heappush(self._delayed, (scar.not_before, seq, fence, page))
        call.delayed += 1
        call.lane.delayed += 1
        call.lane.pending -= 1

    def _line_up(self, page: Page, seq: int, fence: int) -> None:
        """Queue an input; one that was never claimed has waited no longer than others."""
        self.add_returned(page, seq, fence, front=fence > 0)

    def promote(self, now: float) -> None:
        """Queue the delayed inputs that are due, and take out those that are too late."""
        self.now = now
        delayed = self._delayed
        while delayed and (delayed[0][0] <= now or _is_stale(delayed[0][1], delayed[0][3])):
            _, seq, fence, page = heappop(delayed)
            if _is_stale(seq, page):
                continue
            call = page.call
            call.delayed -= 1
            call.lane.delayed -= 1
            call.lane.pending += 1
            self._line_up(page, seq, fence)
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or _is_stale(deadlines[0][1], deadlines[0][3])):
            _, seq, fence, page = heappop(deadlines)
            if not _is_stale(seq, page):
                self._take_late(page, seq, -fence, now)

    def _take_late(self, page: Page, seq: int, fence: int, now: float) -> None:
        """PENDING → RUNNING for an input that must not begin any more."""
        call = page.call
        scar = call.scars[seq]
        if scar.not_before > now:
            call.delayed -= 1
            call.lane.delayed -= 1
            call.lane.pending += 1
        elif not scar.alone:
            # What is left of it in the heap is stale.
            call.waiting -= 1
            call.lane.loaded -= 1
        self._run_one((seq, fence, page), self.late)
        self._account(call, 1)

    def next_due(self) -> float | None:
        """Return when time changes something next; right after `promote` only."""
        if self.late:
            return self.now
        return min((heap[0][0] for heap in (self._delayed, self._deadlines) if heap), default=None)

    def release(self, seq: int, fence: int) -> Page | None:
        """End a claim without an outcome: RUNNING → PENDING, to be queued by the caller.

        Returns:
            The page of the input, or None if the fence is superseded.
        """
        hold = self.running.get(seq)
        if hold is None or hold[1] != fence:
            return None
        del self.running[seq]
        page = hold[0]
        self.move(page, seq, _PENDING)
        return page

    def move(self, page: Page, seq: int, status: int) -> None:
        """Change the status of one input, PENDING ↔ RUNNING."""
        call = page.call
        index = page.first + seq - page.seq
        change = 1 if status == _RUNNING else -1
        call.statuses[index] = status
        call.mark(index, index)
        call.running += change
        call.lane.running += change
        call.lane.pending -= change
        self._dirty[call] = None

    def remove(self, call: Call) -> None:
        """Take a call's waiting inputs out; the caller changes their statuses."""
        lane = call.lane
        lane.delayed -= call.delayed
        lane.pending -= len(call.statuses) - call.finished - call.running - call.delayed
        lane.loaded -= call.waiting
        call.waiting = call.delayed = 0
        call.returned.clear()
        call.fresh.clear()
        if call.queued:
            call.queued = False
            lane.ring.remove(call)

    def running_of(self, call: Call) -> Iterator[tuple[int, Hold]]:
        """Yield the (seq, hold) of a call's running inputs."""
        if call.running:
            for seq, hold in self.running.items():
                if hold[0].call is call:
                    yield seq, hold

    # Out

    def claim(self, name: str, limit: int) -> list[Claim]:
        """Take up to `limit` inputs of a pool; see `Ledger.claim`."""
        claims: list[Claim] = []
        pool = self.pools.get(name)
        if pool is None or limit < 1:
            return claims
        try:
            self._claim(pool, limit, claims)
        except Error:
            # A payload could not be read: nobody holds these.
            for claim in claims:
                page = self.release(claim.seq, claim.fence)
                assert page is not None
                self.add_returned(page, claim.seq, claim.fence)
            raise
        return claims

    def _claim(self, pool: Pool, limit: int, claims: list[Claim]) -> None:
        if pool.alone:
            pool.skip_alone = not pool.skip_alone
            if pool.skip_alone and self._take_alone(pool, claims):
                return
        self._take_turns(pool, limit, claims)
        if not claims and pool.alone:
            self._take_alone(pool, claims)

    def _take_turns(self, pool: Pool, limit: int, claims: list[Claim]) -> None:
        lanes = [lane for lane in pool.lanes if lane.pending]
        for lane in lanes:
            if lane.behind and lane.loaded < _LOW:
                self._refill(lane)
        if not lanes:
            return
        if len(lanes) == 1:
            self._take(lanes[0], limit, claims)
            return
        spawned = _in_order(pool, [lane for lane in lanes if lane.spawn])
        first, second = [lane for lane in lanes if not lane.spawn], spawned
        if pool.other_first:
            first, second = second, first
        pool.other_first = not pool.other_first
        half = limit - limit // 2 if first and second else limit
        self._take_all(first, half, claims)
        self._take_all(second, limit - len(claims), claims)
        self._take_all(first, limit - len(claims), claims)

    def _take_all(self, lanes: list[Lane], limit: int, claims: list[Claim]) -> None:
        most = len(claims) + limit
        for lane in lanes:
            self._take(lane, most - len(claims), claims)

    def _take(self, lane: Lane, limit: int, claims: list[Claim]) -> None:
        ring = lane.ring
        while limit > 0:
            if not ring and lane.behind:
                self._refill(lane)
            if not ring:
                return
            share = limit // len(ring) or 1
            call = ring.popleft()
            before = len(claims)
            try:
                self._take_from(call, share, claims)
            finally:
                taken = len(claims) - before
                call.waiting -= taken
                lane.loaded -= taken
                self._account(call, taken)
                if call.waiting:
                    ring.append(call)
                else:
                    call.queued = False
            limit -= taken

    def _take_from(self, call: Call, limit: int, claims: list[Claim]) -> None:
        returned, fresh = call.returned, call.fresh
        while returned and limit:
            if _is_stale(returned[0][0], returned[0][2]):
                heappop(returned)
                continue
            self._run_one(returned[0], claims)
            heappop(returned)
            limit -= 1
        while fresh and limit:
            page = fresh[0]
            count = min(limit, page.count - page.next)
            self._run_fresh(page, count, claims)
            limit -= count
            if page.next == page.count:
                del fresh[0]

    def _take_alone(self, pool: Pool, claims: list[Claim]) -> bool:
        alone = pool.alone
        while alone and _is_stale(alone[0][0], alone[0][2]):
            heappop(alone)
        if not alone:
            return False
        self._run_one(alone[0], claims)
        _, _, page = heappop(alone)
        self._account(page.call, 1)
        return True

    def _account(self, call: Call, claimed: int) -> None:
        lane = call.lane
        lane.pending -= claimed
        lane.running += claimed
        call.running += claimed
        self._dirty[call] = None

    def _run_fresh(self, page: Page, count: int, claims: list[Claim]) -> None:
        """PENDING → RUNNING for the next `count` inputs of a page, the hot path."""
        call = page.call
        start = page.next
        payloads = page.payloads or self._load(page)
        if count < page.count:
            payloads = payloads[start : start + count]
        seq, index = page.seq + start, page.first + start
        fence, pool, call_id = self._fence, call.lane.pool, call.spec.call_id
        durable = call.spec.durable
        page.next += count
        if count == 1:  # what slow inputs and `remote` take, in half the time of the rest
            claim = Claim(seq, fence, pool, call_id, index, payloads[0], UNHURT, False, durable)  # noqa: FBT003
            claims.append(claim)
            self.running[seq] = (page, fence)
            call.statuses[index] = _RUNNING
            call.changed.add(index >> BLOCK_BITS)
            return
        seqs, indices = range(seq, seq + count), range(index, index + count)
        claims += [
            Claim(seq, fence, pool, call_id, index, payload, UNHURT, False, durable)  # noqa: FBT003
            for seq, index, payload in zip(seqs, indices, payloads, strict=True)
        ]
        self.running.update(dict.fromkeys(seqs, (page, fence)))
        call.statuses[index : index + count] = _RUNNING.to_bytes() * count
        call.mark(index, index + count - 1)

    def _run_one(self, returned: Returned, claims: list[Claim]) -> None:
        """PENDING → RUNNING for an input that was claimed before."""
        seq, last, page = returned
        offset = seq - page.seq
        payload = (page.payloads or self._load(page))[offset]
        call, index = page.call, page.first + offset
        fence = self.next_fence(last)
        scar: Scar | None = call.scars.get(seq)
        counters, alone = (scar.counters, scar.alone) if scar else (UNHURT, False)
        deadline = scar.deadline if scar else None
        claims.append(
            Claim(
                seq,
                fence,
                call.lane.pool,
                call.spec.call_id,
                index,
                payload,
                counters,
                alone,
                call.spec.durable,
                deadline,
            )
        )
        self.running[seq] = (page, fence)
        call.statuses[index] = _RUNNING
        call.mark(index, index)

    def next_fence(self, last: int) -> int:
        """Return a fence above an input's last one, and above those of earlier epochs."""
        if last < self._fence:
            return self._fence
        fence = last + 1
        if fence >> _FENCE_BITS > self.epoch:
            # The ledger stores the epoch with the claim, so that the next opening stays above.
            self._fence = fence
        return fence


def _in_order(pool: Pool, lanes: list[Lane]) -> list[Lane]:
    """Return lanes of several priorities, the one whose turn it is first."""
    if len(lanes) < 2:
        return lanes
    lanes.sort(key=lambda lane: lane.priority, reverse=True)
    pool.priority_turn += 1
    turn, rest = divmod(pool.priority_turn, _FAIR)
    if not rest:
        lanes.insert(0, lanes.pop(1 + turn % (len(lanes) - 1)))
    return lanes


def _is_stale(seq: int, page: Page) -> bool:
    """Whether a queued input waits no more: its call is cancelled or forgotten, or it is late."""
    return page.call.statuses[page.first + seq - page.seq] != _PENDING
