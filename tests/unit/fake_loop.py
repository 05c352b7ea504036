"""An event loop for tests: it turns, and time passes, when the test says so."""

import threading
from collections.abc import Callable
from typing import Any


class Handle:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback, self.cancelled = callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """An event loop that turns when the test says so."""

    def __init__(self) -> None:
        self.ready: list[Handle] = []
        self.later: list[Handle] = []
        self.arrived = threading.Condition()
        self.now = 0.0

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Handle:
        handle = Handle(lambda: callback(*args))
        with self.arrived:
            self.ready.append(handle)
            self.arrived.notify_all()
        return handle

    call_soon_threadsafe = call_soon

    def time(self) -> float:
        return self.now

    def call_later(self, _seconds: float, callback: Callable[[], object]) -> Handle:
        handle = Handle(callback)
        self.later.append(handle)
        return handle

    call_at = call_later

    def turn(self) -> None:
        """Run what is ready, and what that makes ready; then a hundredth of a second passes."""
        while self.ready:
            ready, self.ready = self.ready, []
            for handle in ready:
                if not handle.cancelled:
                    handle.callback()
        self.now += 0.01

    def wait(self) -> None:
        """Let half a second pass: run what was put off."""
        later, self.later = self.later, []
        for handle in later:
            if not handle.cancelled:
                handle.callback()
        self.turn()

    def turn_until(self, done: Callable[[], bool]) -> None:
        """Turn while another thread works, until `done`."""
        self.turn()
        while not done():
            with self.arrived:
                assert self.arrived.wait_for(lambda: bool(self.ready), timeout=10)
            self.turn()
