"""What an agent needs of those around it, and what it is told about its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.zygotes import Template, TemplateOwner, Zygotes
from cloudfn.model.call import Counters
from cloudfn.model.gpu import Gpu
from cloudfn.providers.ledger import Claim, Entry, PoolCounts
from cloudfn.wire.messages import LogSource


class Claims(Protocol):
    """The part of the ledger that a holder of claims uses; see `providers.ledger.Ledger`."""

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        """Take waiting inputs of a pool."""
        ...

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        """Return what never started."""
        ...

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        """Have an input run again."""
        ...

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        """Record outcomes."""
        ...

    def counts(self, pool: str) -> PoolCounts:
        """Return a pool's exact counts."""
        ...


class AgentEvents(Protocol):
    """Who is told what happens on the machine."""

    def recorded(self, ended: Sequence[tuple[Claim, Entry]]) -> None:
        """Inputs have these outcomes in the ledger (not committed yet)."""
        ...

    def changed(self) -> None:
        """Containers came, went or changed state, or inputs wait: the planner should look."""
        ...

    def print(
        self,
        pool: PoolSpec,
        container_id: str,
        claim: Claim | None,
        source: LogSource,
        data: bytes,
    ) -> None:
        """A container printed something."""
        ...

    def delayed(self) -> None:
        """An input waits for the time of its retry."""
        ...

    def ended(self, container_id: str) -> None:
        """A container is gone, and whatever results it had not delivered with it."""
        ...

    def adopt(self, claim: Claim, payload: bytes) -> bytes:
        """A result lies in a blob that the container wrote: return the reference to keep."""
        ...

    def yielded(self, claim: Claim, position: int, payload: bytes) -> int:
        """A generator yielded; return how many of its items, from 0 on, are wanted no more.

        Raises:
            Error: Nobody can take the item.
        """
        ...

    def gave_up(self, pool: PoolSpec, reason: str, packed: bytes) -> None:
        """No container of a pool can start: all its inputs that waited here ended so.

        Args:
            pool: The pool.
            reason: Why.
            packed: The exception of user code; empty: it raised none.
        """
        ...

    def discarded(self, payload: bytes) -> None:
        """A result in a blob that was adopted came too late, and counts for nothing."""
        ...


class Cells(Protocol):
    """Where Docker containers are started."""

    def start(
        self, spec: PoolSpec, container_id: str, gpus: tuple[str, ...], owner: TemplateOwner
    ) -> Template:
        """Start one with a template in it, whose end tells where it could not.

        Args:
            spec: The pool.
            container_id: What we call it.
            gpus: Ids of the devices that it has.
            owner: Is told what happens to the template.

        Raises:
            Error: Something that it needs is not there.
        """
        ...

    def close(self) -> None:
        """End all of them. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What an agent is told about its place."""

    #: what all processes come from
    zygotes: Zygotes
    #: what Docker containers come from
    cells: Cells
    #: variables that every container gets that is a process
    environ: dict[str, str]
    #: variables that identify one container: (container id, app id) → variables
    identity: Callable[[str, str], dict[str, str]]
    #: what else a container of a pool gets in its order; raises an Error when it is not there
    supplies: Callable[[PoolSpec, str], dict[str, Any]]
    #: the GPUs of this machine; containers see those that they were given
    gpus: tuple[Gpu, ...] = ()
    #: hand inputs over one by one, also where they are tiny; at most one waits in a container
    one_at_a_time: bool = False
    #: requests of one pool that may wait for a free slot
    web_pending: int = 2_000
    #: seconds that a container has to leave after its last input, with its exit hooks
    exit_grace: float = 30.0
