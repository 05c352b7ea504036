"""The Function: what a decorated function becomes, and the handle of a deployed one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudfn.errors import ExecutionError, InvalidError
from cloudfn.model.terms import NAMES
from cloudfn.sdk.client import Client, current_settings, default_client
from cloudfn.sdk.function_facts import FunctionFacts
from cloudfn.sdk.supplies import Supplies
from cloudfn.sdk.twins import Steps, iterating, twin
from cloudfn.sdk.varying import Varying, version_option

if TYPE_CHECKING:
    from cloudfn.model.cls import ClsSpec
    from cloudfn.model.function import FunctionSpec
    from cloudfn.model.terms import Moment, Terms
    from cloudfn.sdk.app import App
    from cloudfn.sdk.autoscaler import Autoscaler
    from cloudfn.sdk.function_call import FunctionCall
    from cloudfn.sdk.map_result import MapResult
    from cloudfn.sdk.maps import MapRequest
    from cloudfn.sdk.records import (
        FunctionAutoscalerSettings,
    )
    from cloudfn.sdk.spawner import Spawner
    from cloudfn.sdk.streams import RemoteGenerator
    from cloudfn.sdk.target import Target


class Function(Varying, FunctionFacts):
    """A function that runs in containers. It is not callable: use `.remote(…)` or `.local(…)`."""

    def __init__(
        self,
        name: str,
        *,
        raw: Callable[..., Any] | None = None,
        spec: FunctionSpec | None = None,
        app: App | None = None,
        serialized: bool = False,
    ) -> None:
        self.__cloudfn_raw__ = raw
        self.name = name
        self.spec = spec
        self.serialized = serialized
        self._app = app
        self._app_name: str | None = None
        self._app_id: str | None = None
        self._function_id: str | None = None
        #: known by its id alone, until it is looked up
        self._wanted_id: str | None = None
        self._module: str | None = spec.module if spec else None
        self._is_generator: bool | None = spec.is_generator if spec else None
        #: what is known of the class; None for a function, and before it was looked up
        self.cls_spec: ClsSpec | None = spec.cls if spec else None
        self._is_web: bool = bool(spec and spec.web)
        #: what its containers get; stored when its App is opened
        self.supplies = Supplies()
        self._environment: str | None = None
        self._client: Client | None = None
        if raw is not None:
            self.__name__ = raw.__name__
            self.__qualname__ = raw.__qualname__
            self.__module__ = raw.__module__
            self.__doc__ = raw.__doc__

    # ------------------------------------------------------------------------------- identity

    @classmethod
    def from_name(
        cls,
        app_name: str,
        name: str,
        *,
        version: int | None = None,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Function:
        """Return the handle of a deployed function; looked up when it is first used.

        Args:
            app_name: The app's name.
            name: The function's.
            version: The number of a revision to stay with, whichever is live; its containers are
                a pool of their own, which keeps none warm.
            environment_name: Another environment than the one that is set.
            client: The engine; the environment's when omitted.

        Raises:
            InvalidError: The name is that of a class's method, or the version is no number.
        """
        if "." in name:
            raise InvalidError(
                f"{name!r} is a method of a class.",
                hint=f"Use cloudfn.Cls.from_name({app_name!r}, {name.partition('.')[0]!r}).",
            )
        function = cls.named(app_name, name, environment_name=environment_name, client=client)
        return function if version is None else function.varied(version_option(version))

    @classmethod
    def named(
        cls,
        app_name: str,
        name: str,
        *,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Function:
        """Do the same as `from_name` for any name, that of all methods of a class among them."""
        function = cls(name)
        function._app_name = app_name
        function._environment = environment_name
        function._client = client
        return function

    @classmethod
    def from_id(
        cls,
        function_id: str,
        *,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Function:
        """Return the handle of a function by its id; looked up when it is first used."""
        function = cls(function_id)
        function._wanted_id = function_id
        function._environment = environment_name
        function._client = client
        return function

    @classmethod
    def of_app(cls, name: str, app_id: str | None, environment: str | None) -> Function:
        """Return the handle of a function of an App that is known by its id; for Apps."""
        function = cls(name)
        function._app_name = function._app_id = app_id
        function._environment = environment
        return function

    @property
    def app(self) -> App | None:
        """The App that the function is defined on."""
        return self._app

    @property
    def object_id(self) -> str:
        """The function's id, once it is known to the engine.

        Raises:
            ExecutionError: It is not.
        """
        if self._function_id is None:
            raise self._unhydrated()
        return self._function_id

    @property
    def known_id(self) -> str | None:
        """The function's id, or None while the engine does not know it."""
        return self._function_id

    @property
    def app_id(self) -> str | None:
        """The id of its App, once it is known."""
        return self._app_id

    @property
    def module(self) -> str | None:
        """The module that its containers import as their own; None if it is unknown."""
        return self._module

    @property
    def is_hydrated(self) -> bool:
        """Whether the engine knows the function, as far as we know."""
        return self._function_id is not None

    @property
    def is_web(self) -> bool:
        """Whether the function answers requests."""
        return self._is_web

    @property
    def is_generator(self) -> bool:
        """Whether the function yields."""
        return bool(self._is_generator)

    def get_raw_f(self) -> Callable[..., Any]:
        """Return the user's own function.

        Raises:
            ExecutionError: Only its name is known here.
        """
        if self.__cloudfn_raw__ is None:
            raise ExecutionError(
                f"The definition for this Function is missing here: only its name, {self.name!r}, "
                "is known.",
                hint="Use `.remote(…)`, or import the module that defines it.",
            )
        return self.__cloudfn_raw__

    @twin
    def hydrate(self, client: Client | None = None) -> Steps[Function]:
        """Look the function up now, rather than on first use."""
        yield from self.hydrated(client)
        return self

    def hydrated(self, client: Client | None) -> Steps[None]:
        """Look the function up, with another client where one is given."""
        if client is not None:
            self._client = client
        yield from self.target()

    # --------------------------------------------------------------------------------- calling

    def local(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function right here; an `async def` returns its coroutine."""
        return self.get_raw_f()(*args, **kwargs)

    @twin
    def remote(self, /, *args: Any, **kwargs: Any) -> Steps[Any]:
        """Run the function in a container and return its result; raises what it raises there."""
        from cloudfn.sdk.invocation import call_remote

        message = "A generator function cannot be called with `.remote(...)`."
        self._refuse_generator(message, hint="Use `.remote_gen(...)` instead.")
        target = yield from self.target()
        self._refuse_generator(message, hint="Use `.remote_gen(...)` instead.")
        return (yield from call_remote(target, self.name, args, kwargs))

    @iterating
    def remote_gen(self, /, *args: Any, **kwargs: Any) -> RemoteGenerator:
        """Run a generator function in a container and iterate over its items as they arrive.

        Nothing runs before the first item is asked for. While the reader is slow the generator
        waits; whoever leaves the loop closes it.
        """
        from cloudfn.sdk.streams import RemoteGenerator, StreamRequest

        self._refuse_web()
        self._refuse_plain()
        self._check_known()
        return RemoteGenerator(StreamRequest(self._generator_target, self.name, args, kwargs))

    @twin
    def spawn(self, /, *args: Any, **kwargs: Any) -> Steps[FunctionCall]:
        """Start the function in a container and return at once with a handle of the call.

        Keyword arguments `delay`, `priority` and `deadline` are the function's own if it has such
        parameters or takes any; otherwise they say when: see `spawn_with`.
        """
        if not kwargs.keys().isdisjoint(NAMES):
            given = yield from self._terms_in(kwargs)
            if given:
                rest = {name: value for name, value in kwargs.items() if name not in given}
                return (yield from self.spawn_with(**given).spawning(args, rest))
        return (yield from self.spawning(args, kwargs))

    def spawn_with(
        self,
        *,
        delay: Moment | None = None,
        priority: int | None = None,
        deadline: Moment | None = None,
    ) -> Spawner:
        """Say when what is spawned may begin: `f.spawn_with(delay=60).spawn(x)`.

        Args:
            delay: Seconds or a timedelta from the spawn on, or an aware datetime; nothing begins
                before.
            priority: -10 to 10, default 0: of the waiting spawned inputs of the function, those
                with the highest go first, except that the others get one turn in eight.
            deadline: Like `delay`. What has not ended by then ends with a DeadlineExceededError:
                it is not started, not run again, and stopped where it runs.

        Raises:
            InvalidError: A value makes no sense.
        """
        from cloudfn.sdk.spawner import Spawner

        return Spawner(self, delay=delay, priority=priority, deadline=deadline)

    def spawning(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], terms: Terms | None = None
    ) -> Steps[FunctionCall]:
        """Spawn one input."""
        from cloudfn.sdk.function_call import FunctionCall
        from cloudfn.sdk.invocation import call_spawn

        self._refuse_generator("Cannot `spawn` a generator function.")
        target = yield from self.target()
        self._refuse_generator("Cannot `spawn` a generator function.")
        call_id = yield from call_spawn(target, self.name, args, kwargs, terms)
        return FunctionCall(call_id, client=self._client, environment=self._environment, inputs=1)

    def _terms_in(self, kwargs: dict[str, Any]) -> Steps[dict[str, Any]]:
        """Return those keyword arguments that are not the function's own but ours."""
        from cloudfn.sdk.declaration import parameters_of

        known: Any
        if self.__cloudfn_raw__ is not None:
            known = parameters_of(self.__cloudfn_raw__)
        else:
            known = yield from self._ask_for_parameters()
        if known is None or "**" in known:
            return {}
        return {name: kwargs[name] for name in NAMES if name in kwargs and name not in known}

    @iterating
    def map(
        self,
        *input_iterators: Any,
        kwargs: dict[str, Any] | None = None,
        order_outputs: bool = True,
        return_exceptions: bool = False,
        wrap_returned_exceptions: bool | None = None,  # noqa: ARG002
        window: int | None = None,
        resume: str | None = None,
    ) -> MapResult:
        """Run the function once for each item, or tuple of items, and iterate over the results.

        Args:
            *input_iterators: Iterables, plain or asynchronous, one for each argument; they are read
                as results come back, so that infinite ones are fine, up to the shortest.
            kwargs: Keyword arguments of every input.
            order_outputs: Results come in the order of the inputs, otherwise as they finish.
            return_exceptions: Failures are among the results; otherwise the first one is raised.
            wrap_returned_exceptions: Accepted and ignored.
            window: How many inputs may be sent and not finished, at most as many as the engine
                allows; None for those. A small one keeps a costly reader from running ahead.
            resume: A name by which a later run, in any process, goes on where this one ends,
                however it does: inputs that are finished are not run again, and their results come
                as they did. It belongs to this function of this app; results are kept for 7 days.

        Raises:
            InvalidError: `window` is no whole number of at least 1, or `resume` no name.
            ConflictError: While it is iterated over: the inputs are not those that the map of that
                name was begun with, or another client runs it just now.
        """
        return self._mapped(
            "map",
            input_iterators,
            kwargs,
            ordered=order_outputs,
            return_exceptions=return_exceptions,
            window=window,
            resume=resume,
        )

    @iterating
    def starmap(
        self,
        input_iterator: Iterable[Sequence[Any]] | Any,
        *,
        kwargs: dict[str, Any] | None = None,
        order_outputs: bool = True,
        return_exceptions: bool = False,
        wrap_returned_exceptions: bool | None = None,  # noqa: ARG002
        window: int | None = None,
        resume: str | None = None,
    ) -> MapResult:
        """Do the same as `map` for an iterable of argument sequences."""
        return self._mapped(
            "starmap",
            (input_iterator,),
            kwargs,
            star=True,
            ordered=order_outputs,
            return_exceptions=return_exceptions,
            window=window,
            resume=resume,
        )

    @twin
    def for_each(
        self,
        *input_iterators: Any,
        kwargs: dict[str, Any] | None = None,
        ignore_exceptions: bool = False,
        window: int | None = None,
        resume: str | None = None,
    ) -> Steps[None]:
        """Run the function once for each item, wait for all, and drop the results; see `map`."""
        from cloudfn.sdk.map_result import consume

        request = self._request(
            "for_each",
            input_iterators,
            kwargs,
            ordered=False,
            return_exceptions=ignore_exceptions,
            window=window,
            resume=resume,
        )
        yield from consume(request)

    @twin
    def spawn_map(
        self, *input_iterators: Any, kwargs: dict[str, Any] | None = None
    ) -> Steps[FunctionCall]:
        """Start the function once for each item; return one handle of all of them."""
        return (yield from self.spawning_many(input_iterators, kwargs))

    def spawning_many(
        self, iterables: Sequence[Any], kwargs: dict[str, Any] | None, terms: Terms | None = None
    ) -> Steps[FunctionCall]:
        """Spawn an input for each item."""
        from cloudfn.sdk.function_call import FunctionCall
        from cloudfn.sdk.map_result import spawn_all

        request = self._request("spawn_map", iterables, kwargs)
        _, call_id, inputs = yield from spawn_all(request, terms)
        return FunctionCall(
            call_id, client=self._client, environment=self._environment, inputs=inputs
        )

    experimental_spawn_map = spawn_map

    @twin
    def get_web_url(self) -> Steps[str | None]:
        """Return the URL that requests go to; None for a function that answers none."""
        if self.spec is not None and not self.spec.web:
            return None
        target = yield from self.target()
        told = yield from target.client.ask(
            "web_url", function_id=target.function_id, method=target.method or ""
        )
        url: str | None = told["url"]
        return url

    @property
    def web_url(self) -> str | None:
        """The same as `get_web_url()`."""
        return self.get_web_url()

    # --------------------------------------------------------------------------------- scaling

    @property
    def autoscaler(self) -> Autoscaler:
        """The function's autoscaler."""
        from cloudfn.sdk.autoscaler import Autoscaler

        return Autoscaler(self)

    @twin
    def update_autoscaler(
        self,
        *,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: int | None = None,
    ) -> Steps[FunctionAutoscalerSettings]:
        """Change how the function scales, until the next deploy; None leaves a value as it is.

        Raises:
            InvalidError: The settings make no sense together; nothing is changed then.
        """
        changes = {
            "min_containers": min_containers,
            "max_containers": max_containers,
            "buffer_containers": buffer_containers,
            "scaledown_window": scaledown_window,
        }
        given: dict[str, int | None] = {k: v for k, v in changes.items() if v is not None}
        return (yield from self.update_settings(given))

    def varied(self, options: Mapping[str, Any]) -> Function:
        """Return a variant with these options on top of those that there are."""
        from cloudfn.sdk.bound import Binding, BoundFunction

        if self._is_generator and "retries" in options:
            raise InvalidError("Generator Functions do not support retries.")
        return BoundFunction(Binding(self, {}, options), self.name)

    # -------------------------------------------------------------------------------- the app's

    def bind(
        self,
        function_id: str,
        app_id: str,
        module: str,
        client: Client | None,
        environment: str | None,
    ) -> None:
        """The engine knows the function from here on; `module` is what its containers import."""
        self._module = module
        self._function_id = function_id
        self._app_id = app_id
        self._client = client
        self._environment = environment

    def unbind(self) -> None:
        """Its App runs no more."""
        self._function_id = self._app_id = None

    def __repr__(self) -> str:
        return f"<Function {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        state = (
            self.name,
            self._app_name,
            self._app_id,
            self._function_id or self._wanted_id,
            self._module,
            self._is_generator,
            self._is_web,
        )
        return _restored, state

    # ------------------------------------------------------------------------------- internals

    def _refuse_web(self) -> None:
        if self._is_web:
            raise InvalidError(
                f"A webhook function cannot be invoked directly: {self.name}.",
                hint="Send a request to its `get_web_url()`, or call it here with `.local(…)`.",
            )

    def _refuse_generator(self, message: str, hint: str | None = None) -> None:
        self._refuse_web()
        if self._is_generator:
            raise InvalidError(message, hint=hint)

    def _refuse_plain(self) -> None:
        if self._is_generator is False:
            raise InvalidError(
                "A non-generator function cannot be called with `.remote_gen(...)`.",
                hint="Use `.remote(...)` instead.",
            )

    def _generator_target(self) -> Steps[Target]:
        target = yield from self.target()
        self._refuse_plain()
        return target

    def _mapped(self, method: str, iterables: Sequence[Any], kwargs: Any, **how: Any) -> MapResult:
        from cloudfn.sdk.map_result import MapResult

        return MapResult(self._request(method, iterables, kwargs, **how))

    def _request(
        self, method: str, iterables: Sequence[Any], kwargs: dict[str, Any] | None, **how: Any
    ) -> MapRequest:
        from cloudfn.sdk.maps import MapRequest, check_window
        from cloudfn.sdk.resuming import check_resume
        from cloudfn.sdk.sources import check_iterables

        check_window(how.get("window"))
        check_resume(how.get("resume"))

        message = f"A generator function cannot be called with `.{method}(...)`."
        self._refuse_generator(message)
        check_iterables(iterables, method)
        self._check_known()  # a function that cannot be called fails here, not at the first result

        def target() -> Steps[Target]:
            found = yield from self.target()
            self._refuse_generator(message)
            return found

        return MapRequest(method, target, self.name, iterables, dict(kwargs or {}), **how)

    def is_reachable(self) -> bool:
        """Whether the engine may know the function."""
        known = self._function_id or self._wanted_id or self._app_name
        return known is not None or current_settings().container is not None

    def _check_known(self) -> None:
        """Raise ExecutionError where the engine cannot know the function."""
        if not self.is_reachable():
            raise self._unhydrated()

    def engine(self) -> Client:
        """Return the engine that the function lives in."""
        return self._client or default_client(self._environment)

    def target(self) -> Steps[Target]:
        """Return what a call is aimed at; looks the function up on first use."""
        from cloudfn.sdk.target import Target, parent, pickle_context

        if self._function_id is None:
            yield from self._look_up()
        assert self._function_id is not None
        return Target(self.engine(), self._function_id, pickle_context(self._module), parent())

    def _look_up(self) -> Steps[None]:
        told = yield from self.engine().ask("function_lookup", **self._address())
        self._function_id = told["function_id"]
        self.name = told["name"]
        self._app_id = told.get("app_id")
        spec = told.get("spec", {})
        self._module = spec.get("module", self._module)
        self._is_generator = bool(spec.get("is_generator"))
        if spec.get("cls"):
            from cloudfn.model.cls import ClsSpec

            self.cls_spec = ClsSpec(**spec["cls"])
        self._is_web = bool(spec.get("web"))

    def _ask_for_parameters(self) -> Steps[list[str] | None]:
        """Return the names of its parameters as they were declared; None if nobody knows."""
        target = yield from self.target()
        told = yield from target.client.ask("function_lookup", function_id=target.function_id)
        spec: dict[str, Any] = told["spec"]
        if target.method is not None:
            spec = spec["cls"]["methods"][target.method]
        return spec.get("parameters")

    def _address(self) -> dict[str, Any]:
        """Return what a lookup asks for; raises ExecutionError where nothing says which it is."""
        if self._wanted_id is not None:
            return {"function_id": self._wanted_id}
        container = current_settings().container
        app = self._app_name or (container.app_id if container else None)
        if app is None:
            raise self._unhydrated()
        return {"app": app, "name": self.name}

    def update_settings(self, changes: dict[str, int | None]) -> Steps[FunctionAutoscalerSettings]:
        """Change autoscaler settings; return those in force then."""
        from cloudfn.sdk.records import FunctionAutoscalerSettings

        target = yield from self.target()
        told = yield from target.client.ask(
            "settings_update", function_id=target.function_id, changes=changes
        )
        return FunctionAutoscalerSettings.from_reply(told["settings"])

    def _unhydrated(self) -> ExecutionError:
        return ExecutionError(
            f"The Function {self.name!r} has not been hydrated with the metadata it needs to run, "
            "because the App it is defined on is not running.",
            hint="Call it inside `with app.run():` or a local entry point, or deploy the app and "
            "use `Function.from_name`.",
        )


def _restored(
    name: str,
    app_name: str | None,
    app_id: str | None,
    function_id: str | None,
    module: str | None,
    is_generator: bool | None,  # noqa: FBT001
    is_web: bool,  # noqa: FBT001
) -> Function:
    function = Function(name)
    function._app_name = app_name  # noqa: SLF001
    function._app_id = app_id  # noqa: SLF001
    function._function_id = function_id  # noqa: SLF001
    function._module = module  # noqa: SLF001
    function._is_generator = is_generator  # noqa: SLF001
    function._is_web = is_web  # noqa: SLF001
    return function
