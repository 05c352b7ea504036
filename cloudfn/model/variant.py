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
from cloudfn.model.function import FunctionSpec, declared_autoscaler, declared_resources
from cloudfn.model.retry import Retries

#: bytes that the parameters of one instance may take
PARAMETERS_LIMIT = 16 << 10
_MARK = "+"

#: what of a function a variant may have otherwise
OPTIONS = (
    "cpu",
    "memory",
    "env",
    "retries",
    "max_containers",
    "buffer_containers",
    "scaledown_window",
    "timeout",
)


@dataclass(frozen=True, slots=True)
class Variant:
    """How a variant differs from the function that it is one of."""

    #: of a class: the values of all its parameters, encoded
    parameters: dict[str, Any] = field(default_factory=dict)
    #: of `OPTIONS` those that were given, as plain data
    options: dict[str, Any] = field(default_factory=dict)

    def id_for(self, function_id: str) -> str:
        """Return the id of this variant of a function."""
        text = dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return f"{function_id}{_MARK}{blake2b(text.encode(), digest_size=10).hexdigest()}"

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


def applied(spec: FunctionSpec, variant: Variant) -> FunctionSpec:
    """Return the spec of a variant; `min_containers` is not inherited.

    Raises:
        InvalidError: A value makes no sense.
    """
    given = variant.options
    declared = spec.autoscaler
    changes: dict[str, Any] = {
        name: given[name] for name in ("env", "timeout") if given.get(name) is not None
    }
    scaling = {
        name: given.get(name, getattr(declared, name))
        for name in ("max_containers", "buffer_containers", "scaledown_window")
    }
    changes["autoscaler"] = declared_autoscaler(0, **scaling)
    if "cpu" in given or "memory" in given:
        resources = spec.resources
        changes["resources"] = declared_resources(
            _pair(given.get("cpu")) or (resources.cpu, resources.cpu_limit),  # type: ignore[arg-type]
            _pair(given.get("memory")) or (resources.memory, resources.memory_limit),  # type: ignore[arg-type]
        )
    if "retries" in given:
        changes["retries"] = Retries(**given["retries"]) if given["retries"] else None
    return replace(spec, **changes)


def _checked(name: str, parameter: ParameterSpec, value: Any) -> Any:
    wanted = PARAMETER_TYPES[parameter.type]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise TypeError(
            f"Expected {parameter.type}, got {type(value).__name__} (parameter {name})."
        )
    # Of a subclass, such as an enumeration's, the value alone.
    return value if type(value) is wanted else wanted(value)


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
