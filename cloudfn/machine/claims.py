"""The shared ledger as the agent sees it: claims are fetched ahead of it, outcomes written behind.

The agent never waits: what it claims is here already, and what it records is told to the ledger
afterwards, by the `Outbox`. All state belongs to the loop; threads only ask and answer.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Handle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from cloudfn.clock import Clock
from cloudfn.errors import DataLossError, Error
from cloudfn.machine.lines import Line
from cloudfn.machine.lots import Wanted, lot
from cloudfn.machine.outbox import Outbox
from cloudfn.machine.threads import Threads
from cloudfn.model.call import Counters, Status
from cloudfn.providers.doorbells import Doorbells, Ring
from cloudfn.providers.ledger import Claim, Entry, PoolCounts
from cloudfn.providers.shared_ledger import SharedLedger
from cloudfn.wire.messages import encode_json, is_blob

_log = logging.getLogger(__name__)

#: Seconds between two questions how much waits in the ledger, which reads all of a pool's pages:
#: at least, and a second for so many inputs. Thousands of machines may ask about the same backlog,
#: and one that is long stays so for a while.
_COUNT_PAUSE, _COUNTED_IN_A_SECOND = 2.0, 400
#: seconds after which what waits here in vain goes back to where others can have it
_IN_VAIN = 2.0
#: the same for what waits where no container even starts, and for how long nothing is claimed then
_STARVED = 10.0
#: seconds until a question that got no answer is asked again, at first and at most
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: tries to fetch arguments, until another machine may try
_FETCHES = 5


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the claims of a machine need of the rest of it. Called on the loop."""

    #: how many inputs of a pool should be here, and how many of those its containers hold
    wanted: Callable[[str], tuple[Wanted, int]]
    #: whether a pool has no container, not even one that starts
    starved: Callable[[str], bool]
    #: whether a pool may have more containers than it has
    may_grow: Callable[[str], bool]
    #: inputs of a pool wait, or are known to
    arrived: Callable[[str], None]
    #: deadlines of these passed while they waited
    overdue: Callable[[list[Claim]], None]
    #: brings the payload of a claim to this machine; blocks; raises an Error
    fetch: Callable[[Claim], None]
    #: an input has an outcome, which the ledger is to be told
    ended: Callable[[Claim, Entry], None]
    #: an input is not this machine's any more: what was fetched for it may go
    released: Callable[[Claim], None]
    #: doorbells of functions to listen to from now on, and no others
    listen: Callable[[frozenset[str]], None]


@dataclass(slots=True)
class _Held:
    """An input that is this machine's, until its end is told to the ledger."""

    claim: Claim
    #: its arguments, which a claim loses when a container has them
    payload: bytes


