"""What a Ledger in memory keeps, and what it takes to undo a change."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from cloudfn.model.call import Counters, Status
from cloudfn.providers.ledger import CallRecord, CallSpec


@dataclass(slots=True, eq=False)
class Input:
    """One input, from its admission to its outcome and beyond."""

    seq: int
    call: Call
    index: int
    payload: bytes
    status: Status = Status.PENDING
    fence: int = 0
    counters: Counters = field(default_factory=Counters)
    not_before: float = 0.0
    alone: bool = False
    outcome: bytes | None = None
    buried: bool = False

    @property
    def deadline(self) -> float | None:
        terms = self.call.spec.terms
        return terms.deadline if terms else None

    def is_late(self, now: float) -> bool:
        """Whether it must not begin any more."""
        return self.deadline is not None and self.deadline <= now


@dataclass(slots=True, eq=False)
class Call:
    """One call, with all of its inputs."""

    spec: CallSpec
    inputs: tuple[Input, ...] = ()
    sealed: bool = False
    cancelled: bool = False
    expired: bool = False
    ended: float | None = None
    digests: tuple[bytes, ...] = ()
    #: (status, outcome) of inputs that were finished before it was reopened, by index
    settled: dict[int, tuple[Status, bytes | None]] = field(default_factory=dict)
    total: int | None = None

    @property
    def unfinished(self) -> list[Input]:
        return [each for each in self.inputs if not each.status.terminal]

    @property
    def complete(self) -> bool:
        return (self.sealed or self.cancelled) and not self.unfinished

    def record(self) -> CallRecord:
        finished = [each for each in self.inputs if each.status.terminal]
        failed = sum(each.status != Status.RETURNED for each in finished)
        known = len(self.inputs)
        return CallRecord(
            self.spec,
            known,
            self.sealed,
            len(finished),
            self.cancelled,
            failed,
            self.expired,
            known if self.sealed else self.total,
        )


@dataclass(slots=True)
class Undo:
    """How things were at the last commit, as far as they changed."""

    calls: dict[str, Call]
    values: dict[Input | Call, tuple[Any, ...]] = field(default_factory=dict)
    #: the last fences of claims that ended
    ended_claims: dict[Input, int] = field(default_factory=dict)

    def keep(self, thing: Input | Call) -> None:
        """Remember a thing that is about to change."""
        if thing not in self.values:
            self.values[thing] = tuple(getattr(thing, each.name) for each in fields(thing))

    def restore(self) -> None:
        """Put everything back."""
        for thing, values in self.values.items():
            for each, value in zip(fields(thing), values, strict=True):
                setattr(thing, each.name, value)
