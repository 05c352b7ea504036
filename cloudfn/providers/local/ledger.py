"""The ledger of one machine: SQLite, with what waits and runs in memory. Does I/O.

Memory is the working truth, the file what survives. Changes are buffered, and `commit` writes them
in one transaction. When that fails, the file is as it was, and memory is read from it again, with
one exception: whoever holds a claim keeps it. An input that was released since the last commit runs
again under the fence that released it. So holders repeat what they wrote, and it counts once.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Self

from cloudfn.errors import Error, ExecutionError, NotFoundError
from cloudfn.model.call import Counters, Status
from cloudfn.providers.ledger import (
    Admission,
    CallRecord,
    CallSpec,
    Claim,
    DeadLetter,
    Entry,
    Outcome,
    PoolCounts,
)
from cloudfn.providers.local.admission import admit
from cloudfn.providers.local.power import LogSync
from cloudfn.providers.local.records import (
    BLOCK_BITS,
    DELIVERED,
    Call,
    Page,
    Scar,
)
from cloudfn.providers.local.recovery import load_scars, lose_running, queue_scarred, restore_held
from cloudfn.providers.local.residents import Budget, Residents
from cloudfn.providers.local.schema import PATIENCE, log_path, open_database
from cloudfn.providers.local.store import Store
from cloudfn.settings import Limits
from cloudfn.wire.messages import DIGEST

#: calls that `expire` drops at a time, so that nobody waits long for it
_EXPIRED_AT_ONCE = 10_000

_BUDGET = Budget()
_STATUSES = tuple(Status)
_RETURNED = int(Status.RETURNED)
_LAST = int(Status.LOST)


class SqliteLedger:
    """The Ledger port over one SQLite file, for one single-threaded process that owns it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        limits: Limits,
        now: float,
        budget: Budget,
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._owner = os.getpid()
        self._now = now
        self._store = Store(connection, path)
        self._power = LogSync(log_path(path))
        #: finished calls that wait for a time to be stamped with
        self._unstamped: list[Call] = []
        #: claims that ended since the last commit
        self._recorded: list[tuple[Sequence[Entry], list[bool]]] = []
        self._released: list[tuple[int, int]] = []
        epoch = self._store.number("SELECT value FROM meta WHERE name='epoch'") + 1
        self._budget = budget
        self._memory = Residents(self._store, epoch, budget)
        self._store_epoch()

    @classmethod
    def open(
        cls,
        path: Path,
        limits: Limits,
        *,
        now: float,
        patience: float = PATIENCE,
        budget: Budget = _BUDGET,
    ) -> Self:
        """Open a ledger, or create it. What ran when its last owner died, counts as lost once.

        Args:
            path: The file; its directory exists and belongs to the owner alone.
            limits: How many inputs a function may have.
            now: Seconds since the epoch.
            patience: Seconds to wait for another process that has the file.
            budget: How much of it may be in memory.

        Raises:
            VersionError: A newer cloudfn wrote it.
            DataLossError: It is damaged; it was moved aside.
            ExecutionError: Another process has it, or it cannot be opened.
            ResourceExhaustedError: The disk is full.
        """
        ledger = cls(open_database(path, now, patience), path, limits, now, budget)
        try:
            ledger._recover(now)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _recover(self, now: float) -> None:
        load_scars(self._memory, self._store)
        lose_running(self._memory, self._store)
        queue_scarred(self._memory, now)
        self._stamp_leftovers(now)
        self.commit()

    def close(self) -> None:
        """Give the file back; what is not committed is lost. Idempotent."""
        if os.getpid() != self._owner:
            return
        self._power.close()
        self._connection.close()

    # Inputs come

    def submit(
        self,
        call: CallSpec,
        first: int,
        payloads: Sequence[bytes],
        *,
        sealed: bool,
        now: float,
        digests: Sequence[bytes] = (),
    ) -> Admission:
        self._see(now)
        admission = admit(self._memory, self._limits, call, first, payloads, sealed=sealed)
        if digests:
            self._memory.note_digests(
                call.call_id, first, digests[: max(admission.known - first, 0)]
            )
        if sealed:
            known = self._memory.find(call.call_id)
            if known is not None:
                self._note_end(known)
        return admission

    # Claims

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        self._see(now)
        queue = self._memory.queue
        claims = queue.claim(pool, limit)
        if queue.epoch != self._epoch:
            self._store_epoch()
        return claims

    def overdue(self, now: float) -> list[Claim]:
        self._see(now)
        queue = self._memory.queue
        claims, queue.late = queue.late, []
        if queue.epoch != self._epoch:
            self._store_epoch()
        return claims

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        self._check_owner()
        return [self._release(seq, fence) for seq, fence in claims]

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        self._check_owner()
        return self._release(seq, fence, Scar(counters, not_before, alone))

    def _release(self, seq: int, fence: int, scar: Scar | None = None) -> bool:
        """RUNNING → PENDING, or CANCELLED if the call is; False if the fence is superseded."""
        page = self._memory.queue.release(seq, fence)
        if page is None:
            return False
        self._released.append((seq, fence))
        call = page.call
        if call.cancelled:
            self._memory.end(page, seq, Status.CANCELLED)
            self._note_end(call)
            return True
        if scar is not None:
            before = call.scars.get(seq)
            deadline = before.deadline if before else None
            self._memory.hurt(call, seq, scar._replace(deadline=deadline))
        self._memory.queue.add_back(page, seq, fence, self._now)
        return True

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        self._check_owner()
        running = self._memory.queue.running
        results = []
        last: Page | None = None
        ended = 0
        for entry in entries:
            seq, status = entry.seq, entry.status
            hold = running.get(seq)
            if hold is None or hold[1] != entry.fence or status < _RETURNED:
                results.append(False)
                continue
            del running[seq]
            page = hold[0]
            if page is not last:
                if last is not None:
                    self._end(last, ended)
                last, ended = page, 0
            call = page.call
            index = seq - page.seq + page.first
            call.statuses[index] = status
            call.outcomes.append((index, entry.payload))
            call.changed.add(index >> BLOCK_BITS)
            if status != _RETURNED:
                call.failed += 1
                self._memory.keep_dead(page, seq, status)
            if call.scars:
                self._memory.heal(call, seq)
            ended += 1
            results.append(True)
        if last is not None:
            self._end(last, ended)
            self._recorded.append((entries, results))
        return results

    def _end(self, page: Page, ended: int) -> None:
        """Count `ended` running inputs of a page as finished."""
        call = page.call
        call.running -= ended
        call.finished += ended
        call.lane.running -= ended
        self._store.dirty[call] = None
        page.left -= ended
        if not page.left:
            self._memory.finish_page(page)
        if call.finished == len(call.statuses):
            self._note_end(call)

    # Outcomes go

    def outcomes(self, call_id: str, start: int = 0, end: int | None = None) -> list[Outcome]:
        call = self._find(call_id)
        if call is None:
            raise NotFoundError(f"There is no call {call_id}.", hint="See `cloudfn call list`.")
        end = len(call.statuses) if end is None else min(end, len(call.statuses))
        return [] if call.expired else self._store.outcomes(call, start, end)

    def delivered(self, call_id: str, indices: Sequence[int]) -> None:
        call = self._find(call_id)
        if call is not None and not call.spec.durable:
            self._memory.deliver(call, indices)

    def dead_letters(self, *, limit: int, call_id: str | None = None) -> list[DeadLetter]:
        self._check_owner()
        self._store.flush()
        found = []
        for number, index, payload in self._store.dead(limit, call_id):
            call = self._memory.numbered(number)
            if index >= len(call.statuses):
                continue  # it was begun anew, and its client has not come as far
            (outcome,) = self._store.outcomes(call, index, index + 1)
            found.append(DeadLetter(call.spec, index, outcome.status, outcome.payload, payload))
        return found

    def bury(self, call_id: str, indices: Sequence[int]) -> None:
        call = self._find(call_id)
        if call is not None:
            self._store.bury(call, indices)

    # Calls end

    def cancel(self, call_id: str) -> list[tuple[int, int, int]]:
        call = self._find(call_id)
        if call is None or call.complete:
            return []
        running = list(self._memory.queue.running_of(call))
        if not call.cancelled:
            self._memory.cancel(call, {page for _, (page, _) in running})
            self._note_end(call)
        return sorted((seq, fence, page.first + seq - page.seq) for seq, (page, fence) in running)

    def forget(self, call_id: str) -> None:
        call = self._find(call_id)
        if call is None:
            return
        for seq, (_, fence) in list(self._memory.queue.running_of(call)):
            del self._memory.queue.running[seq]
            self._released.append((seq, fence))
        self._memory.forget(call)

    def expire(self, now: float, retention: float) -> list[str]:
        self._check_owner()
        # What ended since a method told the time ended about then, not just now.
        self._stamp(self._now)
        self._see(now)
        store = self._store
        store.flush()
        query = "SELECT number, id FROM call WHERE expired=? AND ended<=? ORDER BY ended LIMIT ?"
        for _, call_id in store.read(query, (1, now - 2 * retention, _EXPIRED_AT_ONCE)):
            self.forget(call_id)
        rows = store.read(query, (0, now - retention, _EXPIRED_AT_ONCE))
        for number, _ in rows:
            store.execute("UPDATE call SET expired=1 WHERE number=?", (number,))
            store.execute("DELETE FROM outcome WHERE call=?", (number,))
            store.execute("DELETE FROM dead WHERE call=?", (number,))
            call = self._memory.get(number)
            if call is not None:
                call.expired = True
                call.chunks.clear()
        return [call_id for _, call_id in rows]

    # Questions

    def call(self, call_id: str) -> CallRecord | None:
        call = self._find(call_id)
        return None if call is None else call.record()

    def named(self, name: str) -> str | None:
        self._check_owner()
        self._store.flush()
        query = "SELECT c.id FROM extra x JOIN call c ON c.number=x.call WHERE x.name=?"
        rows = self._store.read(query, (name,))
        return rows[0][0] if rows else None

    def digests(self, call_id: str, start: int, end: int) -> list[bytes]:
        call = self._find(call_id)
        data = bytes(call.digests[start * DIGEST : end * DIGEST]) if call else b""
        return [data[at : at + DIGEST] for at in range(0, len(data), DIGEST)]

    def names(self) -> dict[str, str]:
        self._check_owner()
        self._store.flush()
        query = "SELECT x.name, c.id FROM extra x JOIN call c ON c.number=x.call"
        return dict(self._store.read(f"{query} WHERE x.name IS NOT NULL"))

    def digest_count(self, call_id: str) -> int:
        call = self._find(call_id)
        return len(call.digests) // DIGEST if call else 0

    def settled(self, call_id: str, start: int = 0, end: int | None = None) -> list[int]:
        call = self._find(call_id)
        if call is None:
            return []
        known = len(call.statuses)
        end = max(known, len(call.settled)) if end is None else end
        later = enumerate(call.settled[max(start, known) : end], max(start, known))
        return [*range(start, min(known, end)), *(index for index, status in later if status)]

    def reopen(self, call: CallSpec) -> None:
        known = self._find(call.call_id)
        if known is not None:
            self._memory.reopen(known, call)

    def calls(
        self,
        *,
        limit: int,
        functions: Collection[str] | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[CallRecord]:
        self._check_owner()
        # All ids are one value: a statement takes a limited number of them.
        ids = None if functions is None else dumps([*functions])
        of = "l.function IN (SELECT value FROM json_each(?))"
        wanted = {of: ids, "c.created>=?": since, "c.created<=?": until}
        given = {clause: value for clause, value in wanted.items() if value is not None}
        where = f"WHERE {' AND '.join(given)} " if given else ""
        values = (*given.values(), limit)
        return self._store.records(f"{where}ORDER BY c.number DESC LIMIT ?", values)

    def open_calls(self, function_id: str | None = None) -> list[CallRecord]:
        self._check_owner()
        where = "WHERE (c.durable=0 OR c.sealed=0 OR c.finished<c.known)"
        if function_id is None:
            return self._store.records(f"{where} ORDER BY c.number", ())
        return self._store.records(f"{where} AND l.function=? ORDER BY c.number", (function_id,))

    def children(self, call_id: str) -> list[CallRecord]:
        self._check_owner()
        return self._store.records("WHERE c.parent_call=? ORDER BY c.number", (call_id,))

    def statuses(self, call_id: str) -> list[Status]:
        call = self._find(call_id)
        if call is None:
            return []
        return [_STATUSES[status & ~DELIVERED] for status in call.statuses]

    def counts(self, pool: str) -> PoolCounts:
        pending = delayed = running = 0
        known = self._memory.queue.pools.get(pool)
        for lane in known.lanes if known else ():
            pending += lane.pending
            delayed += lane.delayed
            running += lane.running
        return PoolCounts(pending, delayed, running)

    def pools(self) -> list[str]:
        pools = self._memory.queue.pools.values()
        return [p.name for p in pools if any(lane.waiting or lane.running for lane in p.lanes)]

    def next_due(self, now: float) -> float | None:
        self._see(now)
        return self._memory.queue.next_due()

    # What survives

    def commit(self) -> None:
        """See the port.

        Raises:
            ResourceExhaustedError: The disk is full; what was written since the last commit is
                undone, but for the claims that are held.
            ExecutionError: The disk fails in another way; undone likewise.
            DataLossError: The file is damaged.
        """
        self._check_owner()
        try:
            self._store.commit()
        except Error:
            self._reload()
            raise
        self._recorded.clear()
        self._released.clear()
        self._memory.sweep()

    def sync(self) -> None:
        self._power.sync()

    def _reload(self) -> None:
        """Read memory from the file again; whoever holds a claim keeps it."""
        held = {seq: hold[1] for seq, hold in self._memory.queue.running.items()}
        for seq, fence in self._ended_claims():
            held[seq] = max(fence, held.get(seq, 0))
        self._store.rollback()
        memory = Residents(self._store, self._memory.queue.epoch, self._budget, after=self._memory)
        memory.queue.late = self._memory.queue.late
        load_scars(memory, self._store)
        restore_held(memory, held)
        queue_scarred(memory, self._now)
        self._memory = memory
        self._store.resume()
        self._recorded.clear()
        self._released.clear()
        self._store_epoch()
        self._unstamped.clear()
        self._stamp_leftovers(self._now)

    def _ended_claims(self) -> Iterator[tuple[int, int]]:
        for entries, results in self._recorded:
            for entry, valid in zip(entries, results, strict=True):
                if valid:
                    yield entry.seq, entry.fence
        yield from self._released

    def _store_epoch(self) -> None:
        self._epoch = self._memory.queue.epoch
        self._store.set_epoch(self._epoch)

    def _see(self, now: float) -> None:
        """Take note of the time: who is due, and when calls ended."""
        self._check_owner()
        self._now = now
        self._memory.queue.promote(now)
        if self._unstamped:
            self._stamp(now)

    def _stamp(self, now: float) -> None:
        for call in self._unstamped:
            if call.ended is None and not call.gone:
                call.ended = now
                self._store.dirty[call] = None
        self._unstamped.clear()

    def _stamp_leftovers(self, now: float) -> None:
        """Stamp calls that are complete in the file or by a recovery, and have no stamp."""
        for call in self._memory.in_memory():
            self._note_end(call)
        self._stamp(now)
        self._store.execute(
            "UPDATE call SET ended=? "
            "WHERE ended IS NULL AND (sealed OR cancelled) AND finished=known",
            (now,),
        )

    def _note_end(self, call: Call) -> None:
        """Note that a call may be complete; the next method that knows the time says when."""
        if call.complete and call.ended is None:
            self._unstamped.append(call)

    def _find(self, call_id: str) -> Call | None:
        self._check_owner()
        return self._memory.find(call_id)

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise ExecutionError(
                "The ledger belongs to the process that opened it; this one was forked from it.",
                hint="Only the daemon uses the ledger; everything else asks the daemon.",
            )
