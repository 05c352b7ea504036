"""A process's end of its control socket: JSON packets with descriptors, and news of children."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from array import array
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple

from cloudfn.errors import DataLossError
from cloudfn.wire.messages import decode_json, encode_json

_LARGEST = 1 << 20
_MOST_DESCRIPTORS = 16


class Gone(Exception):  # noqa: N818 - it is no error, the other side just left
    """The other side closed the control socket."""


class Order(NamedTuple):
    """A message and the descriptors that came with it, which its receiver has to close."""

    fields: dict[str, Any]
    descriptors: list[int]

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Control:
    """Waits for orders and for the end of children at the same time, without polling.

    Args:
        descriptor: The control socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._wakeup: tuple[int, int] | None = None

    @property
    def descriptor(self) -> int:
        """The control socket's number."""
        return self._socket.fileno()

    def watch_children(self) -> None:
        """Have the end of a child wake up `wait`; also takes the signal back from user code."""
        if self._wakeup is None:
            self._wakeup = os.pipe()
            for end in self._wakeup:
                os.set_blocking(end, False)
            self._poll.register(self._wakeup[0], select.POLLIN)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)

    def wait(self, seconds: float | None = None) -> Order | None:
        """Wait for an order; None: children may have ended, or the time is over.

        Raises:
            Gone: The other side closed the socket.
        """
        limit = None if seconds is None else max(0, int(seconds * 1000))
        ready = {descriptor for descriptor, _ in self._poll.poll(limit)}
        if self._wakeup is not None and self._wakeup[0] in ready:
            with suppress(BlockingIOError):
                while os.read(self._wakeup[0], 512):
                    pass
            return None
        if self.descriptor not in ready:
            return None
        return self._receive()

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event; one that nobody is there to hear is dropped."""
        try:
            self._socket.send(encode_json(event))
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                raise

    def release(self) -> None:
        """Let go of everything; for a forked child, which has a life of its own."""
        self._socket.close()
        if self._wakeup is None:
            return
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in self._wakeup:
            os.close(end)

    def _receive(self) -> Order:
        space = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array("i").itemsize)
        try:
            packet, ancillary, flags, _ = self._socket.recvmsg(
                _LARGEST, space, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            raise Gone from None
        descriptors = array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        if not packet:
            raise Gone
        order = Order({}, list(descriptors))
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            order.close()
            raise DataLossError("A control message is cut short.")
        return _attached(Order(decode_json(packet), order.descriptors))


def _attached(order: Order) -> Order:
    """Return the message itself when only the promise of it fitted into a packet."""
    if not order.fields.get("attached"):
        return order
    with open(order.descriptors.pop(), "rb") as file:
        file.seek(0)
        return Order(decode_json(file.read()), order.descriptors)


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    """Be there, so that the signal reaches the wakeup pipe."""
