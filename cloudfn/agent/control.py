"""Control channels: JSON packets with file descriptors, to zygotes and templates."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Any

from cloudfn.errors import DataLossError
from cloudfn.wire.messages import decode_json, encode_json

_log = logging.getLogger(__name__)

#: a larger message travels in a file whose descriptor is attached
MAX_PACKET = 128 << 10
_READ_SIZE = 256 << 10


class ControlChannel:
    """Our end of a `SOCK_SEQPACKET` pair whose other end a child process holds."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        sock: socket.socket,
        on_event: Callable[[dict[str, Any]], None],
        on_close: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._on_event = on_event
        self._on_close = on_close
        self._backlog: list[tuple[bytes, list[int]]] = []
        self.closed = False
        sock.setblocking(False)  # noqa: FBT003
        loop.add_reader(sock, self._readable)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message; the descriptors are duplicated, ours may be closed afterwards."""
        if self.closed:
            return
        held = [os.dup(fd) for fd in fds]
        packet = encode_json(message)
        if len(packet) > MAX_PACKET:
            held.append(_in_memory(packet))
            packet = encode_json({"attached": True})
        self._backlog.append((packet, held))
        if len(self._backlog) == 1:
            self._flush()

    def drain(self) -> None:
        """Take in what the other side said and was not read yet."""
        if not self.closed:
            self._readable()

    def close(self) -> None:
        """Close our end; the other side reads an end of file. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for _, fds in self._backlog:
            _close_all(fds)
        self._backlog.clear()

    def _flush(self) -> None:
        while self._backlog:
            packet, fds = self._backlog[0]
            try:
                socket.send_fds(self._sock, [packet], fds)
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._flush)
                return
            except OSError:
                # Not now: who sends is in the midst of something.
                self._loop.call_soon(self._lost)
                return
            del self._backlog[0]
            _close_all(fds)
        self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        while not self.closed:
            try:
                packet = self._sock.recv(_READ_SIZE)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._lost()
                return
            try:
                self._on_event(decode_json(packet))
            except (DataLossError, LookupError, TypeError, ValueError):
                # In a Docker container user code may have got hold of the other end.
                _log.warning("a control message makes no sense", exc_info=True)
                self._lost()

    def _lost(self) -> None:
        if not self.closed:
            self.close()
            self._on_close()


def _in_memory(data: bytes) -> int:
    """Return a descriptor of a file that holds a message which is too large for a packet."""
    fd = os.memfd_create("cloudfn-message", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
