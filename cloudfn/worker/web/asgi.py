"""Drives ASGI applications: one request over one socket, and the lifespan of the application."""

from __future__ import annotations

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from cloudfn.errors import DataLossError, ExecutionError
from cloudfn.wire.web import PIECE, Event, encode_event, read_event

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Complain = Callable[[BaseException], None]

#: 2.3: applications learn from `receive` that a client has left, and need not wait for `send`
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_BODIES = ("http.response.body", "websocket.http.response.body")
_LOST: dict[str, Event] = {
    "http": {"type": "http.disconnect"},
    "websocket": {"type": "websocket.disconnect", "code": 1006, "reason": ""},
}


class Request:
    """One request in the hands of an application.

    Args:
        reader: Events of the client.
        writer: Where events of the application go.
        scope: What the application is called with.
    """

    def __init__(self, reader: StreamReader, writer: StreamWriter, scope: Scope) -> None:
        self._reader = reader
        self._writer = writer
        self._kind = str(scope["type"])
        self._next: asyncio.Task[Event | None] | None = None
        self.scope = scope
        #: the client was seen to have left
        self.is_lost = False
        self.is_complete = False

    async def receive(self) -> Event:
        """Return what the client says next; an application may call it, and change its mind."""
        if self.is_lost:
            return _LOST[self._kind].copy()
        if self._next is None:
            self._next = asyncio.ensure_future(read_event(self._reader))
        # Whoever is cancelled while it waits must not take half an event with it.
        event = await asyncio.shield(self._next)
        self._next = None
        if event is None:
            self.is_lost = True
            return _LOST[self._kind].copy()
        return event

    async def send(self, event: Event) -> None:
        """Send what the application says; waits while the client does not read.

        Raises:
            OSError: The client has left.
        """
        if self.is_lost:
            raise ConnectionResetError("The client has left.")
        if "headers" in event:
            pairs = [(bytes(name), bytes(value)) for name, value in event["headers"]]
            event = {**event, "headers": pairs}
        for piece in _pieces(event):
            self._writer.write(encode_event(piece))
            await self._writer.drain()
        self._note(event)

    def _note(self, event: Event) -> None:
        if event["type"] in _BODIES:
            self.is_complete = not event.get("more_body")
        elif event["type"] == "websocket.close":
            self.is_complete = True

    async def fail(self) -> None:
        """Say that the application failed."""
        with suppress(OSError):
            self._writer.write(encode_event({"type": "cloudfn.failed"}))
            await self._writer.drain()

    async def close(self) -> None:
        """Say that nothing follows, and wait for the gateway to hang up.

        A socket that is closed with something unread in it takes back what was sent last.
        """
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})  # two cannot read at once
        with suppress(OSError):
            self._writer.write_eof()
            while await self._reader.read(PIECE):
                pass
        self._writer.close()


async def answer(
    sock: socket.socket, choose: Callable[[str], tuple[Application, Event]], complain: Complain
) -> None:
    """Answer one request.

    Args:
        sock: Where its events come from; closed at the end.
        choose: Returns the application of a method, and the state of its lifespan.
        complain: Is told what the application raised.
    """
    reader, writer = await asyncio.open_connection(sock=sock, limit=PIECE)
    try:
        first = await read_event(reader)
    except DataLossError:
        first = None
    if first is None or first["type"] != "cloudfn.scope":
        writer.close()
        return
    try:
        app, state = choose(first["of"])
    except BaseException:
        writer.close()
        raise
    request = Request(reader, writer, _scope(first["scope"], state))
    try:
        await _carry_out(app, request, complain)
    finally:
        await request.close()


async def _carry_out(app: Application, request: Request, complain: Complain) -> None:
    try:
        await app(request.scope, request.receive, request.send)
    except asyncio.CancelledError:
        return  # over its time: the client was told
    except BaseException as error:
        if request.is_lost and isinstance(error, OSError):
            return
        complain(error)
        await request.fail()
        return
    if request.scope["type"] == "http" and not request.is_complete and not request.is_lost:
        complain(ExecutionError("The application returned without completing its response."))
        await request.fail()


class Lifespan:
    """The life of an application, from before its first request to after its last one.

    Applications that know nothing of lifespans are left alone.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._said: asyncio.Queue[Event] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        #: what the application keeps for its requests
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Have it start up.

        Raises:
            ExecutionError: It says that it cannot.
        """
        scope = {"type": "lifespan", "asgi": _ASGI, "state": self.state}
        self._task = asyncio.ensure_future(self._run(scope))
        said = await self._ask("lifespan.startup")
        if said is not None and said["type"] == "lifespan.startup.failed":
            raise ExecutionError(
                f"The web application cannot start: {said.get('message') or 'it does not say why'}."
            )

    async def stop(self) -> None:
        """Have it shut down.

        Raises:
            ExecutionError: It says that it failed to.
        """
        said = await self._ask("lifespan.shutdown")
        if self._task is not None:
            self._task.cancel()
        if said is not None and said["type"] == "lifespan.shutdown.failed":
            raise ExecutionError(
                f"The web application did not shut down: {said.get('message') or 'without reason'}."
            )

    async def _ask(self, kind: str) -> Event | None:
        """Return what it says to an event; None when it has left or does not care."""
        if self._task is None or self._task.done():
            return None
        self._events.put_nowait({"type": kind})
        hearing = asyncio.ensure_future(self._said.get())
        await asyncio.wait({hearing, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if hearing.done():
            return hearing.result()
        hearing.cancel()
        return None

    async def _run(self, scope: Scope) -> None:
        async def send(event: Event) -> None:
            self._said.put_nowait(event)

        # It may raise at once where it has no lifespan: the specification says so.
        with suppress(Exception):
            await self._app(scope, self._events.get, send)


def _scope(plain: Event, state: dict[str, Any]) -> Scope:
    """Return the scope of a request as applications expect it."""
    scope: Scope = {**plain, "asgi": _ASGI, "state": dict(state)}
    scope["headers"] = [(name, value) for name, value in plain["headers"]]
    for name in ("client", "server"):
        if plain.get(name) is not None:
            scope[name] = tuple(plain[name])
    if plain["type"] == "websocket":
        scope["extensions"] = {"websocket.http.response": {}}
    return scope


def _pieces(event: Event) -> list[Event]:
    """Return an event, or several where its body is long."""
    body = event.get("body") or b""
    if event["type"] not in _BODIES or len(body) <= PIECE:
        return [event]
    starts = range(0, len(body), PIECE)
    more = bool(event.get("more_body"))
    return [
        {
            "type": event["type"],
            "body": body[start : start + PIECE],
            "more_body": more or start + PIECE < len(body),
        }
        for start in starts
    ]
