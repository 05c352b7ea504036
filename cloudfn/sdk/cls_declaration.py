"""What `@app.cls(…)` accepts: checks a class at once, and turns it into a `ClsSpec`."""

from __future__ import annotations

import sys
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.cls import (
    PARAMETER_TYPES,
    ClsSpec,
    ParameterSpec,
    encoded,
    members,
    methods,
)
from cloudfn.sdk.lifecycle import Parameter


def check_class(user_cls: Any, *, serialized: bool) -> None:
    """Raise TypeError or InvalidError unless a decorated thing can be a Cls."""
    if not isinstance(user_cls, type):
        raise TypeError("The `@app.cls` decorator must be used on a class.")
    qualname = user_cls.__qualname__
    if not serialized and "." in qualname:
        raise InvalidError(
            "The `@app.cls` decorator must apply to classes in global scope, unless "
            f"`serialized=True` is set; {qualname} is not in global scope.",
            hint="Move the class to the top level of its module, or use serialized=True.",
        )


def declare_class(user_cls: type[Any]) -> ClsSpec:
    """Return what a class offers.

    Raises:
        InvalidError: A parameter or the constructor makes no sense.
    """
    parameters = _parameters(user_cls)
    _check_constructor(user_cls, bool(parameters))
    return ClsSpec(methods(user_cls), parameters)


def _parameters(user_cls: type[Any]) -> dict[str, ParameterSpec]:
    declared = {k: v for k, v in members(user_cls).items() if isinstance(v, Parameter)}
    return {name: _parameter(user_cls, name, each) for name, each in declared.items() if each.init}


def _parameter(user_cls: type[Any], name: str, declared: Parameter) -> ParameterSpec:
    annotation = _annotation(user_cls, name)
    where = f"{user_cls.__name__}.{name}"
    if annotation is None:
        raise InvalidError(
            f"{where} has no type: parameters need to be type-annotated.",
            hint=f"Write `{name}: str = cloudfn.parameter()`.",
        )
    kind = next((key for key, value in PARAMETER_TYPES.items() if value is annotation), None)
    if kind is None:
        shown = (
            annotation
            if isinstance(annotation, str)
            else getattr(annotation, "__name__", repr(annotation))
        )
        raise InvalidError(
            f"{where} cannot be of type {shown}: the allowed types of parameters are "
            f"{', '.join(PARAMETER_TYPES)}.",
            hint="Pass other values as text, or as arguments of the methods.",
        )
    if not declared.has_default:
        return ParameterSpec(kind)
    if type(declared.default) is not PARAMETER_TYPES[kind]:
        raise InvalidError(f"The default of {where} is not of type {kind}: {declared.default!r}.")
    return ParameterSpec(kind, required=False, default=encoded({name: declared.default})[name])


def _annotation(user_cls: type[Any], name: str) -> Any:
    """Return the annotation of an attribute, evaluated where it is text and that is possible."""
    from inspect import get_annotations

    for each in user_cls.__mro__[:-1]:
        found = get_annotations(each).get(name)
        if found is None:
            continue
        if not isinstance(found, str):
            return found
        if found in PARAMETER_TYPES:
            return PARAMETER_TYPES[found]
        module = sys.modules.get(each.__module__)
        return getattr(module, found, found)
    return None


def _check_constructor(user_cls: type[Any], has_parameters: bool) -> None:  # noqa: FBT001
    from inspect import Parameter as Argument
    from inspect import signature

    constructor = user_cls.__init__
    if constructor is object.__init__:
        return
    wanted = [
        each
        for each in list(signature(constructor).parameters.values())[1:]
        if each.default is Argument.empty
        and each.kind not in (Argument.VAR_POSITIONAL, Argument.VAR_KEYWORD)
    ]
    if has_parameters or wanted:
        raise InvalidError(
            f"The class {user_cls.__name__} has a constructor of its own, which a Cls cannot have.",
            hint="Declare what it takes with `name: str = cloudfn.parameter()`, and do what it "
            "does in a method with `@cloudfn.enter()`.",
        )
