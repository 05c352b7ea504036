"""The shared ledger on one DynamoDB table. Does I/O; may be used from several threads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random, SystemRandom

from cloudfn.clock import Clock
from cloudfn.model.call import Counters, Status
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.crew import Crew
from cloudfn.providers.aws.ledger.calls import Calls
from cloudfn.providers.aws.ledger.claims import Claims
from cloudfn.providers.aws.ledger.counts import Counts
from cloudfn.providers.aws.ledger.ends import Ends
from cloudfn.providers.aws.ledger.janitor import Janitor
from cloudfn.providers.aws.ledger.outcomes import Outcomes
from cloudfn.providers.aws.ledger.returns import Returns
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.aws.ledger.submit import Submissions
from cloudfn.providers.aws.table import Table
from cloudfn.providers.doorbells import Ring
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
from cloudfn.providers.shared_ledger import Held, Overview, Repairs
from cloudfn.settings import Limits
from cloudfn.wire.seals import Seals


class DynamoLedger:
    """The SharedLedger port.

    A process that claims under the id of one that died gives back first what that one held:
    `repair(lambda holder: holder != mine, now)`.

    Args:
        clients: Where the client of DynamoDB comes from.
        table: Name of the table, with string keys pk and sk and TTL attribute `expires`.
        holder: Who claims: id of a machine, or of a client.
        inputs: Seals of inputs, of this environment.
        results: Seals of results, of this environment.
        limits: How many inputs a function may have.
        clock: What time it is.
        random: Makes labels of this process and nonces of calls; the system's when omitted.
        threads: How many pages are asked for at once.
    """

    # A composition root names each part, and tests choose chance and threads.
    def __init__(  # noqa: PLR0913
        self,
        clients: ClientSource,
        table: str,
        holder: str,
        inputs: Seals,
        results: Seals,
        limits: Limits,
        clock: Clock,
        *,
        random: Random | None = None,
        threads: int = 8,
    ) -> None:
        self._crew = Crew(threads)
        shelf = Shelf(
            Table(clients, table, clock),
            holder,
            inputs,
            results,
            limits,
            clock,
            random or SystemRandom(),
            self._crew,
        )
        self._book = shelf.book
        self._counts = Counts(shelf)
        self._returns = Returns(shelf, self._counts)
        self._claims = Claims(shelf, self._returns)
        self._outcomes = Outcomes(shelf, self._counts)
        self._calls = Calls(shelf)
        self._ends = Ends(shelf, self._counts, self._calls, self._outcomes)
        self._submissions = Submissions(shelf, self._counts, self._ends.forget)
        self._janitor = Janitor(shelf, self._counts)

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
        self._book.see(now)
        return self._submissions.submit(call, first, payloads, sealed=sealed, digests=digests)

    def rings(self) -> list[Ring]:
        self._claims.let_go()
        return self._book.take_rings()

    # Claims

    def hear(self, ring: Ring) -> None:
        self._claims.hear(ring)

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        return self._claims.claim(pool, limit, now)

    def overdue(self, now: float) -> list[Claim]:
        return self._claims.overdue(now)

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        return self._returns.give_back(claims)

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        return self._returns.retry(seq, fence, counters, not_before, alone=alone)

    def held(self, call_id: str) -> list[Held]:
        return self._calls.held(call_id)

    def repair(self, alive: Callable[[str], bool], now: float) -> Repairs:
        return self._janitor.repair(alive, now)

    # Outcomes

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        return self._outcomes.record(entries)

    def outcomes(self, call_id: str, start: int = 0, end: int | None = None) -> list[Outcome]:
        return self._outcomes.outcomes(call_id, start, end)

    def delivered(self, call_id: str, indices: Sequence[int]) -> None:
        self._outcomes.delivered(call_id, indices)

    def dead_letters(self, *, limit: int, call_id: str | None = None) -> list[DeadLetter]:
        return self._ends.dead_letters(limit=limit, call_id=call_id)

    def bury(self, call_id: str, indices: Sequence[int]) -> None:
        self._ends.bury(call_id, indices)

    # Calls end

    def cancel(self, call_id: str) -> list[tuple[int, int, int]]:
        self._submissions.forget(call_id)
        return self._ends.cancel(call_id)

    def forget(self, call_id: str) -> None:
        self._submissions.forget(call_id)
        self._ends.forget(call_id)

    def expire(self, now: float, retention: float) -> list[str]:
        return self._ends.expire(now, retention)

    def reopen(self, call: CallSpec) -> None:
        self._submissions.forget(call.call_id)
        self._ends.reopen(call)

    # Questions

    def call(self, call_id: str) -> CallRecord | None:
        return self._calls.call(call_id)

    def reply_to(self, call_id: str) -> str:
        return self._calls.reply_to(call_id)

    def named(self, name: str) -> str | None:
        return self._calls.named(name)

    def digests(self, call_id: str, start: int, end: int) -> list[bytes]:
        return self._calls.digests(call_id, start, end)

    def names(self) -> dict[str, str]:
        return self._calls.names()

    def digest_count(self, call_id: str) -> int:
        return self._calls.digest_count(call_id)

    def settled(self, call_id: str, start: int = 0, end: int | None = None) -> list[int]:
        return self._calls.settled(call_id, start, end)

    def calls(
        self,
        *,
        limit: int,
        functions: Collection[str] | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[CallRecord]:
        return self._calls.calls(limit=limit, functions=functions, since=since, until=until)

    def open_calls(self, function_id: str | None = None) -> list[CallRecord]:
        return self._calls.open_calls(function_id)

    def children(self, call_id: str) -> list[CallRecord]:
        return self._calls.children(call_id)

    def statuses(self, call_id: str) -> list[Status]:
        return self._calls.statuses(call_id)

    def counts(self, pool: str) -> PoolCounts:
        return self._counts.counts(pool)

    def pools(self) -> list[str]:
        return self._counts.pools()

    def next_due(self, now: float) -> float | None:
        return self._counts.next_due(now)

    def overview(self, now: float) -> Overview:
        return self._counts.overview(now)

    # What survives

    def commit(self) -> None:
        """Have nothing to do: what a method wrote is durable when it returns."""

    def sync(self) -> None:
        """Have nothing to do."""

    def close(self) -> None:
        """End the threads; connections belong to who made the clients."""
        self._crew.close()
