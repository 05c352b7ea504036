"""A ledger in memory that several machines and clients share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from cloudfn.model.call import Again, ContainerLost, Counters, settle
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.endings import lost_payload
from cloudfn.providers.ledger import Admission, CallSpec, Claim, Entry
from cloudfn.providers.shared_ledger import Held, Overview, Repairs
from cloudfn.settings import Limits
from cloudfn.testing.memory_ledger import MemoryLedger

#: all inputs are on one page
_PAGE = "0"


@dataclass(slots=True)
class Records:
    """What all who share a ledger see."""

    ledger: MemoryLedger
    lock: RLock = field(default_factory=RLock)
    #: number of an input that runs → its claim, and who has it
    claims: dict[int, tuple[Claim, str]] = field(default_factory=dict)

    @classmethod
    def make(cls, limits: Limits | None = None) -> Records:
        """Make an empty ledger."""
        return cls(MemoryLedger(limits))


class MemorySharedLedger:
    """The `SharedLedger` port as one process opens it.

    Args:
        records: What is shared.
        holder: Who claims.
    """

    def __init__(self, records: Records, holder: str) -> None:
        self._records = records
        self._holder = holder
        #: pools of which this process made something claimable
        self._rings: dict[Ring, None] = {}

    def __getattr__(self, name: str) -> Any:
        """Return a method of the ledger below, whose writes hold when it returns."""
        method = getattr(self._records.ledger, name)

        def locked(*args: Any, **kwargs: Any) -> Any:
            with self._records.lock:
                result = method(*args, **kwargs)
                self._records.ledger.commit()
                return result

        return locked

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
        with self._records.lock:
            admission = self._records.ledger.submit(
                call, first, payloads, sealed=sealed, now=now, digests=digests
            )
            self._records.ledger.commit()
            if payloads:
                self._note(call.function_id, call.pool)
            return admission

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        with self._records.lock:
            claims = self._records.ledger.claim(pool, limit, now)
            self._records.ledger.commit()
            self._records.claims |= {claim.seq: (claim, self._holder) for claim in claims}
            return claims

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        with self._records.lock:
            for seq, fence in claims:
                self._free(seq, fence)
            given = self._records.ledger.give_back(claims)
            self._records.ledger.commit()
            return given

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        with self._records.lock:
            self._free(seq, fence)
            done = self._records.ledger.retry(seq, fence, counters, not_before, alone=alone)
            self._records.ledger.commit()
            return done

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        with self._records.lock:
            recorded = self._records.ledger.record(entries)
            self._records.ledger.commit()
            for entry in entries:
                self._drop(entry.seq, entry.fence)
            return recorded

    def rings(self) -> list[Ring]:
        with self._records.lock:
            rings, self._rings = list(self._rings), {}
            return rings

    def hear(self, ring: Ring) -> None:
        """See the port; there is one page."""

    def held(self, call_id: str) -> list[Held]:
        with self._records.lock:
            return [
                Held(claim.seq, claim.fence, call_id, claim.index, holder)
                for claim, holder in self._records.claims.values()
                if claim.call_id == call_id
            ]

    def repair(self, alive: Callable[[str], bool], now: float) -> Repairs:
        with self._records.lock:
            returned = given_up = 0
            taken = []
            for claim, holder in list(self._records.claims.values()):
                if alive(holder):
                    continue
                taken.append(Held(claim.seq, claim.fence, claim.call_id, claim.index, holder))
                lost = settle(claim.counters, ContainerLost("its machine is gone"), None)
                if isinstance(lost, Again):
                    returned += self.retry(claim.seq, claim.fence, lost.counters, 0.0)
                else:
                    reason = lost_payload(claim.call_id, claim.index, lost.reason)
                    entry = Entry(claim.seq, claim.fence, lost.status, reason)
                    given_up += self.record([entry])[0]
            for pool in self._records.ledger.pools():
                self._note(pool.rpartition("@")[0], pool)
            return Repairs(returned, given_up, tuple(self.rings()), tuple(taken))

    def overview(self, now: float) -> Overview:
        with self._records.lock:
            ledger = self._records.ledger
            counts = {pool: ledger.counts(pool) for pool in ledger.pools()}
            return Overview(counts, ledger.next_due(now), len(counts))

    def reply_to(self, call_id: str) -> str:
        with self._records.lock:
            record = self._records.ledger.call(call_id)
            return record.spec.reply if record else ""

    def commit(self) -> None:
        """See the port: every write holds when its method returns."""

    def sync(self) -> None:
        """See the port."""

    def close(self) -> None:
        """See the port; others go on."""

    def _note(self, function_id: str, pool: str) -> None:
        self._rings[Ring(function_id, pool, _PAGE)] = None

    def _free(self, seq: int, fence: int) -> None:
        """An input may be claimed again, by anybody."""
        claim = self._drop(seq, fence)
        if claim is not None:
            self._note(claim.pool.rpartition("@")[0], claim.pool)

    def _drop(self, seq: int, fence: int) -> Claim | None:
        claim, _ = self._records.claims.get(seq, (None, ""))
        if claim is None or claim.fence != fence:
            return None
        del self._records.claims[seq]
        return claim
