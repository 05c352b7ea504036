"""`@concurrent` and `@batched`: how many inputs a container runs at once; below `@app.function`.

They leave their values on what they decorate, and `App.function` and `App.cls` read them there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cloudfn.errors import InvalidError
from cloudfn.model.concurrency import Batching, Concurrency
from cloudfn.sdk.declaration import is_generator_function

T = TypeVar("T")

_CONCURRENCY = "__cloudfn_concurrency__"
_BATCHING = "__cloudfn_batching__"


def concurrent(*, max_inputs: int, target_inputs: int | None = None) -> Callable[[T], T]:
    """Let each container run several inputs at once: threads for `def`, tasks for `async def`.

    Args:
        max_inputs: The most inputs that a container runs at once.
        target_inputs: How many the autoscaler plans for one container; up to `max_inputs` come to
            it only while all have that many. As many as `max_inputs` when omitted.

    Raises:
        InvalidError: A value makes no sense, or what is decorated is no function or class.
    """
    value = Concurrency(max_inputs, target_inputs)

    def decorate(raw: T) -> T:
        _check_place("concurrent", raw)
        if not isinstance(raw, type) and is_method(raw):
            raise InvalidError(
                "The `@concurrent` decorator cannot be used on a method.",
                hint="Decorate the class instead: all its methods share the slots of a container.",
            )
        setattr(raw, _CONCURRENCY, value)
        return raw

    return decorate


def batched(*, max_batch_size: int, wait_ms: int) -> Callable[[T], T]:
    """Collect inputs, and call the function with a list for each parameter; it returns a list.

    Args:
        max_batch_size: The most inputs of one batch.
        wait_ms: Milliseconds that the first input of a batch waits for others.

    Raises:
        InvalidError: A value makes no sense, or the function cannot be called so.
    """
    value = Batching(max_batch_size, wait_ms)

    def decorate(raw: T) -> T:
        _check_place("batched", raw)
        if isinstance(raw, type):
            raise InvalidError(
                "The `@batched` decorator cannot be used on a class.",
                hint="Put it on the one method that takes batches.",
            )
        _check_batched(raw)
        setattr(raw, _BATCHING, value)
        return raw

    return decorate


def concurrency_of(raw: Any) -> Concurrency | None:
    """Return what `@concurrent` said of a function or class; subclasses do not inherit it."""
    value: Concurrency | None = vars(raw).get(_CONCURRENCY)
    return value


def batching_of(raw: Any) -> Batching | None:
    """Return what `@batched` said of a function."""
    value: Batching | None = getattr(raw, _BATCHING, None)
    return value


def is_method(raw: Any) -> bool:
    """Whether a function is defined in the body of a class."""
    return "." in raw.__qualname__.rpartition("<locals>.")[2]


def _check_place(decorator: str, raw: Any) -> None:
    if isinstance(raw, type) or hasattr(raw, "__code__"):
        return
    raise InvalidError(
        f"Cannot stack `@{decorator}` on top of what makes a {type(raw).__name__}.",
        hint=f"Swap the order of the decorators: `@{decorator}` comes below `@app.function()` "
        "and `@app.cls()`.",
    )


def _check_batched(raw: Any) -> None:
    name = raw.__qualname__
    if is_generator_function(raw):
        raise InvalidError(
            f"`@batched` cannot be used on {name}, which is a generator.",
            hint="Return a list with one result for each input.",
        )
    if raw.__defaults__ or raw.__kwdefaults__:
        raise InvalidError(
            f"`@batched` cannot be used on {name}, which has default arguments.",
            hint="Every input of a batch brings the same arguments: give them at each call.",
        )
