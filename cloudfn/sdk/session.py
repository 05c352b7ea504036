"""One authenticated connection to the daemon: a socket, two streams of frames, the handshake."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudfn import errors
from cloudfn.sdk.client import Welcome
from cloudfn.wire.frames import Decoder, Encoder, derive_key
from cloudfn.wire.messages import PROTOCOL, Kind, decode_json, encode_json
from cloudfn.wire.version import code_version, code_written

#: bytes read at a time; larger buffers come from the kernel page by page, for each read anew
_READ_SIZE = 64 << 10
_NONCE_SIZE = 16
_LONGEST_PATH = 100
_HANDSHAKE_SECONDS = 20.0


class Restarting(Exception):  # noqa: N818 - never leaves cloudfn.sdk
    """The daemon is on its way out; another one has to be started."""


class Session:
    """A connection that is set up. `over` says that it cannot be used any more.

    An interrupt may come between any two instructions, so both directions count as torn while a
    message is neither wholly inside nor wholly outside. Whoever comes to receive or send next and
    finds its direction torn, gives the session up; the next one takes up what was under way.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.welcome = Welcome("", "", "", "", 1000)
        self._socket = sock
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(sock, select.POLLOUT)
        self._torn_in = False
        self._torn_out = False
        self._closed = False

    @property
    def over(self) -> bool:
        """Whether it has ended; any thread may ask."""
        return self._closed

    def check_receiving(self) -> bool:
        """Whether the next message can be received; asked by the one thread that receives."""
        if self._torn_in:
            self.give_up()
        return not self._closed

    def check_sending(self) -> bool:
        """Whether the next message can be sent; asked by the one thread that sends."""
        if self._torn_out:
            self.give_up()
        return not self._closed

    def give_up(self) -> None:
        """End it, and wake who waits for messages."""
        self._closed = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was first

    def shake_hands(self, key: bytes, container: str | None) -> None:
        """Agree on keys for this session.

        Raises:
            Restarting: The daemon leaves; this session is closed.
            AuthError: The other side is not who it should be.
            Error: What the daemon answered.
        """
        nonce = os.urandom(_NONCE_SIZE)
        hello = {
            "protocol": PROTOCOL,
            "version": code_version(),
            "written": code_written(),
            "nonce": nonce.hex(),
            "container": container,
            "pid": os.getpid(),
        }
        self.send([(Kind.HELLO, encode_json(hello))])
        kind, body = self._first_message()
        answer = decode_json(body)
        if kind != Kind.WELCOME:
            raise errors.AuthError("The daemon did not introduce itself.")
        if answer.get("restarting"):
            self._wait_for_end()
            raise Restarting
        if "error" in answer:
            raise error_of(answer["error"])
        theirs = bytes.fromhex(answer["nonce"])
        self._encoder.secure(derive_key(key, b"client", nonce, theirs))
        self._decoder.secure(derive_key(key, b"daemon", nonce, theirs))
        blobs = answer.get("blobs", {})
        self.welcome = Welcome(
            version=answer.get("version", ""),
            fast=blobs.get("fast", ""),
            durable=blobs.get("durable", ""),
            bundles=answer.get("bundles", ""),
            map_window=answer.get("limits", {}).get("map_window", 1000),
            outbox=blobs.get("outbox", ""),
        )

    def send(self, messages: Sequence[tuple[int, bytes]]) -> memoryview | None:
        """Send messages; return what the socket does not take now, for `send_rest`.

        The caller sees to it that one thread at a time sends.
        """
        self._torn_out = True
        frame = self._encoder.frame
        if len(messages) == 1:
            data = frame(*messages[0])
        else:
            data = b"".join([frame(kind, body) for kind, body in messages])
        return self.send_rest(memoryview(data))

    def send_rest(self, rest: memoryview) -> memoryview | None:
        """Go on with what `send` left."""
        try:
            while rest:
                rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return rest
        except OSError:
            self.give_up()
            return None
        self._torn_out = False
        return None

    def wait_writable(self, seconds: float) -> None:
        """Wait until the socket takes more."""
        self._writable.poll(seconds * 1000)

    def wait_readable(self, seconds: float | None) -> bool:
        """Wait until something has arrived, at most `seconds`."""
        return bool(self._readable.poll(None if seconds is None else max(seconds, 0) * 1000))

    def receive(self) -> list[tuple[int, bytes]]:
        """Return the messages that are complete now; call `settle` when they are dealt with.

        Raises:
            AuthError: The stream is not authentic; the session is over.
        """
        self._torn_in = True
        try:
            data = self._socket.recv(_READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._closed = True
            return []
        self._decoder.feed(data)
        messages = []
        while (message := self._decoder.pop()) is not None:
            messages.append(message)
        return messages

    def settle(self) -> None:
        """What `receive` returned is dealt with."""
        self._torn_in = False

    def close(self) -> None:
        """Hang up."""
        self._closed = True
        self._socket.close()

    def _first_message(self) -> tuple[int, bytes]:
        while self.wait_readable(_HANDSHAKE_SECONDS):
            messages = self.receive()
            self.settle()
            if messages:
                return messages[0]
            if self._closed:
                raise Restarting
        raise errors.ConnectionError(
            f"The daemon did not answer within {_HANDSHAKE_SECONDS:g} seconds.",
            hint="Look at `cloudfn daemon status` and `cloudfn daemon logs`.",
        )

    def _wait_for_end(self) -> None:
        """Wait until a daemon that leaves has closed the socket; it finishes its work first."""
        while not self._closed:
            self.wait_readable(None)
            self.receive()
            self.settle()
        self.close()


def connect(path: Path) -> socket.socket:
    """Return a socket that is connected to the daemon's.

    Raises:
        OSError: Nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if len(os.fsencode(path)) <= _LONGEST_PATH:
            sock.connect(os.fspath(path))
        else:
            _connect_far(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_far(sock: socket.socket, path: Path) -> None:
    """Connect to a path that is longer than the address of a socket may be."""
    folder = os.open(path.parent, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def error_of(told: Any) -> errors.Error:
    """Return the exception that `{"type" or "error": class name, "message", "hint"}` means."""
    name = told.get("type") or told.get("error") or ""
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.Error)):
        kind = errors.RemoteError
    return kind(str(told.get("message", "")), hint=told.get("hint"))
