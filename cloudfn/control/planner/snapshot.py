"""What the planner sees and what it decides: frozen values, complete enough to be replayed. Pure.

A stored snapshot is plain data (`to_json`); `decide(Snapshot.from_json(data))` gives the decision
that was made from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from cloudfn.model.function import AutoscalerSettings
from cloudfn.model.gpu import Gpu, GpuWish

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container as the planner sees it. Times are seconds on the machine's monotonic clock."""

    container_id: str
    #: it is ready for inputs
    ready: bool
    #: slots that are taken by inputs that it runs; a batch takes as many as it may have inputs
    held: int
    #: all its inputs wait for nested calls, so that its share of the CPU is free
    waiting: bool
    #: when it last finished an input or became ready
    last_used: float
    #: it takes no more inputs and leaves when it is done
    draining: bool = False
    #: seconds that its present inputs have run, on average; 0 without one
    running: float = 0.0
    #: the most inputs that it takes at once
    slots: int = 1
    #: ids of the GPUs that it has, or has a part of
    gpus: tuple[str, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether it runs inputs."""
        return self.held > 0


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """One pool at one moment."""

    pool: str
    settings: AutoscalerSettings
    #: the app lives and this is its live revision: min and buffer apply
    live: bool
    #: inputs that no container has started
    waiting: int
    #: seconds that an input takes; None before the first one has finished
    service: float | None
    #: seconds from the decision to start a container to ready
    start_time: float
    #: when the pool last had an input in it; -inf: never
    last_active: float
    #: cores that each container asks for, more than 0
    cpu: float
    #: MiB that each container asks for
    memory: int
    containers: tuple[ContainerView, ...]
    #: a container ends after one input, or one batch
    single_use: bool = False
    #: inputs that a container should have at once when there is work enough
    target: int = 1
    #: one of the waiting inputs must run alone, and found no empty container
    alone: bool = False
    #: containers may not be started before this time, after failed starts
    blocked_until: float = 0.0
    #: when the number of containers was last lowered
    last_lowered: float = 0.0
    #: the GPUs that each container needs; None: none
    gpu: GpuWish | None = None
    #: when it last came to have containers, or to have none
    turned: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        data = asdict(self)
        # JSON has no infinity.
        data["last_active"] = None if self.last_active == _NEVER else self.last_active
        data["containers"] = list(data["containers"])
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PoolSnapshot:
        """Return the pool that `to_json` wrote; unknown fields of a newer writer are ignored."""
        values = _known(cls, data)
        values["settings"] = AutoscalerSettings(**_known(AutoscalerSettings, data["settings"]))
        values["last_active"] = _NEVER if data["last_active"] is None else data["last_active"]
        values["containers"] = tuple(map(_view, data["containers"]))
        if data.get("gpu") is not None:
            wish = _known(GpuWish, data["gpu"])
            values["gpu"] = GpuWish(**{**wish, "devices": tuple(wish["devices"])})
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a decision depends on."""

    #: monotonic seconds
    now: float
    pools: tuple[PoolSnapshot, ...]
    #: cores and MiB of the machine
    cores: float
    memory: int
    gpus: tuple[Gpu, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return {
            "now": self.now,
            "pools": [pool.to_json() for pool in self.pools],
            "cores": self.cores,
            "memory": self.memory,
            "gpus": [asdict(gpu) for gpu in self.gpus],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Snapshot:
        """Return the snapshot that `to_json` wrote."""
        pools = tuple(PoolSnapshot.from_json(pool) for pool in data["pools"])
        gpus = tuple(Gpu(**_known(Gpu, gpu)) for gpu in data.get("gpus", ()))
        return cls(data["now"], pools, data["cores"], data["memory"], gpus)


@dataclass(frozen=True, slots=True)
class PoolDecision:
    """What to do with one pool, and why."""

    pool: str
    #: containers that it has and should have; those that leave and hold no input are left out
    current: int
    desired: int
    #: how many to start now
    start: int
    #: which to let go, after what they are doing
    stop: tuple[str, ...]
    #: what set the number: need, buffer, min, max, machine, gpu, backoff, window, early, retired
    limiting: str
    reason: str
    #: of a pool that needs GPUs: the ids of those of each container to start
    gpus: tuple[tuple[str, ...], ...] = ()


def _view(data: dict[str, Any]) -> ContainerView:
    values = _known(ContainerView, data)
    return ContainerView(**{**values, "gpus": tuple(values.get("gpus", ()))})


def _known(kind: type[Any], data: dict[str, Any]) -> dict[str, Any]:
    return {field.name: data[field.name] for field in fields(kind) if field.name in data}
