"""Makes an ASGI application of whatever a web decorator stands above."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from cloudfn.clock import Clock
from cloudfn.errors import ExecutionError, InvalidError
from cloudfn.model.web import WebSpec
from cloudfn.worker.web.asgi import Application

#: seconds between two looks at a port
_LOOK = 0.02
_LOOPBACK = "127.0.0.1"


async def application(
    web: WebSpec, function: Callable[..., Any], slots: int, clock: Clock
) -> Application:
    """Return the application that answers a container's requests.

    Args:
        web: What was declared.
        function: The user's own function, or a method that is bound to its instance.
        slots: How many requests run at once.
        clock: Tells when patience is over.

    Raises:
        BaseException: Whatever user code raises.
        InvalidError: It returned no application, or FastAPI is missing.
        ExecutionError: Its server does not accept connections.
    """
    if web.kind == "endpoint":
        return _endpoint(web, function)
    if web.kind == "server":
        from cloudfn.worker.web.upstream import Upstream

        await _started(web, function, clock)
        return Upstream(_LOOPBACK, web.port)
    app = await _result(function)
    if not callable(app):
        raise InvalidError(
            f"A web function has to return an application, not {type(app).__name__}.",
            hint=f"Return what your framework calls its {web.kind.upper()} application.",
        )
    if web.kind == "wsgi":
        from cloudfn.worker.web.wsgi import WsgiAdapter

        return WsgiAdapter(app, slots)
    return app  # type: ignore[no-any-return]


def _endpoint(web: WebSpec, function: Callable[..., Any]) -> Application:
    try:
        from fastapi import FastAPI
    except ImportError:
        raise InvalidError(
            "`@fastapi_endpoint` needs FastAPI, which is not installed where the function runs.",
            hint="Install it there, `pip install fastapi`, or use `@asgi_app()`.",
        ) from None
    app: Any = FastAPI() if web.docs else FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_api_route("/", function, methods=[web.method])
    return app  # type: ignore[no-any-return]


async def _started(web: WebSpec, function: Callable[..., Any], clock: Clock) -> None:
    """Have user code start its server, once no other container's answers at its port."""
    # Of a container that is on its way out; the function's `startup_timeout` ends the wait.
    while await _answers(web.port):  # noqa: ASYNC110 - another process's port sends no event
        await asyncio.sleep(_LOOK)
    await _result(function)
    deadline = clock.monotonic() + web.startup_timeout
    while not await _answers(web.port):
        if clock.monotonic() > deadline:
            raise ExecutionError(
                f"The web server did not accept connections at port {web.port} within "
                f"{web.startup_timeout:g} s.",
                hint="Have the function start it and return, or raise `startup_timeout` of "
                "`@web_server`.",
            )
        await asyncio.sleep(_LOOK)


async def _answers(port: int) -> bool:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003
        try:
            await loop.sock_connect(probe, (_LOOPBACK, port))
        except OSError:
            return False
        return True


async def _result(function: Callable[..., Any]) -> Any:
    result = function()
    if isawaitable(result):
        awaitable: Awaitable[Any] = result
        return await awaitable
    return result