class AheadAndBehind:
    """The agent's `Claims` over a ledger that is far away. Single-threaded, on the agent's loop.

    Args:
        loop: The loop.
        ledger: The ledger.
        doorbells: Where is rung for others.
        outbox: Takes what is to be written.
        threads: Where the ledger is asked.
        clock: The time.
        around: The rest of the machine.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        ledger: SharedLedger,
        doorbells: Doorbells,
        outbox: Outbox,
        threads: Threads,
        clock: Clock,
        around: Surroundings,
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._doorbells = doorbells
        self._outbox = outbox
        self._threads = threads
        self._clock = clock
        self._around = around
        self._lines: dict[str, Line] = {}
        self._held: dict[int, _Held] = {}
        self._check: Handle | None = None
        #: whether anything new may be claimed
        self._open = False
        #: grows when all is dropped: what was asked before counts for nothing
        self._era = 0

    # Pools

    def serve(self, pool: str, function_id: str) -> None:
        """Claim inputs of a pool from now on. Idempotent."""
        if pool not in self._lines:
            self._lines[pool] = Line(pool, function_id)
            self.poke()

    def desert(self, pool: str) -> None:
        """Claim no inputs of a pool any more, and give back those that wait. Idempotent."""
        line = self._lines.pop(pool, None)
        if line is not None:
            self._return(line.clear())
            self._ring_again(line)
            self.poke()

    def open(self, *, intake: bool) -> None:
        """Whether anything new may be claimed."""
        if intake != self._open:
            self._open = intake
            self.poke()

    def leave(self) -> None:
        """Claim nothing any more, and give back everything that waits."""
        self._open = False
        for line in self._lines.values():
            self._return(line.clear())
            self._ring_again(line)
        self.poke()

    def drop(self) -> None:
        """Nothing is this machine's any more: others have it, or are to have it."""
        self._era += 1
        for line in self._lines.values():
            line.clear()
            line.fetching = line.asking = 0
        self._outbox.drop()
        # What was claimed after it was given up, nobody else returns: it lives again.
        self._return([held.claim for held in self._held.values()])

    def surrender(self, seq: int, fence: int) -> None:
        """Nobody wants what comes of an input here: others have it, or its call is cancelled."""
        held = self._held.get(seq)
        if held is None or held.claim.fence != fence:
            return
        del self._held[seq]
        line = self._lines.get(held.claim.pool)
        if line is not None:
            line.remove(seq)
        self._around.released(held.claim)
        # If it is still this machine's: one of a cancelled call ends with that.
        self._outbox.give_back([(seq, fence)])

    def holds_of(self, call_id: str) -> bool:
        """Whether inputs of a call are this machine's."""
        return any(held.claim.call_id == call_id for held in self._held.values())

    @property
    def holding(self) -> int:
        """How many inputs are this machine's."""
        return len(self._held)

    def here(self, pool: str) -> int:
        """Return how many inputs of a pool wait here for a container."""
        line = self._lines.get(pool)
        return 0 if line is None else len(line) + line.fetching

    def waiting(self, pool: str) -> int:
        """Return how many inputs of a pool wait, here and in the ledger as far as is known."""
        line = self._lines.get(pool)
        return 0 if line is None else line.waiting

    def more(self, pool: str) -> None:
        """The ledger may have inputs of a pool."""
        line = self._lines.get(pool)
        if line is not None:
            line.wake()
            self.poke()

    def trim(self) -> None:
        """Give back what waits here in vain, and has done so for a while."""
        now = self._clock.monotonic()
        for line in self._lines.values():
            wanted, held = self._around.wanted(line.pool)
            starved = self._around.starved(line.pool)
            excess = len(line) if starved else min(len(line), held + len(line) - wanted.most)
            if excess <= 0:
                line.vain = None
            elif line.vain is None:
                line.vain = now
            elif now - line.vain >= (_STARVED if starved else _IN_VAIN):
                claims = line.clear() if starved else line.take_last(excess)
                # Whatever keeps this machine from running them, it is to go on trying.
                line.wake()
                line.backlog += len(claims)
                line.rests_until = now + _STARVED if starved else now
                self._return(claims)

    def heard(self, rings: Sequence[Ring]) -> None:
        """Doorbells rang, and were answered."""
        for ring in rings:
            line = self._lines.get(ring.pool)
            if line is not None:
                line.heard(ring)
        self.poke()

    # The port

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        """See `agent.ports.Claims`: take inputs that are here."""
        line = self._lines.get(pool)
        if line is None:
            return []
        claims = line.take(limit)
        late = [c for c in claims if c.deadline is not None and c.deadline <= now]
        if late:
            self._loop.call_soon(self._around.overdue, late)
            claims = [claim for claim in claims if claim not in late]
        self.poke()
        return claims

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        """See `agent.ports.Claims`: they wait here again, unless this machine leaves."""
        mine = [self._mine(*each) for each in claims]
        found = [held for held in mine if held is not None]
        for held in found:
            held.claim.payload = held.payload
        for pool, group in groupby(found, lambda held: held.claim.pool):
            again = [held.claim for held in group]
            line = self._lines.get(pool)
            if line is None or not self._open:
                self._return(again)
            else:
                line.put_back(again)
        return [held is not None for held in mine]

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        """See `agent.ports.Claims`."""
        held = self._mine(seq, fence)
        if held is None:
            return False
        del self._held[seq]
        self._around.released(held.claim)
        pool = held.claim.pool

        def waits_again() -> None:
            delay = not_before - self._clock.wall()
            self._loop.call_later(max(0.0, delay), self.more, pool)

        self._outbox.retry(held.claim, counters, not_before, alone=alone, done=waits_again)
        return True

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        """See `agent.ports.Claims`: False for what is not this machine's any more."""
        verdicts = []
        for entry in entries:
            held = self._mine(entry.seq, entry.fence)
            verdicts.append(held is not None)
            if held is not None:
                del self._held[entry.seq]
                self._around.ended(held.claim, entry)
        return verdicts

    def counts(self, pool: str) -> PoolCounts:
        """See `agent.ports.Claims`: what is here."""
        line = self._lines.get(pool)
        return PoolCounts(0 if line is None else len(line), 0, 0)

    def _mine(self, seq: int, fence: int) -> _Held | None:
        held = self._held.get(seq)
        return held if held is not None and held.claim.fence == fence else None

    def _return(self, claims: Sequence[Claim]) -> None:
        """Give claims back to the ledger: other machines may run them."""
        for claim in claims:
            self._held.pop(claim.seq, None)
            self._around.released(claim)
        if claims:
            self._outbox.give_back([(claim.seq, claim.fence) for claim in claims])

    # Going on

    def poke(self) -> None:
        """Something changed: see whether to claim, and to which doorbells to listen."""
        if self._check is None:
            self._check = self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._check = None
        deaf, now = set(), self._clock.monotonic()
        for line in self._lines.values():
            wanted, held = self._around.wanted(line.pool)
            have = held + line.coming
            room = self._open and have < wanted.enough and now >= line.rests_until
            if line.more and room and not line.asking:
                self._ask(line, lot(wanted, have))
            elif line.more and not room:
                self._ring_again(line)
            if not room or line.more:
                deaf.add(line.pool)
        lines = self._lines.values() if self._open else ()
        self._around.listen(frozenset(each.function_id for each in lines if each.pool not in deaf))

    def _ask(self, line: Line, limit: int) -> None:
        """Claim some inputs."""
        if limit <= 0:
            return
        line.ask(limit)
        era = self._era

        def work() -> list[Claim]:
            return self._ledger.claim(line.pool, limit, self._clock.wall())

        def done(claims: list[Claim]) -> None:
            line.asking = line.failures = 0
            if era != self._era or self._lines.get(line.pool) is not line or not self._open:
                self._outbox.give_back([(claim.seq, claim.fence) for claim in claims])
                return
            if len(claims) < limit:
                line.exhausted()
            else:
                line.claimed(len(claims))
                self._count(line)
            self._take(line, claims)
            self.poke()

        def failed(error: Error) -> None:
            _log.warning("inputs of %s cannot be claimed: %s", line.pool, error)
            # It stays as if it asked, until it may ask again.
            line.failures += 1
            pause = min(_LONGEST_PAUSE, _PAUSE * 2 ** min(line.failures, 10))
            self._loop.call_later(pause, self._asked_in_vain, line, era)

        self._threads.do(work, done, failed)

    def _asked_in_vain(self, line: Line, era: int) -> None:
        if era == self._era:
            line.asking = 0
            self.poke()

    def _take(self, line: Line, claims: Sequence[Claim]) -> None:
        """Claims came: those with small arguments wait from now on."""
        ready = [claim for claim in claims if not is_blob(claim.payload)]
        for claim in claims:
            self._held[claim.seq] = _Held(claim, claim.payload)
            if is_blob(claim.payload):
                line.fetching += 1
                self._fetch(line, claim, self._era)
        line.add(ready)
        if ready or line.waiting:
            self._around.arrived(line.pool)

    def _fetch(self, line: Line, claim: Claim, era: int, failures: int = 0) -> None:
        if era != self._era:
            return
        self._threads.do(
            lambda: self._around.fetch(claim),
            lambda _: self._fetched(line, claim, era),
            lambda error: self._unfetched(line, claim, era, failures, error),
        )

    def _fetched(self, line: Line, claim: Claim, era: int) -> None:
        if era != self._era:
            return
        line.fetching -= 1
        if self._mine(claim.seq, claim.fence) is None:
            return  # it was cancelled meanwhile
        if self._lines.get(line.pool) is not line or not self._open:
            self._return([claim])
            return
        line.add([claim])
        self._around.arrived(line.pool)

    def _unfetched(self, line: Line, claim: Claim, era: int, failures: int, error: Error) -> None:
        if era != self._era:
            return
        lost = isinstance(error, DataLossError)
        if failures < _FETCHES and self._open and not lost:
            pause = _PAUSE * 2**failures
            self._loop.call_later(pause, self._fetch, line, claim, era, failures + 1)
            return
        line.fetching -= 1
        if lost:
            body = {"error": "DataLossError", "message": error.message, "hint": error.hint}
            self.record([Entry(claim.seq, claim.fence, Status.LOST, encode_json(body))])
        elif self._mine(claim.seq, claim.fence) is not None:
            _log.warning("arguments cannot be fetched: %s", error)
            self._return([claim])

    def _count(self, line: Line) -> None:
        """Ask how much waits in the ledger, since there is more than was claimed.

        That is for containers to be started by; where there may be no more, it is of no use.
        """
        if not self._around.may_grow(line.pool):
            return
        now = self._clock.monotonic()
        if now - line.counted < max(_COUNT_PAUSE, line.backlog / _COUNTED_IN_A_SECOND):
            return
        line.counted = now

        def counted(counts: PoolCounts) -> None:
            line.backlog = counts.pending
            if self._lines.get(line.pool) is line:
                self._around.arrived(line.pool)

        def failed(error: Error) -> None:
            _log.warning("inputs of %s cannot be counted: %s", line.pool, error)

        self._threads.do(lambda: self._ledger.counts(line.pool), counted, failed)

    def _ring_again(self, line: Line) -> None:
        """There is more than fits here: other machines shall hear of it."""
        rings = line.take_rings()
        if rings:
            self._threads.do(
                lambda: self._doorbells.ring(rings),
                lambda _: None,
                lambda error: _log.warning("doorbells cannot be rung: %s", error),
            )
