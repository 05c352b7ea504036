"""The socket on which a supervisor takes orders: one line of JSON each way, then the end."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from threading import Thread
from typing import Any

from cloudfn.errors import Error

Order = dict[str, Any]


class Control(ThreadingUnixStreamServer):
    """Answers orders, in threads.

    Args:
        path: Of the socket; its folder is private.
        obey: Does what an order says and returns the answer; an Error is told.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path, obey: Callable[[Order], Order]) -> None:
        self.obey = obey
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Handler)

    def start(self) -> None:
        """Begin to answer."""
        Thread(target=self.serve_forever, name="control", daemon=True).start()


class _Handler(StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Control)
        try:
            answer = self.server.obey(json.loads(self.rfile.readline()))
        except Error as error:
            answer = {"error": error.message, "hint": error.hint}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def ask(path: Path, order: Order, seconds: float = 30.0) -> tuple[Order, int]:
    """Give an order; return the answer, and the supervisor's process.

    Raises:
        OSError: No supervisor is there.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        size = struct.calcsize("3i")
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        connection.sendall(json.dumps(order).encode() + b"\n")
        with connection.makefile() as file:
            answer: Order = json.loads(file.readline() or "{}")
    return answer, int(struct.unpack("3i", peer)[0])
