"""The decorators for what is inside a class: methods, hooks, parameters."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter as Argument
from inspect import isasyncgenfunction, isgeneratorfunction, signature
from typing import Any, TypeVar

from cloudfn.errors import InvalidError
from cloudfn.model import cls
from cloudfn.sdk.declaration import check_parentheses, parameters_of

F = TypeVar("F", bound=Callable[..., Any])

_NOTHING: Any = object()


class Parameter:
    """What `parameter(…)` leaves in a class; an instance's own value goes before it."""

    def __init__(self, default: Any, *, init: bool) -> None:
        self.default = default
        self.init = init
        self.name = "?"

    @property
    def has_default(self) -> bool:
        """Whether there is a default."""
        return self.default is not _NOTHING

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        if not self.has_default:
            raise AttributeError(f"The parameter {self.name!r} has no value and no default.")
        return self.default

    def __reduce__(self) -> tuple[Any, ...]:
        return _parameter, (self.has_default, self.default if self.has_default else None, self.init)


def parameter(*, default: Any = _NOTHING, init: bool = True) -> Any:
    """Declare a parameter of a class: each set of values has containers of its own.

    It has to be annotated with str, int, bool or bytes.

    Args:
        default: Its value where none is given; without it one has to be given.
        init: Whether it is part of the constructor; otherwise it only declares an attribute.
    """
    return Parameter(default, init=init)


def method(_forgotten: Any = None, /, *, is_generator: bool | None = None) -> Callable[[F], F]:
    """Make a method of a class one that can be called in a container.

    Args:
        is_generator: Whether it yields; seen from the function when omitted.

    Raises:
        InvalidError: It cannot be one.
    """
    check_parentheses("cloudfn.method", _forgotten, "method")

    def decorate(function: F) -> F:
        _check_function("method", function)
        if cls.phase_of(function) is not None:
            raise _both(function)
        yields = isgeneratorfunction(function) or isasyncgenfunction(function)
        cls.mark_method(
            function,
            cls.MethodSpec(
                is_generator=yields if is_generator is None else is_generator,
                is_async=cls.is_coroutine_function(function) or isasyncgenfunction(function),
                parameters=parameters_of(function),
            ),
        )
        return function

    return decorate


def enter(_forgotten: Any = None, /, *, snap: bool = False) -> Callable[[F], F]:
    """Have a method called when a container starts, before its first input.

    Args:
        snap: Call it before those without; there are no memory snapshots here.

    Raises:
        InvalidError: It cannot be one.
    """
    check_parentheses("cloudfn.enter", _forgotten, "method")
    return _hook("enter", "enter_snap" if snap else "enter")


def exit(_forgotten: Any = None, /) -> Callable[[F], F]:  # noqa: A001 - Modal's name
    """Have a method called when a container leaves; it has 30 seconds.

    Raises:
        InvalidError: It cannot be one.
    """
    check_parentheses("cloudfn.exit", _forgotten, "method")
    return _hook("exit", "exit")


def _hook(decorator: str, phase: cls.Phase) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        _check_function(decorator, function)
        if cls.method_of(function) is not None:
            raise _both(function)
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise InvalidError(
                f"The hook {function.__qualname__} yields; nobody would hear it.",
                hint="Let it return, or make it a method with `@cloudfn.method()`.",
            )
        if len(_required(function)) > 1:
            raise InvalidError(
                f"The hook {function.__qualname__} takes arguments, and there are none.",
                hint="Declare what an instance needs with `cloudfn.parameter()`.",
            )
        cls.mark_hook(function, phase)
        return function

    return decorate


def _required(function: Callable[..., Any]) -> list[Argument]:
    return [
        each
        for each in signature(function).parameters.values()
        if each.default is Argument.empty
        and each.kind not in (Argument.VAR_POSITIONAL, Argument.VAR_KEYWORD)
    ]


def _check_function(decorator: str, function: Any) -> None:
    if isinstance(function, type) or not callable(function) or not hasattr(function, "__code__"):
        raise InvalidError(
            f"`@cloudfn.{decorator}()` needs a method, not {type(function).__name__}.",
            hint="Put it right above a `def` inside a class.",
        )


def _both(function: Callable[..., Any]) -> InvalidError:
    return InvalidError(
        f"Cannot use a lifecycle decorator and `@cloudfn.method()` on {function.__qualname__}.",
        hint="Let a hook and a method call a third method without decorators.",
    )


def _parameter(has_default: bool, default: Any, init: bool) -> Parameter:  # noqa: FBT001
    return Parameter(default if has_default else _NOTHING, init=init)
