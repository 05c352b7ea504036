"""One client's connection: frames in and out, the handshake, and its end."""

from __future__ import annotations

import logging
import os
import socket
from asyncio import AbstractEventLoop
from collections.abc import Iterable
from typing import Any, Protocol

from cloudfn.errors import AuthError, DataLossError
from cloudfn.wire.frames import Decoder, Encoder, derive_key
from cloudfn.wire.messages import PROTOCOL, Kind, decode_json, encode_json, is_blob

_log = logging.getLogger(__name__)

#: bytes read at a time; larger buffers come from the kernel page by page, for each read anew
_READ_SIZE = 64 << 10
#: bytes that a client may leave unread before what it can do without is dropped, and what the
#: ledger keeps as well is left there
_OUT_LIMIT = 4 << 20


class SessionOwner(Protocol):
    """Who serves the messages of a session."""

    def on_hello(self, session: Session, hello: dict[str, Any]) -> dict[str, Any] | None:
        """Return the facts of WELCOME, or None when the client was turned away."""
        ...

    def on_message(self, session: Session, kind: int, body: bytes) -> None:
        """An authentic message arrived."""
        ...

    def on_drained(self, session: Session) -> None:
        """A client that had much to read has read it."""
        ...

    def on_closed(self, session: Session) -> None:
        """The client is gone."""
        ...


class PayloadView(Protocol):
    """What one Docker container sees of payloads in files."""

    #: folder of what it writes, as it names it
    outbox: str

    def show(self, payload: bytes) -> None:
        """Let it read a payload that lies in a blob."""
        ...

    def shown(self, call_id: str) -> int:
        """Return how often something of a call was shown."""
        ...

    def hide_call(self, call_id: str, shown: int | None = None) -> None:
        """It needs nothing of a call any more, unless more than `shown` was shown meanwhile."""
        ...

    def may_send(self, payload: bytes) -> bool:
        """Whether it may hand a payload over as its own."""
        ...


class Session:
    """One connection. Single-threaded; writes are gathered and sent once per turn of the loop."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        sock: socket.socket,
        key: bytes,
        owner: SessionOwner,
        home: str | None = None,
        view: PayloadView | None = None,
    ) -> None:
        #: the one container that this client can be in; None: any, or none
        self.home = home
        #: what it sees of payloads in files; None: all
        self.view = view
        self._loop = loop
        self._sock = sock
        self._key = key
        self._owner = owner
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._out: list[bytes] = []
        self._queued = 0
        self._unsent = bytearray()
        self._flushing = False
        self.closed = False
        self.secured = False
        #: container that this client runs in
        self.container_id: str | None = None
        self.client_pid = 0
        self.version = ""
        #: when the client's code was written, in seconds since the epoch
        self.written = 0
        sock.setblocking(False)  # noqa: FBT003
        loop.add_reader(sock, self._readable)

    def send(self, kind: Kind, body: bytes) -> None:
        """Queue a message."""
        if self.closed:
            return
        frame = self._encoder.frame(kind, body)
        self._out.append(frame)
        self._queued += len(frame)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def bring(self, payloads: Iterable[bytes]) -> None:
        """Do nothing: what lies in blobs of payloads that the client hands over is here."""

    def show(self, payloads: Iterable[bytes]) -> None:
        """Let the client read what lies in blobs of payloads that it is about to get."""
        for payload in payloads if self.view is not None else ():
            if is_blob(payload):
                assert self.view is not None
                self.view.show(payload)

    def send_json(self, kind: Kind, value: dict[str, Any]) -> None:
        """Queue a message of plain data."""
        self.send(kind, encode_json(value))

    @property
    def congested(self) -> bool:
        """Whether the client reads so slowly that what can wait should not be sent."""
        return self._queued + len(self._unsent) > _OUT_LIMIT

    def flush(self) -> None:
        """Send what is queued, as much as the socket takes."""
        self._flushing = False
        if self.closed or not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        self._queued = 0
        if self._unsent:
            self._unsent += data
            return
        sent = self._write(data)
        if sent < len(data) and not self.closed:
            self._unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._sock, self._writable)

    def close(self) -> None:
        """End the connection. Idempotent."""
        if self.closed:
            return
        self.flush()
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._owner.on_closed(self)

    def _write(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._loop.call_soon(self.close)
            return len(data)

    def _writable(self) -> None:
        sent = self._write(bytes(self._unsent[:_READ_SIZE]))
        del self._unsent[:sent]
        if not self._unsent and not self.closed:
            self._loop.remove_writer(self._sock)
            self._owner.on_drained(self)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._decoder.feed(data)
        try:
            while not self.closed and (message := self._decoder.pop()) is not None:
                self._dispatch(*message)
        except (AuthError, DataLossError) as error:
            _log.warning("closing a connection: %s", error)
            self.close()

    def _dispatch(self, kind: int, body: bytes) -> None:
        if self.secured:
            self._owner.on_message(self, kind, body)
        elif kind == Kind.HELLO:
            self._greet(decode_json(body))
        else:
            raise AuthError("The first message is not a greeting.")

    def _greet(self, hello: dict[str, Any]) -> None:
        self.container_id = hello.get("container")
        if self.home is not None and self.container_id != self.home:
            raise AuthError("A client in a container says that it is somebody else.")
        self.version = str(hello.get("version"))
        try:
            self.client_pid = int(hello.get("pid") or 0)
            self.written = int(hello.get("written") or 0)
        except (TypeError, ValueError):
            raise AuthError("A greeting makes no sense.") from None
        facts = self._owner.on_hello(self, hello)
        if facts is None:
            return
        nonce = os.urandom(16)
        self.send_json(Kind.WELCOME, {**facts, "protocol": PROTOCOL, "nonce": nonce.hex()})
        key = self._key
        if self.container_id is not None:
            key = container_key(key, self.container_id)
        theirs = _nonce(hello)
        self._decoder.secure(derive_key(key, b"client", theirs, nonce))
        self._encoder.secure(derive_key(key, b"daemon", theirs, nonce))
        self.secured = True


def container_key(key: bytes, container_id: str) -> bytes:
    """Return the key that authenticates one container, and only it."""
    return derive_key(key, b"container", container_id.encode())


def _nonce(hello: dict[str, Any]) -> bytes:
    try:
        nonce = bytes.fromhex(hello["nonce"])
    except (KeyError, TypeError, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise AuthError("A greeting carries no nonce.")
    return nonce
