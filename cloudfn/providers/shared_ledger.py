"""The port of a ledger that several machines and clients share, beyond what every ledger does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import Ledger, PoolCounts


@dataclass(frozen=True, slots=True)
class Held:
    """An input that runs, and who holds it."""

    seq: int
    fence: int
    call_id: str
    index: int
    #: id of the machine
    holder: str


class Repairs(NamedTuple):
    """What a round of the janitor did."""

    #: inputs whose holder is gone, and that run again
    returned: int
    #: inputs that were lost too often, and have the outcome LOST
    given_up: int
    #: doorbells to ring: for what was returned, and for what waits and nobody heard of
    rings: tuple[Ring, ...]
    #: what was taken from holders that are gone, or that are only silent
    taken: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """All inputs that wait or run, at one moment."""

    #: by pool; those without any are not there
    counts: Mapping[str, PoolCounts]
    #: seconds since the epoch at which some that wait may run, or are too late; None: never
    next_due: float | None
    #: how many records were read for it
    size: int


class SharedLedger(Ledger, Protocol):
    """A `Ledger` of many processes. Safe to share between threads; methods block.

    Each process opens it as somebody: a machine by its id, which then holds what it claims, or a
    client. Writes are durable when a method returns; `commit` and `sync` have nothing to do.
    Who gets no answer asks again. `record` is all or nothing for each outcome: asked again with the
    same entries, it says True for what is recorded as they say. `give_back` and `retry` say False
    the second time, and what was done is done. A claim without an answer is handed out by the next
    one of the same process, or given back by its next `rings`.

    A process that opens it as a machine which died before returns first what that one held, with
    `repair`: nobody else can tell the two apart.
    """

    def rings(self) -> list[Ring]:
        """Return, once, the doorbells to ring for what this process made claimable until now."""
        ...

    def hear(self, ring: Ring) -> None:
        """Look at this page first when inputs of its pool are claimed."""
        ...

    def held(self, call_id: str) -> list[Held]:
        """Return the inputs of a call that run."""
        ...

    def repair(self, alive: Callable[[str], bool], now: float) -> Repairs:
        """Return inputs to the queue whose holder is not alive, and find what waits unheard.

        Every write is conditional on the fence that was read, so that janitors may be several.

        Args:
            alive: Whether a machine still holds its lease; a machine that never joined does not.
            now: Seconds since the epoch.
        """
        ...

    def overview(self, now: float) -> Overview:
        """Return what `pools`, `counts` and `next_due` say, of all pools at once."""
        ...

    def reply_to(self, call_id: str) -> str:
        """Return the address in `Wakeups` of the client that made a call; empty for none."""
        ...
