"""What `@app.function(…)` accepts: checks it at once, and turns it into a `FunctionSpec`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cloudfn.errors import DeprecationError, InvalidError, UnimplementedError
from cloudfn.model.cls import ClsSpec
from cloudfn.model.concurrency import Batching, Concurrency
from cloudfn.model.function import FunctionSpec, declared_autoscaler, declared_resources
from cloudfn.model.gpu import parse_gpu_memory, parse_gpus
from cloudfn.model.image import ImageSpec
from cloudfn.model.retry import parse_retries
from cloudfn.sdk.absent import INSTEAD
from cloudfn.sdk.scheduling import check_schedule, declared_scaling

_GENERATOR = 0x20 | 0x200
_ASYNC = 0x80 | 0x200
_KEYWORDS = 0x08

#: options that promise something that there is not here, and what to use instead
_INSTEAD = {
    "network_file_systems": INSTEAD["NetworkFileSystem"],
    "proxy": INSTEAD["Proxy"],
    "i6pn": "Containers share this machine's network and can reach one another.",
    "enable_memory_snapshot": "Leave it away: containers are forked from a process that has "
    "imported the program already.",
    "restrict_modal_access": "Containers may look up and call any function of their environment.",
    "_experimental_restrict_output": "Leave it away.",
}
#: options that change nothing on one machine, whatever their value
_IGNORED = frozenset(
    {
        "nonpreemptible",
        "experimental_options",
        "region",
        "cloud",
        "routing_region",
        "ephemeral_disk",
    }
)
_RENAMED = {
    "keep_warm": "min_containers",
    "concurrency_limit": "max_containers",
    "container_idle_timeout": "scaledown_window",
    "allow_concurrent_inputs": "@cloudfn.concurrent",
}


def check_unavailable(options: Mapping[str, Any], what: str) -> None:
    """Refuse options that ask for something that this version or one machine cannot do.

    Empty values ask for nothing, and pass.

    Raises:
        UnimplementedError: One of them asks for something; the hint says what to do instead.
        DeprecationError: A name that Modal gave up years ago.
        TypeError: There is no such option.
    """
    for name, value in options.items():
        if name in _RENAMED:
            raise DeprecationError(f"`{name}` is called `{_RENAMED[name]}` now.")
        if name in _IGNORED:
            continue
        if name not in _INSTEAD:
            raise TypeError(f"{what} got an unexpected keyword argument {name!r}")
        if value is None or value is False or value in ("", (), [], {}):
            continue
        raise UnimplementedError(f"`{name}` does not exist here.", hint=_INSTEAD[name])


def check_parentheses(decorator: str, forgotten: Any, above: str = "function") -> None:
    """Raise InvalidError where a decorator got what it decorates instead of its options."""
    if forgotten is not None:
        raise InvalidError(
            f"Did you forget parentheses? Suggestion: `@{decorator}()`.",
            hint=f"Write `@{decorator}()` above the {above}.",
        )


def check_function(function: Any, *, serialized: bool) -> None:
    """Raise InvalidError or TypeError unless a decorated thing can be a Function."""
    if isinstance(function, type):
        raise TypeError(
            "The `@app.function` decorator cannot be used on a class. "
            "Please use `@app.cls` instead."
        )
    if not callable(function) or not hasattr(function, "__code__"):
        raise InvalidError(
            f"`@app.function` needs a function, not {type(function).__name__}.",
            hint="Put it right above a `def`, below no decorator that makes something else of it.",
        )
    if serialized:
        return
    qualname = function.__qualname__
    if "." in qualname.rpartition("<locals>.")[2]:
        raise InvalidError(
            f"The `@app.function` decorator cannot be used on the method {qualname}.",
            hint="Decorate the class with `@app.cls()` and the method with `@cloudfn.method()`.",
        )
    if "<locals>" in qualname or "<lambda>" in qualname:
        raise InvalidError(
            f"The `@app.function` decorator must apply to functions in global scope, unless "
            f"`serialized=True` is set; {qualname} is not in global scope.",
            hint="Move the function to the top level of its module, or use serialized=True.",
        )


class Body(NamedTuple):
    """What is decorated, as far as its declaration is concerned."""

    raw: Any
    #: the name within the app
    name: str
    is_async: bool = False
    is_generator: bool = False
    cls: ClsSpec | None = None
    #: of a class: that of its one method
    batching: Batching | None = None


def function_body(
    raw: Any, *, name: str | None, serialized: bool, is_generator: bool | None
) -> Body:
    """Return what a decorated function is.

    Raises:
        InvalidError: It cannot be a Function.
        TypeError: It is a class.
    """
    check_function(raw, serialized=serialized)
    return Body(
        raw,
        raw.__qualname__ if name is None and not serialized else name or raw.__name__,
        is_async=bool(raw.__code__.co_flags & _ASYNC),
        is_generator=is_generator_function(raw) if is_generator is None else is_generator,
    )


def is_generator_function(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a generator, plain or asynchronous."""
    return bool(function.__code__.co_flags & _GENERATOR)


