"""The Function: what a decorated function becomes, and the handle of a deployed one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudfn.errors import InvalidError
from cloudfn.model.terms import NAMES
from cloudfn.sdk.function_handle import FunctionHandle
from cloudfn.sdk.twins import Steps, iterating, twin

if TYPE_CHECKING:
    from cloudfn.model.terms import Moment, Terms
    from cloudfn.sdk.autoscaler import Autoscaler
    from cloudfn.sdk.function_call import FunctionCall
    from cloudfn.sdk.map_result import MapResult
    from cloudfn.sdk.maps import MapRequest
    from cloudfn.sdk.records import FunctionAutoscalerSettings
    from cloudfn.sdk.spawner import Spawner
    from cloudfn.sdk.streams import RemoteGenerator
    from cloudfn.sdk.target import Target


class Function(FunctionHandle):
    """A function that runs in containers. It is not callable: use `.remote(…)` or `.local(…)`."""

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
        return (
            yield from self.change_settings(
                min_containers=min_containers,
                max_containers=max_containers,
                buffer_containers=buffer_containers,
                scaledown_window=scaledown_window,
            )
        )

    def varied(self, options: Mapping[str, Any]) -> Function:
        """Return a variant with these options on top of those that there are."""
        from cloudfn.sdk.bound import Binding, BoundFunction

        if self._is_generator and "retries" in options:
            raise InvalidError(
                "Generator Functions do not support retries.",
                hint="Leave `retries` away, and catch what may fail inside the generator.",
            )
        return BoundFunction(Binding(self, {}, options), self.name)

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

    def change_settings(self, **given: int | None) -> Steps[FunctionAutoscalerSettings]:
        """Change those autoscaler settings that are not None; return those in force then."""
        changes: dict[str, int | None] = {k: v for k, v in given.items() if v is not None}
        return (yield from self.update_settings(changes))

    def update_settings(self, changes: dict[str, int | None]) -> Steps[FunctionAutoscalerSettings]:
        """Change autoscaler settings; return those in force then."""
        from cloudfn.sdk.records import FunctionAutoscalerSettings

        target = yield from self.target()
        told = yield from target.client.ask(
            "settings_update", function_id=target.function_id, changes=changes
        )
        return FunctionAutoscalerSettings.from_reply(told["settings"])


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
