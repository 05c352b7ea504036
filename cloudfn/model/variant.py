"""Variants of a Function: a parameter set of a class, or other options, as a pool of its own. Pure.

A variant's id is that of its function with a digest of what makes it different, so that every
process comes to the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from json import dumps
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.cls import PARAMETER_TYPES, ClsSpec, ParameterSpec, decoded, encoded, shown_name
from cloudfn.model.concurrency import Batching, Concurrency
from cloudfn.model.function import FunctionSpec, Resources, declared_autoscaler
from cloudfn.model.retry import Retries
from cloudfn.model.secret import secret_ref
from cloudfn.model.volume import mount_from_json

#: bytes that the parameters of one instance may take
PARAMETERS_LIMIT = 16 << 10
_MARK = "+"

#: options that are values with fields of their own
_PARTS: dict[str, type[Any]] = {
    "batching": Batching,
    "concurrency": Concurrency,
    "retries": Retries,
}
#: options that a FunctionSpec has as they are given
_AS_GIVEN = ("env", "gpu_memory", "timeout")
#: what of a function a variant may have otherwise
OPTIONS = frozenset(
    {
        "cpu",
        "memory",
        "gpu",
        "gpu_memory",
        "env",
        "max_containers",
        "buffer_containers",
        "scaledown_window",
        "timeout",
        "secrets",
        "version",
        "volumes",
        *_PARTS,
    }
)


@dataclass(frozen=True, slots=True)
class Variant:
    """How a variant differs from the function that it is one of."""

    #: of a class: the values of all its parameters, encoded
    parameters: dict[str, Any] = field(default_factory=dict)
    #: of `OPTIONS` those that were given, as plain data
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.options) - OPTIONS)
        if unknown:
            raise InvalidError(f"A variant cannot have other {', '.join(unknown)}.")

    def id_for(self, function_id: str) -> str:
        """Return the id of this variant of a function."""
        text = dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return f"{function_id}{_MARK}{blake2b(text.encode(), digest_size=10).hexdigest()}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return asdict(self)

    @property
    def version(self) -> int | None:
        """The number of the revision that it is pinned to; None: the live one."""
        return self.options.get("version")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Variant:
        """Return the variant that `to_json` wrote."""
        return cls(**data)

    def shown(self, function: str) -> str:
        """Return its name for people: `Model(size='small')`, `f[cpu=2]`."""
        name = shown_name(function)
        if self.parameters:
            values = decoded(self.parameters)
            name += f"({', '.join(f'{key}={value!r}' for key, value in values.items())})"
        if self.options:
            name += f"[{', '.join(f'{key}={value}' for key, value in self.options.items())}]"
        return name


def base_id(function_id: str) -> str:
    """Return the id of the function that a variant is one of; that of a function is its own."""
    return function_id.partition(_MARK)[0]


def complete(spec: ClsSpec, given: Mapping[str, Any], cls: str) -> dict[str, Any]:
    """Return the values of all parameters of a class, encoded, defaults where none is given.

    Args:
        spec: The class.
        given: Values as the user gave them.
        cls: The name of the class, for messages.

    Raises:
        InvalidError: One is missing, there is no such parameter, or they take too much room.
        TypeError: One has another type than its parameter.
    """
    for name in given:
        if name not in spec.parameters:
            known = ", ".join(spec.parameters) or "none"
            raise InvalidError(
                f"Unknown parameter of {cls}: {name}.", hint=f"Its parameters are: {known}."
            )
    values: dict[str, Any] = {}
    for name, parameter in spec.parameters.items():
        if name in given:
            values |= encoded({name: _checked(name, parameter, given[name])})
        elif parameter.required:
            raise InvalidError(
                f"Missing required parameter: {name}",
                hint=f"Give it when you make an instance: {cls}({name}=…).",
            )
        else:
            values[name] = parameter.default
    size = len(dumps(values))
    if size > PARAMETERS_LIMIT:
        raise InvalidError(
            f"The parameters of {cls} take {size} bytes; at most {PARAMETERS_LIMIT} are possible.",
            hint="Pass the name of what is big, and load it in an enter hook.",
        )
    return values


def served(spec: FunctionSpec, variant: Variant | None = None) -> FunctionSpec:
    """Return the spec that a pool of a function has, or that of one of its variants.

    Variants do not inherit `min_containers`, but for a class whose parameters all have defaults:
    there it is kept for the instance that has those. A class with parameters itself has no
    containers.

    Raises:
        InvalidError: The variant does not fit the function, or a value makes no sense.
    """
    if variant is None:
        if spec.cls is None or not spec.cls.parameters:
            return spec
        return replace(spec, autoscaler=replace(spec.autoscaler, min_containers=0))
    given = variant.options
    kept = default_variant(spec) == Variant(parameters_of(spec, variant), given)
    declared = spec.autoscaler
    scaling = {
        name: given.get(name, getattr(declared, name))
        for name in ("max_containers", "buffer_containers", "scaledown_window")
    }
    changes: dict[str, Any] = {name: given[name] for name in _AS_GIVEN if name in given}
    if "secrets" in given:
        changes["secrets"] = tuple(map(secret_ref, given["secrets"]))
    if "volumes" in given:
        changes["volumes"] = tuple(map(mount_from_json, given["volumes"]))
    if "gpu" in given:
        changes["gpu"] = tuple(given["gpu"])
    changes["autoscaler"] = declared_autoscaler(declared.min_containers if kept else 0, **scaling)
    for name, kind in _PARTS.items():
        if name in given:
            changes[name] = kind(**given[name])
    if "cpu" in given or "memory" in given:
        old = spec.resources
        changes["resources"] = Resources(
            *given.get("cpu", (old.cpu, old.cpu_limit)),
            *given.get("memory", (old.memory, old.memory_limit)),
        )
    return replace(spec, **changes)


def parameters_of(spec: FunctionSpec, variant: Variant | None) -> dict[str, Any]:
    """Return the values of a class's parameters that containers of a variant get, encoded.

    Raises:
        InvalidError: They do not fit the class.
    """
    if variant is None or spec.cls is None:
        return {}
    try:
        return complete(spec.cls, decoded(variant.parameters), shown_name(spec.name))
    except TypeError as error:
        raise InvalidError(str(error)) from None


def default_variant(spec: FunctionSpec) -> Variant | None:
    """Return the instance of a class for which nothing is given, where it has parameters."""
    parameters = spec.cls.parameters if spec.cls else {}
    if not parameters or any(each.required for each in parameters.values()):
        return None
    return Variant({name: each.default for name, each in parameters.items()})


def _checked(name: str, parameter: ParameterSpec, value: Any) -> Any:
    wanted = PARAMETER_TYPES[parameter.type]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise TypeError(
            f"Expected {parameter.type}, got {type(value).__name__} (parameter {name})."
        )
    # Of a subclass, such as an enumeration's, the value alone.
    return value if type(value) is wanted else wanted(value)