def parameters_of(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Return the names of a function's parameters, `**` if it takes any; None if nobody knows."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return (*names, "**") if code.co_flags & _KEYWORDS else names


def declare(  # noqa: PLR0913 - one for each option
    body: Body,
    *,
    env: Mapping[str, str | None] | None,
    cpu: float | tuple[float, float] | None,
    memory: int | tuple[int, int] | None,
    min_containers: int | None,
    max_containers: int | None,
    buffer_containers: int | None,
    scaledown_window: int | None,
    retries: Any,
    timeout: Any,
    startup_timeout: int | None,
    single_use: bool,
    block_network: bool,
    fork: bool,
    concurrency: Concurrency | None = None,
    batching: Batching | None = None,
    schedule: Any = None,
    scaling: Any = (),
    gpu: Any,
    gpu_memory: int | None,
    image: ImageSpec | None,
) -> FunctionSpec:
    """Return the spec of a Function; see `App.function` for the arguments.

    Raises:
        InvalidError: A value makes no sense; the text names it.
    """
    if timeout is None:
        raise InvalidError(
            "`timeout` cannot be set to None.", hint="The longest is 86400 seconds, a day."
        )
    if body.is_generator and retries is not None:
        raise InvalidError(
            "Generator Functions do not support retries.",
            hint="Leave `retries` away, and catch what may fail inside the generator.",
        )
    if schedule is not None:
        check_schedule(body.raw, schedule, is_generator=body.is_generator)
    return FunctionSpec(
        name=body.name,
        module=body.raw.__module__ or "__main__",
        qualname=body.raw.__qualname__,
        is_async=body.is_async,
        is_generator=body.is_generator,
        parameters=None if body.cls else parameters_of(body.raw),
        cls=body.cls,
        autoscaler=declared_autoscaler(
            min_containers, max_containers, buffer_containers, scaledown_window
        ),
        resources=declared_resources(cpu, memory),
        retries=parse_retries(retries),
        timeout=timeout,
        startup_timeout=timeout if startup_timeout is None else startup_timeout,
        single_use=single_use,
        block_network=block_network,
        fork=fork,
        env=variables(env),
        concurrency=concurrency,
        batching=batching,
        schedule=schedule,
        scaling=declared_scaling(scaling),
        gpu=parse_gpus(gpu),
        gpu_memory=parse_gpu_memory(gpu_memory),
        image=image,
    )


def variables(env: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return the variables that `env=` means; raises InvalidError for what is no text."""
    if env is None:
        return {}
    for name, value in env.items():
        if not isinstance(name, str) or not isinstance(value, str | None):
            raise InvalidError(f"`env` must map names to text, not {name!r} to {value!r}.")
    return {name: value for name, value in env.items() if value is not None}
