"""Leadership in memory."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from cloudfn.providers.leadership import Called


class MemoryLeadership:
    """The `Leadership` port as a few variables, for all who share the object.

    Args:
        wake: Has a leader come.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._holder = ""
        self._epoch = 0
        self._until = 0.0
        self._called = Called()
        self._wake = wake
        self._lock = Lock()

    def lead(self, holder: str, now: float, seconds: float) -> int | None:
        with self._lock:
            over = self._until <= now
            if not over and self._holder != holder:
                return None
            if over:
                self._epoch += 1
            self._holder, self._until = holder, now + seconds
            return self._epoch

    def resign(self, holder: str) -> None:
        with self._lock:
            if self._holder == holder:
                self._until = 0.0

    def led(self, now: float) -> bool:
        return self._until > now

    def call(self, *, changed: bool = False) -> None:
        with self._lock:
            work, changes, reliefs = self._called
            self._called = Called(work + (not changed), changes + changed, reliefs)

    def relieve(self) -> None:
        with self._lock:
            self._called = self._called._replace(reliefs=self._called.reliefs + 1)

    def called(self) -> Called:
        return self._called

    def wake(self) -> None:
        self._wake()
