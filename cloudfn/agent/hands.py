"""What a container holds: inputs in a line, of which one runs, or in slots, which all run.

No I/O; times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from cloudfn.providers.ledger import Claim


class Hands(Protocol):
    """The claims in a container's hands."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __iter__(self) -> Iterator[Claim]:
        """Yield them, the longest held first."""
        ...

    def __contains__(self, claim: object, /) -> bool:
        """Whether it is among them."""
        ...

    @property
    def running(self) -> int:
        """How many of them run."""
        ...

    def taken(self) -> int:
        """Return how many slots they take."""
        ...

    def age(self, now: float) -> float:
        """Return how long those that run have run, on average."""
        ...

    def all_among(self, seqs: Collection[int]) -> bool:
        """Whether some run, and these are all of them."""
        ...

    def take(self, claims: Sequence[Claim], now: float) -> None:
        """Take claims that were handed over together."""
        ...

    def find(self, seq: int) -> Claim | None:
        """Return the claim of an input."""
        ...

    def finish(self, seq: int, fence: int) -> Claim | None:
        """Remove and return a claim that has its outcome; None if there is no such claim here."""
        ...

    def progressed(self, now: float) -> None:
        """Outcomes came: what is next begins."""
        ...

    def drop(self, unread: Collection[int]) -> list[Claim]:
        """Remove and return claims that were taken back before they began."""
        ...

    def sole(self) -> int:
        """Return the number of the input that output belongs to which says nothing; 0: unclear."""
        ...

    def crowded(self, now: float) -> float | None:
        """Return for how long something may have waited behind the others; None: nothing can."""
        ...

    def take_overdue(self, timeout: float, now: float) -> list[Claim]:
        """Remove and return claims that have run for longer than `timeout`."""
        ...

    def shares(self, claim: Claim) -> bool:
        """Whether it runs in one batch with others that are unfinished."""
        ...

    def clear(self) -> None:
        """Hold nothing any more."""
        ...


class Line(deque[Claim]):
    """Inputs of a container that runs one at a time: the first one."""

    since = 0.0

    @property
    def running(self) -> int:
        """How many of them run."""
        return 1 if self else 0

    def taken(self) -> int:
        """Return how many slots they take."""
        return 1 if self else 0

    def age(self, now: float) -> float:
        """Return how long the first one has run."""
        return now - self.since if self else 0.0

    def all_among(self, seqs: Collection[int]) -> bool:
        """Whether the first one is among these."""
        return bool(self) and self[0].seq in seqs

    def take(self, claims: Sequence[Claim], now: float) -> None:
        """Take claims that were handed over together."""
        if not self:
            self.since = now
        self.extend(claims)

    def find(self, seq: int) -> Claim | None:
        """Return the claim of an input."""
        return next((claim for claim in self if claim.seq == seq), None)

    def finish(self, seq: int, fence: int) -> Claim | None:
        """Remove and return the claim that runs; None if it is another one."""
        if not self or self[0].seq != seq or self[0].fence != fence:
            return None
        return self.popleft()

    def progressed(self, now: float) -> None:
        """Outcomes came: the next one begins."""
        self.since = now

    def drop(self, unread: Collection[int]) -> list[Claim]:
        """Remove and return claims that were taken back before they began."""
        if not unread:
            return []
        dropped = [claim for claim in self if claim.seq in unread]
        kept = [claim for claim in self if claim.seq not in unread]
        self.clear()
        self.extend(kept)
        return dropped

    def sole(self) -> int:
        """Return the number of the input that runs, 0 for none."""
        return self[0].seq if self else 0

    def crowded(self, now: float) -> float | None:
        """Return for how long the others have waited behind the first; None: there are none."""
        return now - self.since if len(self) > 1 else None

    def take_overdue(self, timeout: float, now: float) -> list[Claim]:
        """Remove and return the claim that runs if it has run for longer than `timeout`."""
        return [self.popleft()] if self and now - self.since > timeout else []

    def shares(self, _claim: Claim) -> bool:
        """Return False: nothing runs beside it."""
        return False


class _Unit:
    """What runs together: one input, or a batch."""

    __slots__ = ("claims", "since")

    def __init__(self, claims: Sequence[Claim], since: float) -> None:
        self.claims = {claim.seq: claim for claim in claims}
        self.since = since


class Slots:
    """Inputs of a container that runs several at once, singly or in batches.

    Args:
        batch_size: Slots that a batch takes, however few inputs it has; 1: no batches.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._units: dict[int, _Unit] = {}
        #: since when something may lie unread; None: all was read
        self._unread_since: float | None = None

    def __len__(self) -> int:
        return len(self._units)

    def __iter__(self) -> Iterator[Claim]:
        return iter([unit.claims[seq] for seq, unit in self._units.items()])

    def __contains__(self, claim: object) -> bool:
        return isinstance(claim, Claim) and self.find(claim.seq) is claim

    @property
    def running(self) -> int:
        """How many of them run: all."""
        return len(self._units)

    def taken(self) -> int:
        """Return how many slots they take: a batch takes all of its own until its end."""
        if self._batch_size == 1:
            return len(self._units)
        return len(set(self._units.values())) * self._batch_size

    def age(self, now: float) -> float:
        """Return how long they have run, on average."""
        if not self._units:
            return 0.0
        return now - sum(unit.since for unit in self._units.values()) / len(self._units)

    def all_among(self, seqs: Collection[int]) -> bool:
        """Whether some run, and these are all of them."""
        return bool(self._units) and all(seq in seqs for seq in self._units)

    def take(self, claims: Sequence[Claim], now: float) -> None:
        """Take claims that were handed over together: a batch, where there are batches."""
        size = self._batch_size
        units = [_Unit(claims, now)] if size > 1 else [_Unit((claim,), now) for claim in claims]
        self._units |= {seq: unit for unit in units for seq in unit.claims}
        if self._unread_since is None:
            self._unread_since = now

    def find(self, seq: int) -> Claim | None:
        """Return the claim of an input."""
        unit = self._units.get(seq)
        return None if unit is None else unit.claims[seq]

    def finish(self, seq: int, fence: int) -> Claim | None:
        """Remove and return a claim that has its outcome; None if there is no such claim here."""
        claim = self.find(seq)
        if claim is None or claim.fence != fence:
            return None
        return self._units.pop(seq).claims.pop(seq)

    def progressed(self, now: float) -> None:
        """Outcomes came: nothing waited for them."""

    def drop(self, unread: Collection[int]) -> list[Claim]:
        """Remove and return claims that were taken back before they began."""
        self._unread_since = None
        units = [(seq, self._units.pop(seq)) for seq in unread if seq in self._units]
        return [unit.claims.pop(seq) for seq, unit in units]

    def sole(self) -> int:
        """Return the number of the only input, 0 if there are more or none."""
        return next(iter(self._units)) if len(self._units) == 1 else 0

    def crowded(self, now: float) -> float | None:
        """Return for how long something may have lain unread; None: nothing does."""
        return None if self._unread_since is None else now - self._unread_since

    def take_overdue(self, timeout: float, now: float) -> list[Claim]:
        """Remove and return claims that have run for longer than `timeout`."""
        overdue = [seq for seq, unit in self._units.items() if now - unit.since > timeout]
        return [self._units.pop(seq).claims.pop(seq) for seq in overdue]

    def shares(self, claim: Claim) -> bool:
        """Whether it runs in one batch with others that are unfinished."""
        unit = self._units.get(claim.seq)
        return unit is not None and len(unit.claims) > 1

    def clear(self) -> None:
        """Hold nothing any more."""
        self._units.clear()
