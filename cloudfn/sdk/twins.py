"""One text for `f(...)` and `await f.aio(...)`: operations as generators of steps. No own I/O.

An operation yields steps, things that take time; each knows how to be done by blocking and by
awaiting. `run` drives an operation in the first way, `run_async` in the second.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


class Step(Protocol[T_co]):
    """Something that takes time."""

    def block(self) -> T_co:
        """Do it, and block the thread meanwhile."""
        ...

    async def wait(self) -> T_co:
        """Do it, and let the event loop run meanwhile."""
        ...


Steps: TypeAlias = Generator[Step[Any], Any, T]


class Blocking(Generic[T]):
    """A step that calls a function which may block; awaited, it runs in a thread."""

    __slots__ = ("_args", "_function")

    def __init__(self, function: Callable[..., T], *args: Any) -> None:
        self._function = function
        self._args = args

    def block(self) -> T:
        """Call the function."""
        return self._function(*self._args)

    async def wait(self) -> T:
        """Call the function in a thread."""
        from asyncio import to_thread

        return await to_thread(self._function, *self._args)


class IsAsync:
    """A step that tells how the operation is driven."""

    __slots__ = ()

    def block(self) -> bool:
        """Return False."""
        return False

    async def wait(self) -> bool:
        """Return True."""
        return True


def run(steps: Steps[T]) -> T:
    """Carry an operation out, blocking."""
    try:
        step = next(steps)
        while True:
            try:
                value = step.block()
            except BaseException as error:  # noqa: BLE001 - the operation decides
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async(steps: Steps[T]) -> T:
    """Carry an operation out, awaiting."""
    try:
        step = next(steps)
        while True:
            try:
                value = await step.wait()
            except BaseException as error:  # noqa: BLE001 - the operation decides
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class Twin(Generic[P, T]):
    """A bound operation: call it to block, or call and await its `aio`."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Callable[P, Steps[T]]) -> None:
        self._steps = steps

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it, and block meanwhile."""
        warn_in_event_loop(self._steps.__name__)
        return run(self._steps(*args, **kwargs))

    def aio(self, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """The same, to be awaited."""
        return run_async(self._steps(*args, **kwargs))


class twin(Generic[P, T]):  # noqa: N801 - a decorator
    """Makes a method that is a generator of steps callable, with an `aio` twin."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self._steps = steps
        self.__doc__ = steps.__doc__

    def __get__(self, instance: object, owner: type | None = None) -> Twin[P, T]:
        if instance is None:
            return self  # type: ignore[return-value]  # documentation tools look at the class
        return Twin(self._steps.__get__(instance, owner))


class static_twin(Generic[P, T]):  # noqa: N801 - a decorator
    """The same for a function that belongs to a class."""

    def __init__(self, steps: Callable[P, Steps[T]]) -> None:
        self._steps = steps
        self.__doc__ = steps.__doc__

    def __get__(self, instance: object, owner: type | None = None) -> Twin[P, T]:
        return Twin(self._steps)


def in_event_loop() -> bool:
    """Whether this thread runs an event loop right now."""
    asyncio = sys.modules.get("asyncio")
    # The public function raises where there is none, which takes ten times as long.
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001


def warn_in_event_loop(name: str, keyword: str = "await") -> None:
    """Warn when a blocking call would hold up an event loop; `keyword` goes before the other."""
    if not in_event_loop():
        return
    import warnings

    from cloudfn.errors import AsyncUsageWarning

    name = name.strip("_")
    warnings.warn(
        f"A blocking call of `{name}` inside an event loop holds the loop up. "
        f"Use `{keyword} ….{name}.aio(…)` there.",
        AsyncUsageWarning,
        stacklevel=3,
    )


class Iterating(Generic[P, T]):
    """A bound method whose result does the work; its `aio` twin is the same, for `async for`."""

    __slots__ = ("_method",)

    def __init__(self, method: Callable[P, T]) -> None:
        self._method = method

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the method."""
        return self._method(*args, **kwargs)

    def aio(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The same, to be used with `async for` or `async with`."""
        return self._method(*args, **kwargs)


class iterating(Generic[P, T]):  # noqa: N801 - a decorator
    """Gives a method whose result works with and without an event loop its `aio` twin."""

    def __init__(self, method: Callable[Concatenate[Any, P], T]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: object, owner: type | None = None) -> Iterating[P, T]:
        if instance is None:
            return self  # type: ignore[return-value]  # documentation tools look at the class
        return Iterating(self._method.__get__(instance, owner))


class class_iterating(Generic[P, T]):  # noqa: N801 - a decorator
    """The same for a method of the class."""

    def __init__(self, method: Callable[Concatenate[Any, P], T]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: object, owner: type) -> Iterating[P, T]:
        return Iterating(self._method.__get__(owner))
