"""What an App declares: functions, classes and local entry points."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from cloudfn import errors
from cloudfn.model.cls import shown_name
from cloudfn.model.names import check_name
from cloudfn.sdk.declaration import (
    Body,
    check_parentheses,
    check_unavailable,
    declare,
    function_body,
)
from cloudfn.sdk.function import Function
from cloudfn.sdk.local_entrypoint import LocalEntrypoint
from cloudfn.sdk.slots import batching_of, concurrency_of
from cloudfn.sdk.supplies import supplies_of
from cloudfn.sdk.web import webs_of, with_web

if TYPE_CHECKING:
    from cloudfn.model.image import ImageSpec
    from cloudfn.model.retry import Retries
    from cloudfn.model.schedule import Cron, Period, ScaleAt
    from cloudfn.sdk.app import App
    from cloudfn.sdk.cls import Cls
    from cloudfn.sdk.image import Image
    from cloudfn.sdk.secrets import Secret
    from cloudfn.sdk.volumes import Volume


class AppDeclaration:
    """The part of an App that its program declares."""

    def __init__(
        self,
        image: Image | None,
        secrets: Sequence[Secret],
        volumes: Mapping[str, Volume] | None,
        *,
        include_source: bool,
    ) -> None:
        self._supplies = supplies_of(secrets, volumes, "App()")
        _layers(image, "App()")
        _check_source(include_source)
        #: what functions get that name no Image of their own
        self.image: Image | None = image
        self._functions: dict[str, Function] = {}
        self._classes: dict[str, Cls] = {}
        self._entrypoints: dict[str, LocalEntrypoint] = {}

    @property
    def registered_functions(self) -> dict[str, Function]:
        """Its functions, by name."""
        return {name: each for name, each in self._functions.items() if each.cls_spec is None}

    @property
    def declared_functions(self) -> dict[str, Function]:
        """Its functions and the one function that each of its classes is, by their full names."""
        return dict(self._functions)

    @property
    def registered_entrypoints(self) -> dict[str, LocalEntrypoint]:
        """Its local entry points, by name."""
        return dict(self._entrypoints)

    @property
    def registered_classes(self) -> dict[str, Cls]:
        """Its classes, by name."""
        return dict(self._classes)

    @property
    def registered_web_endpoints(self) -> list[str]:
        """Names of its functions and classes that answer web requests."""
        specs = (each.spec for each in self._functions.values())
        return [spec.name for spec in specs if spec is not None and spec.web]

    def function(  # noqa: PLR0913 - one for each option
        self,
        _forgotten: Any = None,
        /,
        *,
        image: Image | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        volumes: Mapping[str, Volume] | None = None,
        gpu: str | list[str] | None = None,
        gpu_memory: int | None = None,
        serialized: bool = False,
        cpu: float | tuple[float, float] | None = None,
        memory: int | tuple[int, int] | None = None,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: int | None = None,
        retries: int | Retries | None = None,
        timeout: int = 300,
        startup_timeout: int | None = None,
        name: str | None = None,
        is_generator: bool | None = None,
        single_use_containers: bool = False,
        max_inputs: int | None = None,
        fork: bool = True,
        block_network: bool = False,
        schedule: Cron | Period | None = None,
        scaling: Sequence[ScaleAt] = (),
        include_source: bool | None = None,
        **others: Any,
    ) -> Callable[[Callable[..., Any]], Function]:
        """Make a function one that runs in containers.

        Args:
            image: What its containers have installed; the App's when omitted.
            env: Variables set in its containers.
            secrets: Variables that are shown nowhere. Later ones override earlier ones and those
                of the App; `env` overrides them all.
            volumes: Shared files, by the path at which its code sees them.
            gpu: `TYPE[:COUNT]`, or several in order of preference.
            gpu_memory: MiB of one GPU that a container asks for; other containers may have the
                rest of it. 0 and None mean GPUs of its own.
            serialized: Send the function by value; for functions that cannot be imported.
            cpu: Cores that a container asks for, or (request, limit).
            memory: MiB that a container asks for, or (request, limit).
            min_containers: Containers kept while the App lives.
            max_containers: Most containers; 0 and None mean no limit.
            buffer_containers: Idle containers kept beyond the need while the function is active.
            scaledown_window: Seconds that an idle container is kept, 2 to 3600.
            retries: Further attempts after a failure, or a `Retries`.
            timeout: Seconds that one attempt may run.
            startup_timeout: Seconds that a container may take to start; `timeout` when omitted.
            name: Its name in the App; that of the function when omitted.
            is_generator: Whether it yields; seen from the function when omitted.
            single_use_containers: A container runs one input and ends.
            max_inputs: Modal's old name of that: 1.
            fork: Containers may be forked from a warm template that imported the program.
            block_network: Containers have no network; they can still call functions. In the docker
                runtime only.
            schedule: When the function runs by itself, without arguments, while the App lives.
            scaling: When its autoscaler settings change by themselves while the App lives.
            include_source: Bring the program's sources to the containers.
            **others: Modal's options that this version does not have; empty ones are accepted.

        Raises:
            InvalidError: A value makes no sense; the text names it.
            UnimplementedError: Something was asked for that does not exist yet, or not here.
        """
        check_parentheses("app.function", _forgotten)
        check_unavailable(others, "App.function()")
        _check_source(include_source)
        if max_inputs not in (None, 1):
            raise errors.InvalidError(
                f"`max_inputs` can only be 1, not {max_inputs!r}.",
                hint="Use single_use_containers=True.",
            )
        if name is not None:
            check_name("Function", name)
        layers = _layers(image or self.image, "App.function()")
        supplies = self._supplies.joined(supplies_of(secrets, volumes, "App.function()"))

        app = cast("App", self)

        def decorate(raw: Any) -> Function:
            if isinstance(raw, Function):
                raise errors.InvalidError(
                    f"{raw.name} is a Function already.", hint="Use `@app.function()` once."
                )
            if isinstance(raw, Body):
                body = raw
            else:
                body = function_body(
                    raw, name=name, serialized=serialized, is_generator=is_generator
                )
            spec = declare(
                body,
                env=env,
                cpu=cpu,
                memory=memory,
                min_containers=min_containers,
                max_containers=max_containers,
                buffer_containers=buffer_containers,
                scaledown_window=scaledown_window,
                retries=retries,
                timeout=timeout,
                startup_timeout=startup_timeout,
                single_use=single_use_containers or max_inputs == 1,
                block_network=bool(block_network),
                fork=fork,
                concurrency=concurrency_of(body.raw),
                batching=body.batching or batching_of(body.raw),
                schedule=schedule,
                scaling=scaling,
                gpu=gpu,
                gpu_memory=gpu_memory,
                image=layers,
            )
            spec = with_web(spec, webs_of(body.raw))
            function = Function(spec.name, raw=body.raw, spec=spec, app=app, serialized=serialized)
            function.supplies = supplies
            self._register(function)
            return function

        return decorate

    def cls(
        self, _forgotten: Any = None, /, *, serialized: bool = False, **options: Any
    ) -> Callable[[type[Any]], Cls]:
        """Make a class one whose methods run in containers.

        Args:
            serialized: Send the class by value; for classes that cannot be imported.
            **options: Those of `function`, except for `schedule`, `name` and `is_generator`.

        Raises:
            InvalidError: A value makes no sense; the text names it.
            UnimplementedError: Something was asked for that does not exist yet, or not here.
        """
        from cloudfn.sdk.cls import class_body, cls_of

        check_parentheses("app.cls", _forgotten, "class")
        for name in ("schedule", "name", "is_generator"):
            if name in options:
                raise TypeError(f"App.cls() got an unexpected keyword argument {name!r}")
        declare_options: Any = self.function(serialized=serialized, **options)

        def decorate(user_cls: type[Any]) -> Cls:
            declared = declare_options(class_body(user_cls, serialized=serialized))
            cls = self._classes[user_cls.__name__] = cls_of(user_cls, declared)
            return cls

        return decorate

    def server(self, *_: Any, **__: Any) -> NoReturn:
        """Raise UnimplementedError: there are no servers with sessions."""
        raise errors.UnimplementedError(
            "`@app.server` does not exist here.",
            hint="Use `@app.function()` with `@cloudfn.web_server(port)` or `@cloudfn.asgi_app()`.",
        )

    def local_entrypoint(
        self, _forgotten: Any = None, /, *, name: str | None = None
    ) -> Callable[[Callable[..., Any]], LocalEntrypoint]:
        """Make a function what `cloudfn run` runs on this machine, with the functions ready.

        Raises:
            InvalidError: There is an entry point of that name already.
        """
        check_parentheses("app.local_entrypoint", _forgotten)
        if name is not None:
            check_name("local entry point", name)

        app = cast("App", self)

        def decorate(raw: Callable[..., Any]) -> LocalEntrypoint:
            wanted = name or raw.__qualname__
            if wanted in self._entrypoints:
                raise errors.InvalidError(
                    f"Duplicate local entry point name: {wanted!r}.",
                    hint="Rename one, or give it `name=`.",
                )
            entrypoint = LocalEntrypoint(raw, wanted, app)
            self._entrypoints[wanted] = entrypoint
            return entrypoint

        return decorate

    def _register(self, function: Function) -> None:
        known = self._functions.get(function.name)
        if known is not None and known is not function:
            _warn_collision(function.name)
        self._functions[function.name] = function


def _layers(image: Image | None, what: str) -> ImageSpec | None:
    if image is None:
        return None
    from cloudfn.sdk.image import image_spec

    return image_spec(image, what)


def _check_source(include_source: object) -> None:
    if include_source is False:
        raise errors.UnimplementedError(
            "`include_source=False` is not available yet in this version.",
            hint="Leave it away; sources that are not imported stay here.",
        )


def _warn_collision(name: str) -> None:
    import warnings

    warnings.warn(
        f"function name {shown_name(name)!r} collision! Overriding existing function with the new "
        "one.",
        errors.UserWarning,
        stacklevel=4,
    )
