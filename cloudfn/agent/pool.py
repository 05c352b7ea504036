"""One pool as the agent runs it: its function, its containers, and what is known of them."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from cloudfn.agent.container import Container
from cloudfn.agent.dispatch import ServiceTime
from cloudfn.agent.zygotes import Program
from cloudfn.model.call import LOSS_CAP
from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.model.gpu import GpuWish
from cloudfn.model.variant import Variant

#: failed starts in a row after which the waiting inputs are failed
START_TRIES = 3
_BACKOFF = (0.2, 1.0, 5.0, 10.0, 30.0, 60.0)
#: steps of it that count where the outside is to blame, which may be well again at any time
_LOST_STEPS = 3


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a pool runs. One function at one revision."""

    pool: str
    app_id: str
    function_id: str
    revision: int
    function: FunctionSpec
    program: Program
    #: of a class: the values of its parameters, encoded
    parameters: dict[str, Any] = field(default_factory=dict)
    app_name: str = ""
    #: it serves this revision, whichever is live
    pinned: bool = False

    @property
    def shown(self) -> str:
        """Its name for people: that of the function, or of an instance of a class."""
        return Variant(self.parameters).shown(self.function.name)


@dataclass(slots=True)
class Pool:
    """The agent's state of one pool. Times are monotonic seconds."""

    spec: PoolSpec
    settings: AutoscalerSettings
    #: it serves the live revision of a live app
    live: bool = True
    #: which of the machine's GPUs each container needs; None: none
    gpu: GpuWish | None = None
    containers: dict[str, Container] = field(default_factory=dict)
    service: ServiceTime = field(default_factory=ServiceTime)
    #: seconds from asking for a container to ready, decayed
    start_time: float = 0.05
    last_active: float = 0.0
    last_lowered: float = 0.0
    #: when it last came to have containers, or to have none
    turned: float = 0.0
    failed_starts: int = 0
    #: times in a row that starting containers were taken away
    lost_starts: int = 0
    blocked_until: float = 0.0
    #: when the batch that waits is handed over, however small; on the loop's clock
    batch_due: float | None = None
    #: an input is to run again alone: no batch is waited for
    hurry: bool = False
    #: an input that must run alone has found no empty container
    alone_waits: bool = False
    #: id of the container that is kept free for it
    reserved: str = ""
    #: most containers at one time
    peak: int = 0
    done: int = 0
    failed: int = 0
    #: requests that wait for a free slot, in their order
    visitors: deque[Future[Any]] = field(default_factory=deque)

    def started(self, seconds: float) -> None:
        """A container became ready `seconds` after it was asked for."""
        self.failed_starts = self.lost_starts = 0
        self.blocked_until = 0.0
        self.start_time += 0.3 * (seconds - self.start_time)

    def start_failed(self, now: float) -> bool:
        """A container did not become ready; return whether to give the waiting inputs up."""
        self.failed_starts += 1
        self.blocked_until = now + _BACKOFF[min(self.failed_starts, len(_BACKOFF)) - 1]
        return self.failed_starts >= START_TRIES

    def start_lost(self, now: float, *, counted: bool) -> bool:
        """A starting container was taken away from outside: try again, but not in a tight loop.

        Args:
            now: Monotonic seconds.
            counted: It may be the container's doing: its import may take all of the memory.

        Returns:
            Whether to give the waiting inputs up.
        """
        if now >= self.blocked_until:  # those that go together, with their template, are one
            self.lost_starts += counted
        backoff = _BACKOFF[max(1, min(self.lost_starts, _LOST_STEPS)) - 1]
        self.blocked_until = max(self.blocked_until, now + backoff)
        return self.lost_starts >= LOSS_CAP

    def serving(self) -> list[Container]:
        """The containers that take inputs, the most recently busy one first."""
        ready = [c for c in self.containers.values() if c.ready and not c.draining]
        ready.sort(key=lambda c: c.last_used, reverse=True)
        return ready

    def with_free_slots(self) -> list[Container]:
        """The containers that have a free slot, the most recently busy one first.

        Not one in which an input runs alone, nor the one that is to become empty for that.
        """
        return [
            c
            for c in self.serving()
            if c.taken < c.slots
            and not c.exclusive
            and not (c.busy and c.container_id == self.reserved)
        ]
