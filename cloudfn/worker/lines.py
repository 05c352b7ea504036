"""Keeps the lines of inputs apart that print at the same time."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock

from cloudfn.wire.current import current

_LONGEST = 64 << 10


class Lines:
    """What inputs printed and did not end yet.

    Args:
        send: Takes whole lines, and what was flushed, of the input that runs here.
    """

    def __init__(self, send: Callable[[memoryview], None]) -> None:
        self._send = send
        self._begun: dict[int, bytearray] = {}
        # A signal handler may print in the midst of another print.
        self._lock = RLock()

    def add(self, data: memoryview) -> None:
        """Something is printed."""
        with self._lock:
            line = self._begun.setdefault(current.seq, bytearray())
            line += data
            end = len(line) if len(line) >= _LONGEST else line.rfind(b"\n") + 1
            if not end:
                return
            whole = bytes(line[:end])
            del line[:end]
        self._send(memoryview(whole))

    def flush(self) -> None:
        """Send what was begun."""
        with self._lock:
            line = self._begun.pop(current.seq, None)
        if line:
            self._send(memoryview(bytes(line)))
