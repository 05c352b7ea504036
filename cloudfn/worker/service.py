"""What a container runs: a plain function, or one instance of a class.

A container loads it, enters it, looks up what an input calls, and exits it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from types import CoroutineType
from typing import Any, Protocol

from cloudfn.errors import NotFoundError
from cloudfn.model import cls
from cloudfn.worker import loader
from cloudfn.worker.orders import FunctionOrder

#: runs a coroutine to its end, on the container's event loop
Await = Callable[[Coroutine[Any, Any, Any]], Any]
#: makes a function of a generator function
Streamed = Callable[[Callable[..., Any]], Callable[..., Any]]


class Service(Protocol):
    """What a container runs."""

    @property
    def function(self) -> Callable[..., Any] | None:
        """What every input calls; None: inputs name a method."""
        ...

    def method(self, name: str) -> Callable[..., Any]:
        """Return what an input calls that names a method.

        Raises:
            NotFoundError: There is no such method.
        """
        ...

    def handler(self, name: str) -> Callable[..., Any]:
        """Return what answers requests: the function, or a method by its name."""
        ...

    def enter(self, wait: Await) -> None:
        """Get ready for inputs; raises whatever user code raises."""
        ...

    def exit(self, wait: Await, complain: Callable[[BaseException], None]) -> None:
        """Clean up; what goes wrong is told, and does not keep the rest from being done."""
        ...


class FunctionService:
    """A plain function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def method(self, name: str) -> Callable[..., Any]:
        """See `Service`."""
        raise NotFoundError(f"A function has no method {name!r}.")

    def handler(self, name: str) -> Callable[..., Any]:  # noqa: ARG002 - it is the only one
        """See `Service`."""
        return self.function

    def enter(self, wait: Await) -> None:
        """See `Service`."""

    def exit(self, wait: Await, complain: Callable[[BaseException], None]) -> None:
        """See `Service`."""


class ClassService:
    """One instance of a class, made when the container is entered.

    Args:
        user_cls: The user's own class.
        parameters: Values of its parameters.
        streamed: Makes a function of a generator function.
    """

    function = None

    def __init__(self, user_cls: type[Any], parameters: dict[str, Any], streamed: Streamed) -> None:
        self._cls = user_cls
        self._parameters = parameters
        self._streamed = streamed
        self._specs = cls.methods(user_cls)
        self._instance: Any = None
        self._methods: dict[str, Callable[..., Any]] = {}

    @property
    def instance(self) -> Any:
        """The user's object, once it was entered."""
        return self._instance

    def method(self, name: str) -> Callable[..., Any]:
        """See `Service`."""
        found = self._methods.get(name)
        if found is None:
            found = self._methods[name] = self._bound(name)
        return found

    def handler(self, name: str) -> Callable[..., Any]:
        """See `Service`."""
        bound: Callable[..., Any] = cls.raw(cls.members(self._cls)[name]).__get__(
            self._instance, self._cls
        )
        return bound

    def enter(self, wait: Await) -> None:
        """See `Service`."""
        self._instance = cls.build(self._cls, self._parameters)
        for phase in ("enter_snap", "enter"):
            for hook in self._hooks(phase):
                _call(hook, wait)

    def exit(self, wait: Await, complain: Callable[[BaseException], None]) -> None:
        """See `Service`."""
        for hook in self._hooks("exit"):
            try:
                _call(hook, wait)
            except BaseException as error:
                complain(error)

    def _hooks(self, phase: cls.Phase) -> Iterable[Callable[[], Any]]:
        for hook in cls.hooks(self._cls, phase):
            yield hook.__get__(self._instance, self._cls)

    def _bound(self, name: str) -> Callable[..., Any]:
        if name not in self._specs:
            known = ", ".join(sorted(self._specs)) or "none"
            raise NotFoundError(
                f"The class {self._cls.__name__} has no method {name!r}.",
                hint=f"Its methods are: {known}.",
            )
        bound = self.handler(name)
        return self._streamed(bound) if self._specs[name].is_generator else bound


def load(order: FunctionOrder, parameters: dict[str, Any], streamed: Streamed) -> Service:
    """Return what a container of a function runs.

    Args:
        order: The function.
        parameters: Values of a class's parameters.
        streamed: Makes a function of a generator function; see `Streamer`.

    Raises:
        NotFoundError: The module has no such name.
        DeserializationError: It came by value and cannot be rebuilt here.
    """
    found = loader.load_function(order)
    if isinstance(found, type):
        return ClassService(found, parameters, streamed)
    return FunctionService(streamed(found) if order.is_generator else found)


def _call(hook: Callable[[], Any], wait: Await) -> None:
    result = hook()
    if type(result) is CoroutineType:
        wait(result)
