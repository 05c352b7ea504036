"""The client's side of a websocket, RFC 6455, between ASGI events and a server of this machine."""

from __future__ import annotations

import asyncio
import os
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from base64 import b64encode
from contextlib import suppress
from hashlib import sha1
from struct import Struct

from cloudfn.wire.web import MAX_RAW, Event
from cloudfn.worker.web.asgi import Receive, Send

Headers = list[tuple[bytes, bytes]]

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FINAL, _MASKED = 0x80, 0x80
_SHORT, _LONG = Struct(">H"), Struct(">Q")
#: what belongs to one connection, not to what it leads to
_OF_CONNECTION = frozenset(
    {
        b"connection",
        b"upgrade",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-extensions",
        b"sec-websocket-accept",
        b"sec-websocket-protocol",
    }
)


def handshake(headers: Headers) -> tuple[bytes, Headers]:
    """Return a fresh key and the headers that ask a server for a websocket."""
    key = b64encode(os.urandom(16))
    kept = [
        pair
        for pair in headers
        if pair[0] not in _OF_CONNECTION or pair[0] == b"sec-websocket-protocol"
    ]
    kept += [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", key),
    ]
    return key, kept


class Tunnel:
    """One websocket to the server."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def run(self, key: bytes, headers: Headers, receive: Receive, send: Send) -> None:
        """Pass messages on both ways until one side closes.

        Raises:
            ConnectionError: The server is not one that speaks websockets.
        """
        found = dict(headers)
        # The algorithm is the standard's; nothing secret hangs on it.
        digest = sha1(key + _MAGIC, usedforsecurity=False).digest()
        if found.get(b"sec-websocket-accept") != b64encode(digest):
            raise ConnectionError("The web server accepts another websocket than was asked for.")
        accept: Event = {"type": "websocket.accept", "headers": _others(headers)}
        if protocol := found.get(b"sec-websocket-protocol"):
            accept["subprotocol"] = protocol.decode("latin-1")
        await send(accept)
        sending = asyncio.ensure_future(self._to_server(receive))
        receiving = asyncio.ensure_future(self._to_client(send))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                await receiving
        finally:
            for task in (sending, receiving):
                task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending

    async def _to_server(self, receive: Receive) -> None:
        while (event := await receive())["type"] == "websocket.receive":
            if event.get("text") is not None:
                await self._frame(_TEXT, event["text"].encode())
            else:
                await self._frame(_BINARY, event.get("bytes") or b"")
        code = event.get("code") or 1000
        await self._frame(_CLOSE, _SHORT.pack(code if code not in (1005, 1006) else 1001))

    async def _to_client(self, send: Send) -> None:
        try:
            while (event := await self._message()) is not None:
                await send(event)
                if event["type"] == "websocket.close":
                    return
        except (IncompleteReadError, OSError):
            await send({"type": "websocket.close", "code": 1011, "reason": ""})

    async def _message(self) -> Event | None:
        """Return the next message of the server; pings are answered on the way."""
        kind, parts, size = _CONTINUATION, [], 0
        while True:
            final, opcode, data = await self._read_frame(MAX_RAW - size)
            if opcode == _PING:
                await self._frame(_PONG, data)
            elif opcode == _CLOSE:
                code = _SHORT.unpack_from(data)[0] if len(data) >= 2 else 1000
                reason = data[2:].decode(errors="replace")
                return {"type": "websocket.close", "code": code, "reason": reason}
            elif opcode in (_TEXT, _BINARY, _CONTINUATION):
                kind = opcode or kind
                parts.append(data)
                size += len(data)
                if final:
                    return _received(kind, b"".join(parts))

    async def _read_frame(self, limit: int) -> tuple[bool, int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = _SHORT.unpack(await self._reader.readexactly(2))[0]
        elif size == 127:
            size = _LONG.unpack(await self._reader.readexactly(8))[0]
        if size > limit:
            raise ConnectionError("The web server sent a message that is too long.")
        return bool(first & _FINAL), first & 0x0F, await self._reader.readexactly(size)

    async def _frame(self, opcode: int, data: bytes) -> None:
        """Send one frame, masked as clients have to."""
        size = len(data)
        if size < 126:
            head = bytes((_FINAL | opcode, _MASKED | size))
        elif size < 1 << 16:
            head = bytes((_FINAL | opcode, _MASKED | 126)) + _SHORT.pack(size)
        else:
            head = bytes((_FINAL | opcode, _MASKED | 127)) + _LONG.pack(size)
        mask = os.urandom(4)
        self._writer.write(head + mask + masked(data, mask))
        await self._writer.drain()


def masked(data: bytes, mask: bytes) -> bytes:
    """Return data with a mask of four bytes laid over it; the same again takes it off."""
    size = len(data)
    pad = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(data, "big") ^ pad).to_bytes(size, "big")


def _received(kind: int, data: bytes) -> Event:
    if kind == _TEXT:
        return {"type": "websocket.send", "text": data.decode(errors="replace")}
    return {"type": "websocket.send", "bytes": data}


def _others(headers: Headers) -> Headers:
    return [pair for pair in headers if pair[0] not in _OF_CONNECTION]
