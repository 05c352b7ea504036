"""What the user declares about a class: its methods, its parameters, its hooks. Pure.

The decorators leave marks on the functions of the class; they are read here, both where the class
is declared and where its containers run it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Phase = Literal["enter_snap", "enter", "exit"]

_HOOK = "__cloudfn_hook__"
_METHOD = "__cloudfn_method__"
_PLACE = "__cloudfn_place__"
#: what ends the name of a class among the functions of its app
_SUFFIX = ".*"
_COROUTINE = 0x80
_BYTES = "base64"

#: the types that parameters may have, by name
PARAMETER_TYPES: dict[str, type[Any]] = {"str": str, "int": int, "bool": bool, "bytes": bytes}


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """One method that can be called."""

    is_generator: bool = False
    is_async: bool = False
    #: it answers requests, and is not called
    is_web: bool = False
    #: names of its parameters, `**` for any; None where nobody has looked
    parameters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.parameters is not None:
            object.__setattr__(self, "parameters", tuple(self.parameters))


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter of a class, part of its constructor."""

    #: str | int | bool | bytes
    type: str
    required: bool = True
    #: as `encoded` writes values
    default: Any = None


@dataclass(frozen=True, slots=True)
class ClsSpec:
    """A class whose methods run in containers."""

    methods: dict[str, MethodSpec] = field(default_factory=dict)
    parameters: dict[str, ParameterSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in (("methods", MethodSpec), ("parameters", ParameterSpec)):
            parts = {key: _part(kind, each) for key, each in getattr(self, name).items()}
            object.__setattr__(self, name, parts)


def _part(kind: type[Any], value: Any) -> Any:
    """Return a part, which comes as plain data where the spec was stored."""
    return kind(**value) if isinstance(value, dict) else value


def function_name(cls: str) -> str:
    """Return the name of a class among the functions of its app: its methods are one Function."""
    return cls + _SUFFIX


def cls_name(function: str) -> str | None:
    """Return the class that a function's name means, or None."""
    return function.removesuffix(_SUFFIX) if function.endswith(_SUFFIX) else None


def shown_name(function: str) -> str:
    """Return the name of a function or class as people know it."""
    return function.removesuffix(_SUFFIX)


# Values


def encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of parameters as plain data."""
    return {
        name: {_BYTES: b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in values.items()
    }


def decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that `encoded` wrote."""
    return {
        name: b64decode(value[_BYTES]) if isinstance(value, dict) else value
        for name, value in values.items()
    }


# Marks


def mark_hook(function: Any, phase: Phase) -> None:
    """Note that a function of a class is called when its container starts or ends."""
    setattr(function, _HOOK, phase)


def mark_method(function: Any, spec: MethodSpec) -> None:
    """Note that a function of a class can be called from outside."""
    setattr(function, _METHOD, spec)


def mark_places(cls: type[Any]) -> None:
    """Note on each hook where it stands: a class that was pickled by value has lost its order."""
    for each in cls.__mro__[:-1]:
        for place, member in enumerate(vars(each).values()):
            if phase_of(raw(member)) is not None:
                setattr(raw(member), _PLACE, place)


def phase_of(function: Any) -> Phase | None:
    """Return when a function of a class is called by itself."""
    phase: Phase | None = getattr(function, _HOOK, None)
    return phase


def method_of(function: Any) -> MethodSpec | None:
    """Return what is known of a function that can be called from outside."""
    spec: MethodSpec | None = getattr(function, _METHOD, None)
    return spec


def members(cls: type[Any]) -> dict[str, Any]:
    """Return what a class and its bases define, overridden, in the order of definition."""
    found: dict[str, Any] = {}
    for each in reversed(cls.__mro__[:-1]):
        found |= vars(each)
    return found


def methods(cls: type[Any]) -> dict[str, MethodSpec]:
    """Return the methods that can be called; what overrides a method without a mark is one too."""
    found: dict[str, MethodSpec] = {}
    for each in reversed(cls.__mro__[:-1]):
        for name, member in vars(each).items():
            spec = method_of(raw(member))
            if spec is not None:
                found[name] = spec
    return found


def hooks(cls: type[Any], phase: Phase) -> list[Callable[..., Any]]:
    """Return the hooks of a phase in the order of their calls.

    Those that are not asynchronous come first, then bases before what derives from them, then the
    order of definition. A hook that is overridden is called once, as overridden, at its old place.
    """
    places: dict[str, None] = {}
    for each in reversed(cls.__mro__[:-1]):
        ours = [name for name, member in vars(each).items() if phase_of(raw(member)) == phase]
        places |= dict.fromkeys(sorted(ours, key=lambda name: _place_in(each, name)))
    known = members(cls)
    found = [raw(known[name]) for name in places]
    return sorted(found, key=is_coroutine_function)


def _place_in(cls: type[Any], name: str) -> int:
    place: int = getattr(raw(vars(cls)[name]), _PLACE, 0)
    return place


def is_coroutine_function(function: Any) -> bool:
    """Whether a function is an `async def` that does not yield."""
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & _COROUTINE)


def raw(member: Any) -> Any:
    """Return the user's own function behind what stands in a class."""
    return getattr(member, "__cloudfn_raw__", member)


def build(cls: type[Any], parameters: dict[str, Any]) -> Any:
    """Return an instance of a user's class; hooks are not called.

    Args:
        cls: The user's own class.
        parameters: Values of its parameters.
    """
    made: Any = cls
    instance = made.__new__(made)
    for name, value in parameters.items():
        setattr(instance, name, value)
    if made.__init__ is not object.__init__:
        instance.__init__()
    return instance
