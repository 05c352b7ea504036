"""The App: where functions are declared, and how they are run and deployed together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from cloudfn import errors
from cloudfn.model.cls import shown_name
from cloudfn.model.names import check_characters, check_name
from cloudfn.sdk.app_facts import AppFacts, check_tags
from cloudfn.sdk.app_run import AppRun, refuse_in_container
from cloudfn.sdk.client import Client, default_client
from cloudfn.sdk.declaration import (
    Body,
    check_unavailable,
    declare,
    function_body,
)
from cloudfn.sdk.function import Function
from cloudfn.sdk.local_entrypoint import LocalEntrypoint
from cloudfn.sdk.slots import batching_of, concurrency_of
from cloudfn.sdk.supplies import supplies_of
from cloudfn.sdk.twins import Blocking, Steps, iterating, static_twin, twin
from cloudfn.sdk.web import webs_of, with_web

if TYPE_CHECKING:
    from cloudfn.model.image import ImageSpec
    from cloudfn.model.retry import Retries
    from cloudfn.model.schedule import Cron, Period, ScaleAt
    from cloudfn.sdk.cls import Cls
    from cloudfn.sdk.image import Image
    from cloudfn.sdk.secrets import Secret
    from cloudfn.sdk.volumes import Volume

_TAG_MAX = 50


class Deployment(NamedTuple):
    """What came of a deploy."""

    app_id: str
    revision: int
    #: False: nothing differed from the live revision
    changed: bool


class App(AppFacts):
    """A group of functions that are run or deployed together.

    Args:
        name: Its name in the environment; needed for `deploy`.
        tags: Marks for your own use.
        image: The Image of functions that name none.
        secrets: What all its functions get, before their own.
        volumes: What all its functions see, by path.
        include_source: Bring the program's sources to the containers.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        tags: dict[str, str] | None = None,
        image: Image | None = None,
        secrets: Sequence[Secret] = (),
        volumes: Mapping[str, Volume] | None = None,
        include_source: bool = True,
    ) -> None:
        if name is not None:
            check_name("App", name)
        self._supplies = supplies_of(secrets, volumes, "App()")
        _layers(image, "App()")
        _check_source(include_source)
        self._name = name
        self._tags = check_tags(tags or {})
        #: what functions get that name no Image of their own
        self.image: Image | None = image
        self._module: str = sys._getframe(1).f_globals.get("__name__", "__main__")  # noqa: SLF001
        self._functions: dict[str, Function] = {}
        self._classes: dict[str, Cls] = {}
        self._entrypoints: dict[str, LocalEntrypoint] = {}
        self._app_id: str | None = None
        self._client: Client | None = None
        self._environment: str | None = None
        #: `run` is open
        self.is_running = False
        #: what came of the last `deploy`
        self.deployment: Deployment | None = None
        #: what the engine said when the last `run` ended: containers_peak, done, failed
        self.summary: dict[str, Any] = {}
        #: where its web functions are, by their names, while it runs or once it is deployed
        self.urls: dict[str, str] = {}

    # ------------------------------------------------------------------------------ properties

    @property
    def name(self) -> str | None:
        """The name that it was given."""
        return self._name

    @property
    def app_id(self) -> str | None:
        """Its id, `ap-…`, while it runs or once it is deployed; otherwise None."""
        return self._app_id

    @property
    def description(self) -> str:
        """Its name, or else that of its file."""
        if self._name:
            return self._name
        file = getattr(sys.modules.get(self._module), "__file__", None)
        return file.replace("\\", "/").rpartition("/")[2] if file else "app"

    @property
    def module_name(self) -> str:
        """The module that made it."""
        return self._module

    @property
    def registered_functions(self) -> dict[str, Function]:
        """Its functions, by name."""
        return {name: each for name, each in self._functions.items() if each.cls_spec is None}

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

    # ----------------------------------------------------------------------------- declaration

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
            schedule: When the function runs by itself, without arguments, while the App lives.
            scaling: When its autoscaler settings change by themselves while the App lives.
            include_source: Bring the program's sources to the containers.
            **others: Modal's options that this version does not have; empty ones are accepted.

        Raises:
            InvalidError: A value makes no sense; the text names it.
            UnimplementedError: Something was asked for that does not exist yet, or not here.
        """
        if _forgotten is not None:
            raise errors.InvalidError(
                "Did you forget parentheses? Suggestion: `@app.function()`.",
                hint="Write `@app.function()` above the function.",
            )
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
                fork=fork,
                concurrency=concurrency_of(body.raw),
                batching=body.batching or batching_of(body.raw),
                schedule=schedule,
                scaling=scaling,
                gpu=gpu,
                image=layers,
            )
            spec = with_web(spec, webs_of(body.raw))
            function = Function(spec.name, raw=body.raw, spec=spec, app=self, serialized=serialized)
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

        if _forgotten is not None:
            raise errors.InvalidError(
                "Did you forget parentheses? Suggestion: `@app.cls()`.",
                hint="Write `@app.cls()` above the class.",
            )
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
        if _forgotten is not None:
            raise errors.InvalidError(
                "Did you forget parentheses? Suggestion: `@app.local_entrypoint()`.",
                hint="Write `@app.local_entrypoint()` above the function.",
            )
        if name is not None:
            check_name("local entry point", name)

        def decorate(raw: Callable[..., Any]) -> LocalEntrypoint:
            wanted = name or raw.__qualname__
            if wanted in self._entrypoints:
                raise errors.InvalidError(
                    f"Duplicate local entry point name: {wanted!r}.",
                    hint="Rename one, or give it `name=`.",
                )
            entrypoint = LocalEntrypoint(raw, wanted, self)
            self._entrypoints[wanted] = entrypoint
            return entrypoint

        return decorate

    def include(self, other: App, inherit_tags: bool = True) -> App:  # noqa: FBT001, FBT002
        """Take in the functions and entry points of another App; return this one."""
        for function in other._functions.values():
            self._register(function)
        self._classes |= other._classes
        for name, entrypoint in other._entrypoints.items():
            self._entrypoints.setdefault(name, entrypoint)
        if inherit_tags:
            self._tags = {**other._tags, **self._tags}
        return self

    def _register(self, function: Function) -> None:
        known = self._functions.get(function.name)
        if known is not None and known is not function:
            _warn_collision(function.name)
        self._functions[function.name] = function

    # --------------------------------------------------------------------------- run and deploy

    @iterating
    def run(
        self,
        *,
        name: str | None = None,
        client: Client | None = None,
        detach: bool = False,
        interactive: bool = False,
        environment_name: str | None = None,
    ) -> AppRun:
        """Run the App while the `with` block is open: its functions can be called inside.

        Args:
            name: How it is listed.
            client: The engine; this environment's when omitted.
            detach: Calls that are under way at the end of the block go on.
            interactive: `cloudfn.interact()` in containers reads from this terminal.
            environment_name: Another environment than the one that is set.
        """
        return AppRun(self, name, client, environment_name, detach=detach, interactive=interactive)

    @twin
    def deploy(
        self,
        *,
        name: str | None = None,
        environment_name: str | None = None,
        tag: str = "",
        client: Client | None = None,
        strategy: str = "rolling",
        keep_overrides: bool = False,
    ) -> Steps[App]:
        """Keep the App running until it is stopped, and replace an earlier one of the name.

        Args:
            name: Its name; the App's own when omitted.
            environment_name: Another environment than the one that is set.
            tag: A mark for the history.
            client: The engine; this environment's when omitted.
            strategy: "rolling": old containers finish what they run. "recreate": they end at once,
                and what they ran is run again.
            keep_overrides: Settings made with `update_autoscaler` stay.

        Raises:
            InvalidError: It has no name, or one that is not allowed.
        """
        wanted = name or self._name
        if not wanted:
            raise errors.InvalidError(
                "You need to either supply an explicit deployment name to the deploy command, or "
                "have a name set on the app.",
                hint='Write `app = cloudfn.App("some-name")`, or app.deploy(name="some-name").',
            )
        check_characters("App", wanted)
        if strategy not in ("rolling", "recreate"):
            raise errors.InvalidError(
                f"`strategy` must be 'rolling' or 'recreate', not {strategy!r}."
            )
        if tag and (len(tag) > _TAG_MAX):
            raise errors.InvalidError(f"`tag` is longer than {_TAG_MAX} characters.")
        refuse_in_container("deploy")
        engine = client or default_client(environment_name)
        told = yield from self.open(
            engine, wanted, "deployed", tag=tag, strategy=strategy, keep_overrides=keep_overrides
        )
        self.deployment = Deployment(told["app_id"], told["revision"], told["changed"])
        self.bind(told, client, environment_name)
        return self

    @twin
    def replace(self, app_id: str, *, client: Client | None = None) -> Steps[dict[str, Any]]:
        """Put this text of the App in the place of the one that runs; `cloudfn serve` does it.

        Args:
            app_id: The App that runs, without being deployed.
            client: The engine; this environment's when omitted.

        Returns:
            `revision`, and whether anything `changed`.

        Raises:
            NotFoundError: It does not run any more.
        """
        engine = client or default_client()
        told = yield from self.open(
            engine, self.description, "ephemeral", strategy="recreate", app_id=app_id
        )
        return told

    @static_twin
    def lookup(
        name: str,  # noqa: N805 - static
        *,
        client: Client | None = None,
        environment_name: str | None = None,
        create_if_missing: bool = False,
    ) -> Steps[App]:
        """Return a deployed App, by name or id, without its functions' definitions.

        Args:
            name: Its name, or its id.
            client: The engine; this environment's when omitted.
            environment_name: Another environment than the one that is set.
            create_if_missing: Deploy an App without functions where there is none of the name.

        Raises:
            NotFoundError: There is none of that name.
        """
        from cloudfn.sdk import app_lookup

        record = yield from app_lookup.find(name, client, environment_name, create_if_missing)
        return _restored(record["name"], record["app_id"], record["functions"], environment_name)

    @twin
    def stop(self) -> Steps[None]:
        """End the App: what waits or runs is cancelled.

        Raises:
            ExecutionError: It neither runs nor is deployed.
        """
        app_id = self._known_id()
        engine = self._client or default_client(self._environment)
        if self.is_running:
            yield from engine.ask("app_close", app_id=app_id)
            engine.unkeep(app_id)
        else:
            yield from engine.ask("app_stop", name=app_id)
        self.unbind()

    def __repr__(self) -> str:
        return f"<App {self.description}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._name, self._app_id, list(self._functions))

    # --------------------------------------------------------------------------- with the engine

    def open(
        self,
        engine: Client,
        name: str,
        state: str,
        *,
        tag: str = "",
        strategy: str = "rolling",
        keep_overrides: bool = False,
        terminal: str | None = None,
        app_id: str | None = None,
    ) -> Steps[dict[str, Any]]:
        """Register the App as it stands with the engine; for `run`, `deploy` and `replace`."""
        from pathlib import Path

        from cloudfn.sdk.revision import revision_of

        for function in self._functions.values():
            check_characters("Function", shown_name(function.name))
            if function.spec is not None:
                function.spec = yield from function.supplies.named(function.spec, engine)
        welcome = yield from engine.ready()
        deployed = state == "deployed"
        # Classes of the user's program that live here must be the ones that containers import.
        revision = yield Blocking(
            lambda: revision_of(
                list(self._functions.values()),
                self._module,
                Path(welcome.bundles),
                durable=deployed,
                labels=deployed,
                tag=tag,
            )
        )
        self._warn_of_images()
        told = yield from engine.ask(
            "app_open",
            name=name,
            state=state,
            revision=revision,
            strategy=strategy,
            keep_overrides=keep_overrides,
            terminal=terminal,
            tags=self._tags,
            app_id=app_id,
        )
        for text in told.get("warnings", ()):
            _warn(text, errors.ServerWarning)
        return {**told, "module": revision["module"]}

    def _warn_of_images(self) -> None:
        specs = [each.spec for each in self._functions.values() if each.spec is not None]
        unmet = [method for spec in specs if spec.image for method in spec.image.unmet]
        if unmet:
            _warn(
                "This version installs nothing that images ask for "
                f"({', '.join(dict.fromkeys(unmet))}): containers run under {sys.executable} and "
                "have its packages.",
                errors.UserWarning,
            )

    def bind(self, told: dict[str, Any], client: Client | None, environment: str | None) -> None:
        """The engine knows the App and its functions from here on."""
        app_id = told["app_id"]
        self._app_id, self._client, self._environment = app_id, client, environment
        self.urls = dict(told.get("urls", {}))
        for name, function_id in told["functions"].items():
            function = self._functions.get(name)
            if function is not None:
                function.bind(function_id, app_id, told["module"], client, environment)

    def unbind(self) -> None:
        """The App runs no more."""
        self._app_id = None
        for function in self._functions.values():
            function.unbind()


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


def _warn(text: str, kind: type[Warning]) -> None:
    import warnings

    warnings.warn(text, kind, stacklevel=2)


def _warn_collision(name: str) -> None:
    import warnings

    warnings.warn(
        f"function name {shown_name(name)!r} collision! Overriding existing function with the new "
        "one.",
        errors.UserWarning,
        stacklevel=4,
    )


def _restored(
    name: str | None, app_id: str | None, functions: Sequence[str], environment: str | None = None
) -> App:
    """Return an App that is known by its id, with handles of its functions."""
    app = App(name)
    app._app_id, app._environment = app_id, environment  # noqa: SLF001
    for each in functions:
        app._functions[each] = Function.of_app(each, app_id, environment)  # noqa: SLF001
    return app
