"""What the planner sees and what it decides: frozen values, complete enough to be replayed."""

from __future__ import annotations

from dataclasses import dataclass

from cloudfn.model.function import AutoscalerSettings


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container as the planner sees it. Times are seconds on the machine's monotonic clock."""

    container_id: str
    #: it is ready for inputs
    ready: bool
    #: it holds inputs
    busy: bool
    #: its input waits for a nested call, so that its share of the CPU is free
    waiting: bool
    #: when it last finished an input or became ready
    last_used: float
    #: it takes no more inputs and leaves when it is done
    draining: bool = False


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """One pool at one moment."""

    pool: str
    settings: AutoscalerSettings
    #: the app lives and this is its live revision: min and buffer apply
    live: bool
    #: inputs that no container has started
    waiting: int
    #: seconds that an input takes; None while unknown
    service: float | None
    #: seconds that the longest running attempt has run
    longest: float
    #: seconds from the decision to start a container to ready
    start_time: float
    #: when the pool last had an input in it
    last_active: float
    #: share of the machine that each container asks for
    cpu: float
    #: MiB
    memory: int
    containers: tuple[ContainerView, ...]
    #: containers may not be started before this time, after failed starts
    blocked_until: float = 0.0
    #: when the number of containers was last lowered
    last_lowered: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a decision depends on."""

    #: monotonic seconds
    now: float
    pools: tuple[PoolSnapshot, ...]
    #: cores and MiB of the machine
    cores: float
    memory: int


@dataclass(frozen=True, slots=True)
class PoolDecision:
    """What to do with one pool, and why."""

    pool: str
    #: containers it has, draining ones left out, and containers it should have
    current: int
    desired: int
    #: how many to start now
    start: int
    #: which to let go, after what they are doing
    stop: tuple[str, ...]
    #: what set the number: need, min, max, buffer, machine, window, backoff, steady
    limiting: str
    reason: str
