"""What the planner of many machines sees: frozen values, complete enough to be replayed. Pure.

`decide_fleet(FleetSnapshot.from_json(stored))` gives the decision that was made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, TypeVar, cast

from cloudfn.model.function import AutoscalerSettings
from cloudfn.model.gpu import Gpu
from cloudfn.providers.fleet import Instance, InstanceState, MachineClass
from cloudfn.providers.machines import MachineReport, MachineRow, MachineState, PoolReport

T = TypeVar("T")
#: seconds for which a class that was refused is not asked for again
AVOIDED = 180.0
#: and where the provider did not answer: until what came of it all the same is listed
UNANSWERED = 20.0
#: and at most, where machines of it do not even join; the times in a row are counted for as long
_LONGEST = 3_600.0


def _none() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool of the environment, as ledger and catalog know it."""

    pool: str
    #: those in force: the decorator's, with what schedules and people changed on top
    settings: AutoscalerSettings
    #: the app lives and this is its live revision: min and buffer apply
    live: bool
    #: inputs that no machine has claimed, that may not run yet, and that are claimed
    pending: int
    delayed: int
    running: int
    #: cores and MiB that each container asks for
    cpu: float
    memory: int
    #: GPUs that each asks for, the preferred one first, and MiB of one; see `model.gpu`
    gpu: tuple[str, ...] = ()
    gpu_memory: int | None = None
    #: inputs that a container should have at once when there is work enough
    target: int = 1
    #: a container ends after one input, or one batch
    single_use: bool = False
    #: what its image is built for; empty: whatever machines are
    platform: str = ""
    #: its name for people
    name: str = ""
    #: what of its settings was ignored or clamped; empty: nothing
    remark: str = ""

    @property
    def shown(self) -> str:
        """Its name for people, or the pool's own."""
        return self.name or self.pool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Machines of a class could not be had."""

    machine_class: str
    #: seconds since the epoch, of the last time
    at: float
    #: in the provider's words
    reason: str
    #: times in a row
    times: int = 1
    #: seconds for which the class is left alone
    seconds: float = AVOIDED

    def holds(self, now: float) -> bool:
        """Whether the class is left alone still."""
        return now - self.at < self.seconds

    def counts(self, now: float) -> bool:
        """Whether another one would be one more in a row."""
        return now - self.at < self.seconds + _LONGEST


@dataclass(frozen=True, slots=True)
class Asked:
    """One machine that was asked for, and that the fleet does not list yet."""

    machine_class: str
    #: seconds since the epoch
    at: float
    #: empty: nobody knows yet
    machine_id: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a pool was when last seen."""

    #: seconds that an input takes; None: none has finished
    service: float | None = None
    #: seconds that a container takes to start
    start: float = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What containers may use of a machine."""

    cores: float
    #: MiB
    memory: int
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Lowered:
    """A quota that was lowered, and that its machine may not have heard of."""

    machine_id: str
    pool: str
    #: what it was
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class FleetMemory:
    """What a decision leaves to the next one. Times are seconds since the epoch."""

    #: of the leader, and since when it leads
    epoch: int = 0
    led_since: float = 0.0
    #: machine → (heartbeats that this leader has heard, time of the last one)
    heard: Mapping[str, tuple[int, float]] = field(default_factory=_none)
    #: machine → since when it has nothing to do, gets nothing more, is to leave
    idle_since: Mapping[str, float] = field(default_factory=_none)
    parked: Mapping[str, float] = field(default_factory=_none)
    drained: Mapping[str, float] = field(default_factory=_none)
    #: instance → when it was first seen
    seen: Mapping[str, float] = field(default_factory=_none)
    #: class → when machines of it were last asked for, and seconds that they take to join
    grown: Mapping[str, float] = field(default_factory=_none)
    boots: Mapping[str, float] = field(default_factory=_none)
    #: class → what its machines turned out to be like
    shapes: Mapping[str, Shape] = field(default_factory=_none)
    asked: tuple[Asked, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    #: pool → since when some inputs wait and others run, when it last had any, how fast it was
    waiting_since: Mapping[str, float] = field(default_factory=_none)
    active_at: Mapping[str, float] = field(default_factory=_none)
    paces: Mapping[str, Pace] = field(default_factory=_none)
    #: machine → pool → containers that it may have
    quotas: Mapping[str, Mapping[str, int]] = field(default_factory=_none)
    lowered: tuple[Lowered, ...] = ()
    #: job of the janitor → when it was done last
    chores: Mapping[str, float] = field(default_factory=_none)

    def after_asking(
        self,
        machine_class: str,
        granted: int,
        machine_ids: tuple[str, ...],
        refused: str,
        now: float,
        *,
        seconds: float = AVOIDED,
    ) -> FleetMemory:
        """Return the memory after machines of a class were asked for.

        Args:
            machine_class: The class.
            granted: How many will come.
            machine_ids: Those that are known by id.
            refused: Why not all; empty: all were granted.
            now: Seconds since the epoch.
            seconds: For which the class is left alone where it was refused.
        """
        nameless = ("",) * (granted - len(machine_ids))
        asked = [Asked(machine_class, now, each) for each in (*machine_ids, *nameless)]
        memory = replace(self, asked=(*self.asked, *asked))
        if granted:
            memory = replace(memory, grown={**self.grown, machine_class: now})
        return memory.after_refusal(machine_class, refused, now, seconds=seconds)

    def after_refusal(
        self,
        machine_class: str,
        reason: str,
        now: float,
        *,
        longer: bool = False,
        seconds: float = AVOIDED,
    ) -> FleetMemory:
        """Return the memory after machines of a class could not be had; or could, without a reason.

        Args:
            machine_class: The class.
            reason: In words.
            now: Seconds since the epoch.
            longer: The class is left alone for longer each time.
            seconds: For which it is left alone at first.
        """
        others = tuple(each for each in self.refusals if each.machine_class != machine_class)
        if reason:
            before = [each.times for each in self.refusals if each.machine_class == machine_class]
            times = 1 + max(before, default=0)
            if longer:
                seconds = min(_LONGEST, seconds * 2 ** (times - 1))
            others = (*others, Refusal(machine_class, now, reason, times, seconds))
        return replace(self, refusals=others)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return cast(dict[str, Any], _plain(self))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FleetMemory:
        """Return the memory that `to_json` wrote; unknown fields of a newer writer are ignored."""
        values = _known(cls, data)
        values["heard"] = {key: (each[0], each[1]) for key, each in data.get("heard", {}).items()}
        values["asked"] = _all(Asked, data.get("asked", ()))
        values["refusals"] = _all(Refusal, data.get("refusals", ()))
        values["lowered"] = _all(Lowered, data.get("lowered", ()))
        paces = data.get("paces", {})
        values["paces"] = {pool: Pace(**_known(Pace, each)) for pool, each in paces.items()}
        values["shapes"] = {name: _shape(each) for name, each in data.get("shapes", {}).items()}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Everything that a decision for an environment depends on."""

    #: seconds since the epoch
    now: float
    epoch: int
    pools: tuple[PoolView, ...]
    classes: tuple[MachineClass, ...]
    instances: tuple[Instance, ...]
    machines: tuple[MachineRow, ...]
    memory: FleetMemory = FleetMemory()
    #: seconds that a machine without work is kept; None: as long as one takes to boot, or 120
    keep_alive: float | None = None

    @property
    def present(self) -> tuple[Instance, ...]:
        """Those that boot, serve or end: all but the warm ones, which count for nothing yet."""
        return tuple(each for each in self.instances if each.state != InstanceState.WARM)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`, without names of containers: they decide nothing."""
        return cast(
            dict[str, Any], _plain(replace(self, machines=tuple(map(_nameless, self.machines))))
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FleetSnapshot:
        """Return the snapshot that `to_json` wrote; unknown fields of a newer one are ignored."""
        values = _known(cls, data)
        values["pools"] = tuple(map(_pool, data["pools"]))
        values["classes"] = tuple(map(_machine_class, data["classes"]))
        values["instances"] = tuple(map(_instance, data["instances"]))
        values["machines"] = tuple(map(_row, data["machines"]))
        values["memory"] = FleetMemory.from_json(data["memory"])
        return cls(**values)


def _nameless(row: MachineRow) -> MachineRow:
    pools = {name: replace(pool, containers=()) for name, pool in row.report.pools.items()}
    return replace(row, report=replace(row.report, pools=pools))


def _plain(value: Any) -> Any:
    """Return a frozen value as JSON has it: dictionaries, lists, and what stands for itself."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value


def _pool(data: dict[str, Any]) -> PoolView:
    values = _known(PoolView, data)
    values["settings"] = AutoscalerSettings(**_known(AutoscalerSettings, data["settings"]))
    values["gpu"] = tuple(data.get("gpu", ()))
    return PoolView(**values)


def _machine_class(data: dict[str, Any]) -> MachineClass:
    return MachineClass(**{**_known(MachineClass, data), "gpus": _all(Gpu, data["gpus"])})


def _shape(data: dict[str, Any]) -> Shape:
    return Shape(data["cores"], data["memory"], _all(Gpu, data["gpus"]))


def _instance(data: dict[str, Any]) -> Instance:
    return Instance(**{**_known(Instance, data), "state": InstanceState(data["state"])})


def _row(data: dict[str, Any]) -> MachineRow:
    report = data["report"]
    values = _known(MachineReport, report)
    values["state"] = MachineState(report["state"])
    values["gpus"] = _all(Gpu, report["gpus"])
    values["host_keys"] = tuple(report.get("host_keys", ()))
    pools = report["pools"]
    values["pools"] = {
        pool: PoolReport(**{**_known(PoolReport, each), "containers": ()})
        for pool, each in pools.items()
    }
    return MachineRow(MachineReport(**values), data["heard"], data["lease_until"])


def _all(kind: type[T], data: Any) -> tuple[T, ...]:
    return tuple(kind(**_known(kind, each)) for each in data)


def _known(kind: type[Any], data: dict[str, Any]) -> dict[str, Any]:
    return {each.name: data[each.name] for each in fields(kind) if each.name in data}
