"""WSGI applications as ASGI ones: each request in a thread, streamed both ways."""

from __future__ import annotations

import asyncio
import io
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from cloudfn.wire.web import Event
from cloudfn.worker.web.asgi import Receive, Scope, Send

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiAdapter:
    """An ASGI application that calls a WSGI one.

    Args:
        app: The WSGI application.
        threads: How many requests run at once.
    """

    def __init__(self, app: Wsgi, threads: int) -> None:
        self._app = app
        self._executor: Executor = ThreadPoolExecutor(threads, thread_name_prefix="cloudfn-wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; websockets are closed, lifespans ignored."""
        if scope["type"] == "lifespan":
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        loop = asyncio.get_running_loop()
        call = _Call(loop, receive, send)
        context = copy_context()
        running = loop.run_in_executor(
            self._executor, context.run, call.run, self._app, environ_of(scope, call.body)
        )
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            # The thread goes on to its next word to us; until then the slot is taken.
            call.is_over = True
            with suppress(Exception):
                await running
            raise


def environ_of(scope: Scope, body: io.RawIOBase) -> dict[str, Any]:
    """Return the environment of a request, as PEP 3333 has it."""
    root = scope.get("root_path", "")
    path = scope["path"].removeprefix(root)
    host, port = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _native(root),
        "PATH_INFO": _native(path),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BufferedReader(body),
        # A body without a length ends by itself.
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        if name not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            name = f"HTTP_{name}"
        value = raw_value.decode("latin-1")
        environ[name] = f"{environ[name]},{value}" if name in environ else value
    return environ


class _Call:
    """One request in its thread."""

    def __init__(self, loop: AbstractEventLoop, receive: Receive, send: Send) -> None:
        self._loop = loop
        self._send = send
        self._head: Event | None = None
        self._begun = False
        self.is_over = False
        self.body = _Body(loop, receive)

    def run(self, app: Wsgi, environ: dict[str, Any]) -> None:
        """Call the application and send what it yields, as it comes."""
        chunks = app(environ, self._start_response)
        try:
            for chunk in chunks:
                if chunk:
                    self._write(chunk)
            self._say({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if callable(close := getattr(chunks, "close", None)):
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info and self._begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._head is not None and not exc_info:
            raise RuntimeError("start_response was called a second time without exc_info.")
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        code = int(status.split(" ", 1)[0])
        self._head = {"type": "http.response.start", "status": code, "headers": pairs}
        return self._write

    def _write(self, chunk: bytes) -> None:
        self._say({"type": "http.response.body", "body": bytes(chunk), "more_body": True})

    def _say(self, event: Event) -> None:
        if self._head is None:
            raise RuntimeError("The application did not call start_response.")
        if not self._begun:
            self._begun = True
            self._await(self._head)
        self._await(event)

    def _await(self, event: Event) -> None:
        if self.is_over:
            raise TimeoutError("The request is over its time.")
        sending: Any = self._send(event)
        asyncio.run_coroutine_threadsafe(sending, self._loop).result()


class _Body(io.RawIOBase):
    """A request's body, read from its thread as it is needed."""

    def __init__(self, loop: AbstractEventLoop, receive: Receive) -> None:
        super().__init__()
        self._loop = loop
        self._receive = receive
        self._rest = memoryview(b"")
        self._more = True

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; 0 at the end.

        Raises:
            OSError: The client left in the midst of it.
        """
        while not self._rest and self._more:
            receiving: Any = self._receive()
            event = asyncio.run_coroutine_threadsafe(receiving, self._loop).result()
            if event["type"] != "http.request":
                raise ConnectionResetError("The client left before the end of the body.")
            self._rest = memoryview(event.get("body") or b"")
            self._more = bool(event.get("more_body"))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _native(text: str) -> str:
    """Return a path as WSGI has it: its bytes as latin-1."""
    return text.encode().decode("latin-1")
