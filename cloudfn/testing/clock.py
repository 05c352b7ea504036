"""A clock that stands still until it is moved. Safe to share between threads."""

from __future__ import annotations

from threading import Condition

from cloudfn.clock import Clock, SystemClock

#: seconds of real time that a test waits for its own threads before it gives up
_PATIENCE = 10.0


class FakeClock:
    """The Clock port, moved by hand.

    Args:
        wall: What `wall` says at first, in seconds since the epoch.
        monotonic: What `monotonic` says at first, in seconds.
        sleepless: `sleep` moves the clock by itself and returns at once; otherwise it waits until
            another thread moves the clock far enough.
    """

    def __init__(
        self, wall: float = 1_800_000_000.0, monotonic: float = 1_000.0, *, sleepless: bool = False
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._sleepless = sleepless
        self._passed = 0.0
        self._sleepers = 0
        self._changed = Condition()
        self._watched: list[Condition] = []

    def wall(self) -> float:
        return self._wall + self._passed

    def monotonic(self) -> float:
        return self._monotonic + self._passed

    def sleep(self, seconds: float) -> None:
        if self._sleepless:
            self.advance(max(seconds, 0.0))
            return
        with self._changed:
            until = self._passed + seconds
            self._sleepers += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._passed >= until)
            finally:
                self._sleepers -= 1

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake the sleepers whose time has come.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        with self._changed:
            self._passed += seconds
            self._changed.notify_all()
            watched = tuple(self._watched)
        for condition in watched:
            with condition:
                condition.notify_all()

    def wait(self, condition: Condition, until: float) -> None:
        """Wait until somebody notifies the condition, or the wall clock has reached a time.

        Args:
            condition: Held by the caller, and given back while it waits.
            until: Seconds since the epoch.
        """
        with self._changed:
            if self._wall + self._passed >= until:
                return
            self._watched.append(condition)
            self._sleepers += 1
            self._changed.notify_all()
        try:
            condition.wait()
        finally:
            with self._changed:
                self._watched.remove(condition)
                self._sleepers -= 1

    @property
    def sleepless(self) -> bool:
        """Whether `sleep` moves the clock by itself."""
        return self._sleepless

    @property
    def waiters(self) -> int:
        """How many threads sleep."""
        return self._sleepers

    def wait_for_waiters(self, count: int = 1, patience: float = _PATIENCE) -> None:
        """Wait until `count` threads sleep, so that `advance` finds them.

        Args:
            count: How many.
            patience: Seconds of real time.

        Raises:
            TimeoutError: Fewer do within `patience`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._sleepers >= count, patience):
                raise TimeoutError(f"{self._sleepers} of {count} threads sleep on the clock.")


class RunningClock(FakeClock):
    """The machine's own time, for fakes that real threads of a program talk to.

    It may run faster, and `advance` skips time.

    Args:
        pace: Seconds that pass in one of the machine's.
    """

    def __init__(self, pace: float = 1.0) -> None:
        self._real = SystemClock()
        self._pace = pace
        self._began = self._real.monotonic()
        super().__init__(self._real.wall(), self._began)

    def wall(self) -> float:
        return super().wall() + self._run()

    def monotonic(self) -> float:
        return super().monotonic() + self._run()

    def sleep(self, seconds: float) -> None:
        self._real.sleep(seconds / self._pace)

    def wait(self, condition: Condition, until: float) -> None:
        """See `FakeClock`."""
        condition.wait(max(0.0, until - self.wall()) / self._pace)

    def _run(self) -> float:
        """Return the seconds that passed by themselves."""
        return (self._real.monotonic() - self._began) * self._pace


def wait_on(clock: Clock, condition: Condition, until: float) -> None:
    """Wait until somebody notifies a condition, or for long enough.

    Args:
        clock: The machine's, or a fake one; a sleepless one moves to the time at once.
        condition: Held by the caller, and given back while it waits.
        until: Seconds since the epoch.
    """
    if not isinstance(clock, FakeClock):
        condition.wait(until - clock.wall())
    elif clock.sleepless:
        clock.advance(max(until - clock.wall(), 0.0))
    else:
        clock.wait(condition, until)
