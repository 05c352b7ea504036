"""What waits on this machine for a container of one pool. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import Claim

#: rings that are kept to be rung again
_MOST_RINGS = 16


class Line:
    """Inputs of one pool that are claimed, and that no container has.

    Args:
        pool: Name of the pool.
        function_id: Its function, whose doorbell rings for it.
    """

    def __init__(self, pool: str, function_id: str) -> None:
        self.pool = pool
        self.function_id = function_id
        self._others: deque[Claim] = deque()
        self._alone: deque[Claim] = deque()
        self._turn = 0
        #: payloads of so many claims are on their way
        self.fetching = 0
        #: the ledger is being asked for so many
        self.asking = 0
        #: how often in a row it gave no answer
        self.failures = 0
        #: the ledger may have more
        self.more = True
        #: that is more than the question of who has just begun to serve: it is worth a container
        self._likely = False
        #: somebody said so since it was asked last
        self._news = False
        #: how many wait in the ledger, as far as is known, and when that was asked
        self.backlog = 0
        self.counted = float("-inf")
        #: since when more is here than is wanted, or no container is there for it; None: neither
        self.vain: float | None = None
        #: nothing is claimed before this monotonic time: others may have better luck
        self.rests_until = float("-inf")
        #: rings that were answered, while their pages may hold more
        self._rings: list[Ring] = []

    def __len__(self) -> int:
        return len(self._others) + len(self._alone)

    def __iter__(self) -> Iterator[Claim]:
        return chain(self._alone, self._others)

    @property
    def coming(self) -> int:
        """How many are here, or will be in a moment."""
        return len(self) + self.fetching + self.asking

    @property
    def waiting(self) -> int:
        """How many wait for a container of any machine, as far as is known here."""
        more = max(1, self.backlog) if self.more and self._likely else 0
        return len(self) + self.fetching + more

    def add(self, claims: Iterable[Claim]) -> None:
        """Let claims wait."""
        for claim in claims:
            (self._alone if claim.alone else self._others).append(claim)

    def put_back(self, claims: Iterable[Claim]) -> None:
        """Let claims wait again that never started, in front and in their order."""
        for claim in reversed(list(claims)):
            (self._alone if claim.alone else self._others).appendleft(claim)

    def take(self, limit: int) -> list[Claim]:
        """Remove and return the next ones; what must run alone comes alone, every other time."""
        if limit <= 0:
            return []
        self._turn += 1
        if self._alone and (self._turn % 2 or not self._others):
            return [self._alone.popleft()]
        return [self._others.popleft() for _ in range(min(limit, len(self._others)))]

    def remove(self, seq: int) -> bool:
        """Remove the claim of an input; return whether it waited."""
        for each in (self._alone, self._others):
            found = next((claim for claim in each if claim.seq == seq), None)
            if found is not None:
                each.remove(found)
                return True
        return False

    def take_last(self, count: int) -> list[Claim]:
        """Remove and return those that would wait longest; what runs alone has its own turns."""
        count = min(count, len(self._others))
        return [self._others.pop() for _ in range(count)][::-1]

    def claimed(self, count: int) -> None:
        """So many came from the ledger, and there may be more."""
        self._likely = True
        self.backlog = max(0, self.backlog - count)

    def clear(self) -> list[Claim]:
        """Remove and return all."""
        claims = list(self)
        self._others.clear()
        self._alone.clear()
        return claims

    def ask(self, limit: int) -> None:
        """The ledger is being asked for so many."""
        self.asking = limit
        self._news = False

    def wake(self) -> None:
        """The ledger may have more, perhaps more than who is asking just now will hear of."""
        self.more = self._news = self._likely = True

    def heard(self, ring: Ring) -> None:
        """A doorbell rang."""
        self.wake()
        # What was enclosed is told to the ledger, and old by the time it rings again.
        again = ring._replace(enclosed=b"")
        if again not in self._rings and len(self._rings) < _MOST_RINGS:
            self._rings.append(again)

    def take_rings(self) -> list[Ring]:
        """Remove and return the rings to be rung again: this machine has no room."""
        rings, self._rings = self._rings, []
        return rings

    def exhausted(self) -> None:
        """The ledger had no more when it was asked; what was heard since may be something else."""
        self.backlog = 0
        if not self._news:
            self.more = False
            self._rings.clear()
