"""An ASGI application that passes requests on to an HTTP server of this machine."""

from __future__ import annotations

import asyncio
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from cloudfn.wire.web import PIECE, Event
from cloudfn.worker.web.asgi import Receive, Scope, Send
from cloudfn.worker.web.sockets import Tunnel, handshake

Headers = list[tuple[bytes, bytes]]

#: bytes of a response's line and headers
_HEAD_LIMIT = 256 << 10
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_WITHOUT_BODY = (204, 304)


@dataclass(frozen=True, slots=True)
class Head:
    """The start of a response."""

    status: int
    headers: Headers

    def header(self, name: bytes) -> bytes:
        """Return a header's first value, or nothing."""
        return next((value for found, value in self.headers if found == name), b"")


class Upstream:
    """Speaks HTTP/1.1 with the server at a port, one connection for each request."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on; lifespans are the server's own affair."""
        if scope["type"] == "lifespan":
            return
        try:
            reader, writer = await asyncio.open_connection(
                self._host, self._port, limit=_HEAD_LIMIT
            )
        except OSError as error:
            await _refuse(scope, send, f"The web server at port {self._port} is gone: {error}.\n")
            return
        try:
            if scope["type"] == "websocket":
                await _websocket(scope, receive, send, reader, writer)
            else:
                await _http(scope, receive, send, reader, writer)
        finally:
            writer.close()


async def _http(
    scope: Scope, receive: Receive, send: Send, reader: StreamReader, writer: StreamWriter
) -> None:
    first = await receive()
    if first["type"] != "http.request":
        return
    uploading = asyncio.ensure_future(_upload(scope, first, receive, writer))
    downloading = asyncio.ensure_future(_download(scope, send, reader))
    try:
        # Whoever uploads comes back early only when the client has left.
        await asyncio.wait({uploading, downloading}, return_when=asyncio.FIRST_COMPLETED)
        if downloading.done() or uploading.exception() is not None:
            await downloading
    finally:
        for task in (uploading, downloading):
            task.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await uploading


async def _upload(scope: Scope, first: Event, receive: Receive, writer: StreamWriter) -> None:
    """Send the request; return when the client has left."""
    headers: Headers = [pair for pair in scope["headers"] if pair[0] != b"expect"]
    body, more = first.get("body") or b"", bool(first.get("more_body"))
    sized = any(name == b"content-length" for name, _ in headers)
    if not sized and more:
        headers.append((b"transfer-encoding", b"chunked"))
    elif not sized and body:
        headers.append((b"content-length", str(len(body)).encode()))
    chunked = not sized and more
    writer.write(request_head(scope, [*headers, (b"connection", b"close")]))
    while True:
        if body:
            writer.write(b"%x\r\n%b\r\n" % (len(body), body) if chunked else body)
            await writer.drain()
        if not more:
            break
        event = await receive()
        if event["type"] != "http.request":
            return
        body, more = event.get("body") or b"", bool(event.get("more_body"))
    if chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    await receive()


async def _download(scope: Scope, send: Send, reader: StreamReader) -> None:
    """Send the answer to the client."""
    head = await read_head(reader)
    headers = [pair for pair in head.headers if pair[0] not in _HOP_BY_HOP]
    await send({"type": "http.response.start", "status": head.status, "headers": headers})
    if scope["method"] != "HEAD" and head.status not in _WITHOUT_BODY:
        async for piece in _body(head, reader):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(head: Head, reader: StreamReader) -> AsyncIterator[bytes]:
    if b"chunked" in head.header(b"transfer-encoding").lower():
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            async for piece in _exactly(reader, size):
                yield piece
            await reader.readexactly(2)
    elif length := head.header(b"content-length"):
        async for piece in _exactly(reader, int(length)):
            yield piece
    else:
        while piece := await reader.read(PIECE):
            yield piece


async def _exactly(reader: StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.read(min(size, PIECE))
        if not piece:
            raise ConnectionError("The web server ended its answer early.")
        size -= len(piece)
        yield piece


async def _websocket(
    scope: Scope, receive: Receive, send: Send, reader: StreamReader, writer: StreamWriter
) -> None:
    if (await receive())["type"] != "websocket.connect":
        return
    key, headers = handshake(scope["headers"])
    writer.write(request_head({**scope, "method": "GET"}, headers))
    head = await read_head(reader)
    if head.status != 101:
        await _deny(head, send, reader)
        return
    await Tunnel(reader, writer).run(key, head.headers, receive, send)


async def _deny(head: Head, send: Send, reader: StreamReader) -> None:
    """The server wants no websocket: pass its answer on."""
    headers = [pair for pair in head.headers if pair[0] not in _HOP_BY_HOP]
    kind = "websocket.http.response"
    await send({"type": f"{kind}.start", "status": head.status, "headers": headers})
    async for piece in _body(head, reader):
        await send({"type": f"{kind}.body", "body": piece, "more_body": True})
    await send({"type": f"{kind}.body", "body": b"", "more_body": False})


async def _refuse(scope: Scope, send: Send, text: str) -> None:
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": f"{kind}.start", "status": 502, "headers": headers})
    await send({"type": f"{kind}.body", "body": text.encode()})


def request_head(scope: Scope, headers: Headers) -> bytes:
    """Return the start of a request, whose path begins below what leads to this function."""
    raw_path: bytes = scope["raw_path"]
    path = raw_path.removeprefix(scope["root_path"].encode()) or b"/"
    if query := scope["query_string"]:
        path += b"?" + query
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode(), path)]
    lines += [b"%b: %b" % pair for pair in headers]
    return b"\r\n".join([*lines, b"", b""])


async def read_head(reader: StreamReader) -> Head:
    """Return the start of the server's answer; interim ones are left out.

    Raises:
        ConnectionError: It is none.
    """
    while True:
        try:
            text = await reader.readuntil(b"\r\n\r\n")
            line, *lines = text[:-4].split(b"\r\n")
            status = int(line.split(b" ", 2)[1])
            headers = [_header(each) for each in lines]
        except (IncompleteReadError, LimitOverrunError, ValueError, IndexError):
            raise ConnectionError("The web server's answer is no HTTP.") from None
        if status >= 200 or status == 101:
            return Head(status, headers)


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name.strip():
        raise ValueError(line)
    return name.strip().lower(), value.strip()
