"""What the user declares about a Function, validated on construction. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.cls import ClsSpec
from cloudfn.model.concurrency import Batching, Concurrency
from cloudfn.model.gpu import check_gpu_memory
from cloudfn.model.image import ImageSpec
from cloudfn.model.retry import Retries
from cloudfn.model.schedule import Cron, Period, ScaleAt, rule_from_json
from cloudfn.model.secret import SecretRef, secret_ref
from cloudfn.model.volume import VolumeMount, mount_from_json
from cloudfn.model.web import WebSpec

SCALEDOWN_WINDOW_RANGE = (2, 3600)
TIMEOUT_RANGE = (1, 86_400)
DEFAULT_CPU = 0.125
DEFAULT_MEMORY_MIB = 128
MIN_MEMORY_MIB = 16


@dataclass(frozen=True, slots=True)
class AutoscalerSettings:
    """How many containers a pool may and should have."""

    min_containers: int = 0
    #: None: no limit
    max_containers: int | None = None
    #: idle containers kept beyond the need while the pool is active
    buffer_containers: int = 0
    #: seconds that an idle container is kept
    scaledown_window: int = 60

    def __post_init__(self) -> None:
        _whole_number("min_containers", self.min_containers)
        _whole_number("buffer_containers", self.buffer_containers)
        _whole_number("scaledown_window", self.scaledown_window)
        low, high = SCALEDOWN_WINDOW_RANGE
        if not low <= self.scaledown_window <= high:
            raise InvalidError(
                f"`scaledown_window` must be between {low} and {high} (inclusive), "
                f"not {self.scaledown_window}."
            )
        if self.max_containers is None:
            return
        _whole_number("max_containers", self.max_containers)
        if self.max_containers == 0:
            raise InvalidError(
                "`max_containers` must be at least 1.", hint="Use None for no limit."
            )
        if self.min_containers > self.max_containers:
            raise InvalidError(
                f"`min_containers` ({self.min_containers}) cannot be greater than "
                f"`max_containers` ({self.max_containers})"
            )

    def merged(self, changes: dict[str, int | None]) -> AutoscalerSettings:
        """Return these settings with `changes` on top, validated as a whole.

        Raises:
            InvalidError: A name is unknown, or the merged settings make no sense.
        """
        known = [f.name for f in fields(self)]
        for name in changes:
            if name not in known:
                raise InvalidError(
                    f"There is no autoscaler setting `{name}`.",
                    hint=f"There are {', '.join(known)}.",
                )
        return replace(self, **changes)  # type: ignore[arg-type]  # validated by __post_init__


def declared_autoscaler(
    min_containers: int | None,
    max_containers: int | None,
    buffer_containers: int | None,
    scaledown_window: int | None,
) -> AutoscalerSettings:
    """Return the settings of a decorator, where None means the default and max 0 no limit."""
    if max_containers is not None:
        _whole_number("max_containers", max_containers)
    return AutoscalerSettings(
        min_containers=0 if min_containers is None else min_containers,
        max_containers=max_containers or None,
        buffer_containers=0 if buffer_containers is None else buffer_containers,
        scaledown_window=60 if scaledown_window is None else scaledown_window,
    )


@dataclass(frozen=True, slots=True)
class Resources:
    """What one container asks for; requests are packing shares, limits are enforced."""

    #: cores
    cpu: float = DEFAULT_CPU
    cpu_limit: float | None = None
    #: MiB
    memory: int = DEFAULT_MEMORY_MIB
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.cpu < float("inf"):
            raise InvalidError(f"`cpu` must be a positive number of cores, not {self.cpu}.")
        if self.memory < MIN_MEMORY_MIB:
            raise InvalidError(
                f"`memory` must be at least {MIN_MEMORY_MIB} MiB, not {self.memory}."
            )
        if self.cpu_limit is not None and not self.cpu_limit >= self.cpu:
            raise InvalidError(
                f"The limit of `cpu` ({self.cpu_limit}) is below the request ({self.cpu})."
            )
        if self.memory_limit is not None and self.memory_limit < self.memory:
            raise InvalidError(
                f"The limit of `memory` ({self.memory_limit}) is below the request ({self.memory})."
            )


def declared_resources(
    cpu: float | tuple[float, float] | None, memory: int | tuple[int, int] | None
) -> Resources:
    """Return the resources of a decorator: a request, or a (request, limit) pair.

    Raises:
        InvalidError: A value is no number, or not positive, or a limit is below its request.
    """
    cpu_request, cpu_limit = _request_and_limit("cpu", cpu, DEFAULT_CPU)
    memory_request, memory_limit = _request_and_limit("memory", memory, DEFAULT_MEMORY_MIB)
    if any(part is not None and part % 1 != 0 for part in (memory_request, memory_limit)):
        raise InvalidError(f"`memory` must be a whole number of MiB, not {memory!r}.")
    return Resources(
        cpu=cpu_request,
        cpu_limit=cpu_limit,
        memory=int(memory_request),
        memory_limit=None if memory_limit is None else int(memory_limit),
    )


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One Function of a revision: where its code is and how to run it."""

    #: the name within its app
    name: str
    #: module and qualified name of the user's function within the bundle
    module: str
    qualname: str
    is_async: bool = False
    is_generator: bool = False
    #: base64 of the pickled function when it cannot be imported (`serialized=True`)
    serialized: str | None = None
    #: names of its parameters, `**` for any; None where nobody has looked
    parameters: tuple[str, ...] | None = None
    autoscaler: AutoscalerSettings = field(default_factory=AutoscalerSettings)
    resources: Resources = Resources()
    retries: Retries | None = None
    #: seconds that one attempt may run
    timeout: int = 300
    #: seconds from the start of a container to ready
    startup_timeout: int = 300
    #: a container ends after one input
    single_use: bool = False
    #: containers may be forked from a warm template
    fork: bool = True
    #: containers have no network, for which they have to be Docker's
    block_network: bool = False
    #: variables set in its containers, on top of the image's
    env: dict[str, str] = field(default_factory=dict)
    #: None: a container runs one input at a time
    concurrency: Concurrency | None = None
    #: None: the user's function gets one input at a time
    batching: Batching | None = None
    #: when it runs by itself
    schedule: Cron | Period | None = None
    #: when its autoscaler settings change by themselves
    scaling: tuple[ScaleAt, ...] = ()
    #: GPUs that a container asks for, `TYPE[:COUNT]`, the preferred one first; none for none
    gpu: tuple[str, ...] = ()
    #: MiB of one GPU that a container asks for, and others may have the rest; None: whole ones
    gpu_memory: int | None = None
    image: ImageSpec | None = None
    #: what its machines are, `linux/arm64`, as was decided when it was deployed; empty: any
    platform: str = ""
    #: later ones override earlier ones; `env` overrides them all
    secrets: tuple[SecretRef, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    #: a class, all of whose methods are this one Function
    cls: ClsSpec | None = None
    #: how it answers requests: one for a function, one for each web method of a class
    web: tuple[WebSpec, ...] = ()

    def __post_init__(self) -> None:
        if self.parameters is not None:
            object.__setattr__(self, "parameters", tuple(self.parameters))
        for name in ("timeout", "startup_timeout"):
            value = getattr(self, name)
            _whole_number(name, value)
            low, high = TIMEOUT_RANGE
            if not low <= value <= high:
                raise InvalidError(
                    f"`{name}` must be between {low} and {high} seconds, not {value}."
                )
        if self.single_use and self.concurrency is not None and self.concurrency.max_inputs > 1:
            raise InvalidError(
                "A container that ends after one input cannot run several at once.",
                hint="Leave either `single_use_containers` or `@cloudfn.concurrent` away.",
            )
        if self.schedule is not None and self.web:
            raise InvalidError(
                f"{self.qualname} answers web requests, so it cannot have a schedule.",
                hint="Schedule a function of its own, which may call the same code.",
            )
        if self.scaling and self.cls is not None and self.cls.parameters:
            raise InvalidError(
                f"{self.qualname} has parameters: its instances scale separately, so it cannot "
                "have `scaling`.",
                hint="Scale one instance from a scheduled function, with `update_autoscaler`.",
            )
        check_gpu_memory(self.gpu, self.gpu_memory)
        for change in self.scaling:
            self.autoscaler.merged(change.changes)

    @property
    def batch_size(self) -> int:
        """The most inputs that the user's function gets in one call."""
        return 1 if self.batching is None else self.batching.max_batch_size

    @property
    def slots(self) -> int:
        """The most inputs that a container holds at once."""
        return self.batch_size * (1 if self.concurrency is None else self.concurrency.max_inputs)

    @property
    def target_slots(self) -> int:
        """The inputs that a container should hold when there is work enough."""
        return self.batch_size * (1 if self.concurrency is None else self.concurrency.target)

    @property
    def variables(self) -> dict[str, str]:
        """What its containers have in their environment by its declaration."""
        return {**(self.image.env if self.image else {}), **self.env}

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FunctionSpec:
        """Return the spec that `to_json` wrote; unknown fields of a newer writer are ignored."""
        values = _known(cls, data)
        for name, part in _PARTS.items():
            if values.get(name) is not None:
                values[name] = part(**_known(part, values[name]))
        if values.get("schedule") is not None:
            values["schedule"] = rule_from_json(values["schedule"])
        values["scaling"] = tuple(map(rule_from_json, values.get("scaling", ())))
        values["volumes"] = tuple(map(mount_from_json, values.get("volumes", ())))
        values["secrets"] = tuple(map(secret_ref, values.get("secrets", ())))
        if "gpu" in values:
            values["gpu"] = tuple(values["gpu"])  # JSON has lists alone
        values["web"] = tuple(WebSpec(**_known(WebSpec, web)) for web in values.get("web", ()))
        return cls(**values)


#: fields of a FunctionSpec that are values with fields of their own
_PARTS: dict[str, type[Any]] = {
    "autoscaler": AutoscalerSettings,
    "batching": Batching,
    "concurrency": Concurrency,
    "resources": Resources,
    "retries": Retries,
    "image": ImageSpec,
    "cls": ClsSpec,
}


def _known(kind: type[Any], data: dict[str, Any]) -> dict[str, Any]:
    return {f.name: data[f.name] for f in fields(kind) if f.name in data}


def _whole_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError(f"`{name}` must be an int, not {type(value).__name__}")
    if value < 0:
        raise InvalidError(f"`{name}` must be at least 0, not {value}.")


def _request_and_limit(
    name: str, value: float | tuple[float, float] | None, default: float
) -> tuple[float, float | None]:
    if value is None:
        return default, None
    pair = value if isinstance(value, tuple) else (value, None)
    if len(pair) != 2 or any(
        isinstance(part, bool) or not isinstance(part, int | float | None) for part in pair
    ):
        raise InvalidError(f"`{name}` must be a number or a (request, limit) pair, not {value!r}.")
    request, limit = pair
    if request is None:
        raise InvalidError(f"`{name}` must have a request, not {value!r}.")
    return request, limit
