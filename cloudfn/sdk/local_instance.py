"""An instance of a user's class in this process, whose enter hooks are run when it is called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from inspect import Parameter as Argument
from inspect import Signature, isasyncgenfunction
from typing import Any

from cloudfn.model.cls import ClsSpec, build, hooks, is_coroutine_function, members, raw
from cloudfn.sdk.twins import in_event_loop


class LocalInstance:
    """A local instance; exit hooks are never run.

    Args:
        user_cls: The user's own class.
        spec: What it offers.
        parameters: Values of its parameters, as they were given.
        instance: One that there is already, and whose hooks were run.

    Raises:
        TypeError: One is missing, or there is no such parameter.
    """

    def __init__(
        self,
        user_cls: type[Any],
        spec: ClsSpec,
        parameters: Mapping[str, Any],
        instance: Any = None,
    ) -> None:
        Signature(
            [
                Argument(
                    name,
                    Argument.KEYWORD_ONLY,
                    default=Argument.empty if each.required else each.default,
                )
                for name, each in spec.parameters.items()
            ]
        ).bind(**parameters)
        self._cls = user_cls
        self.instance = build(user_cls, dict(parameters)) if instance is None else instance
        self._entered = instance is not None

    def method(self, name: str) -> Callable[..., Any]:
        """Return a method that first runs the enter hooks, once."""
        function = raw(members(self._cls)[name])
        bound = function.__get__(self.instance, self._cls)
        if is_coroutine_function(function):
            return lambda *args, **kwargs: self._awaited(bound(*args, **kwargs))
        if isasyncgenfunction(function):
            return lambda *args, **kwargs: self._iterated(bound(*args, **kwargs))

        def call(*args: Any, **kwargs: Any) -> Any:
            for result in self._hooks():
                if result is not None:
                    _wait(result)
            return bound(*args, **kwargs)

        return call

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        await self._enter()
        return await coroutine

    async def _iterated(self, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        await self._enter()
        async for item in items:
            yield item

    async def _enter(self) -> None:
        for result in self._hooks():
            if result is not None:
                await result

    def _hooks(self) -> Any:
        """Call the enter hooks, once; yield the coroutines of those that are asynchronous."""
        if self._entered:
            return
        self._entered = True
        for hook in (*hooks(self._cls, "enter_snap"), *hooks(self._cls, "enter")):
            result = hook(self.instance)
            yield result if is_coroutine_function(hook) else None


def _wait(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Wait for a coroutine, in a thread where this one's event loop runs."""
    import asyncio

    if not in_event_loop():
        asyncio.run(coroutine)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "cloudfn-enter") as thread:
        thread.submit(asyncio.run, coroutine).result()
