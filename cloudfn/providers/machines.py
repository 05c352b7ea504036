"""The port of machines: what each agent says of its machine, and what it is told to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from cloudfn.model.gpu import Gpu


class MachineState(StrEnum):
    """Where a machine is in its life, as its agent sees it."""

    READY = "ready"
    #: it takes no new inputs, finishes what it has, and is ended when it is empty
    DRAINING = "draining"
    #: it has drained: nothing runs on it, and nothing will
    EMPTY = "empty"


class ContainerState(StrEnum):
    """What a container is doing, as its agent sees it."""

    STARTING = "starting"
    #: it is ready, and holds no input
    IDLE = "idle"
    BUSY = "busy"
    #: it takes no new inputs, and ends
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class ContainerReport:
    """One container of a machine."""

    container_id: str
    state: ContainerState
    #: seconds since the epoch
    started: int
    inputs_done: int = 0


#: containers that a machine names; of further ones it tells how many there are
MOST_NAMED = 50


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What a machine has of one pool."""

    #: containers that start, that are ready and hold no input, and that hold some
    starting: int = 0
    idle: int = 0
    busy: int = 0
    #: inputs that its containers hold, and inputs that it has claimed and no container has yet
    held: int = 0
    waiting: int = 0
    #: mean seconds that an input takes; None before the first
    service: float | None = None
    #: seconds that a container takes to start here
    start_time: float = 1.0
    #: seconds since it last had an input; None: never
    quiet: float | None = None
    #: why no container can be started here; empty: nothing is known to be wrong
    trouble: str = ""
    #: of the busy ones those whose inputs all wait for nested calls, so that their CPU is free
    held_up: int = 0
    #: its containers by name; not all of them where a machine has more than `MOST_NAMED`
    containers: tuple[ContainerReport, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineReport:
    """What an agent says of its machine with each heartbeat."""

    machine_id: str
    machine_class: str
    state: MachineState
    #: cores and MiB that containers may use
    cores: float
    memory: int
    gpus: tuple[Gpu, ...] = ()
    zone: str = ""
    spot: bool = False
    #: of cloudfn on it
    version: str = ""
    #: private address, for people
    address: str = ""
    #: seconds since the epoch at which the agent joined
    joined: float = 0.0
    #: the highest epoch of orders that it has obeyed
    epoch: int = 0
    pools: Mapping[str, PoolReport] = field(default_factory=lambda: MappingProxyType({}))
    #: seconds since the epoch at which its provider takes it away, by a Spot notice; None: unknown
    ends: float | None = None
    #: of its SSH server, as lines of `ssh_host_*_key.pub`
    host_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineRow:
    """A report, and when it was heard."""

    report: MachineReport
    #: seconds since the epoch, by the reporting machine's clock
    heard: float
    #: its lease lasts until then; what it holds afterwards may be taken from it
    lease_until: float


@dataclass(frozen=True, slots=True, order=True)
class Stop:
    """Containers that a machine is to end, whose inputs run again elsewhere."""

    #: id of a container, or name of a pool: all containers that this has there at the moment
    name: str
    #: they finish what they run
    graceful: bool = False


@dataclass(frozen=True, slots=True)
class Orders:
    """What the planner wants of one machine; the latest ones replace all earlier ones.

    What is to be cancelled and stopped comes from others, and stays until the machine has done it.
    """

    #: grows with each new leader; orders of a lower one are ignored
    epoch: int = 0
    #: how many containers of each pool the machine may have; a pool that is absent may have none
    quotas: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    #: how many of these it keeps even when there is nothing to do: its part of a pool's minimum and
    #: buffer; none where a pool is absent
    kept: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    #: take nothing new, finish, and say EMPTY
    drain: bool = False
    #: inputs to stop: (seq, fence)
    cancelled: tuple[tuple[int, int], ...] = ()
    #: containers to stop
    stops: tuple[Stop, ...] = ()


class Machines(Protocol):
    """One row for each machine. Safe to share between threads; blocks."""

    def beat(self, report: MachineReport, now: float, lease: float) -> Orders:
        """Say that a machine lives, for `lease` seconds more; return its orders.

        Raises:
            ConflictError: The row was removed: what the machine holds belongs to others by now.
        """
        ...

    def join(self, report: MachineReport, now: float, lease: float) -> Orders:
        """Add a machine, or replace the row that it had before its agent started anew."""
        ...

    def orders(self, machine_id: str) -> Orders:
        """Return a machine's orders; those of one that is not there are empty."""
        ...

    def order(self, orders: Mapping[str, Orders]) -> None:
        """Give orders to machines, unless they have some of a higher epoch.

        What was to be cancelled or stopped stays so.
        """
        ...

    def cancel(self, machine_id: str, inputs: Sequence[tuple[int, int]]) -> None:
        """Have a machine stop inputs, by (seq, fence): cancelled ones, or others'. Idempotent."""
        ...

    def cancelled(self, machine_id: str, inputs: Sequence[tuple[int, int]]) -> None:
        """A machine has stopped these inputs: they need not be named any more. Idempotent."""
        ...

    def stop(self, machine_id: str, stops: Sequence[Stop]) -> None:
        """Have a machine end containers. Idempotent; a machine that is not there has none."""
        ...

    def stopped(self, machine_id: str, stops: Sequence[Stop]) -> None:
        """A machine has seen to these: they need not be named any more. Idempotent."""
        ...

    def list(self) -> list[MachineRow]:
        """Return all rows."""
        ...

    def remove(self, machine_id: str) -> None:
        """Remove a row: its machine is gone, or has left. Idempotent."""
        ...
