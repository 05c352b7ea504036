"""The heartbeat of a machine: says what it has, hears its orders, and notices when it is given up.

It has a thread of its own, so that nothing else of the machine can hold it up.
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError, Error
from cloudfn.machine.config import Timing
from cloudfn.providers.machines import MachineReport, Machines, Orders

_log = logging.getLogger(__name__)

#: seconds between tries to join
_JOIN_PAUSE = 1.0


class Body(Protocol):
    """Whose heart it is. Called in the heart's thread."""

    def report(self) -> MachineReport:
        """Return what there is now."""
        ...

    def hear(self, orders: Orders) -> None:
        """These are the orders."""
        ...

    def answered(self, *, answered: bool) -> None:
        """The last beat was answered, or not: then nothing new may be claimed."""
        ...

    def lost(self) -> None:
        """What this machine holds belongs to others."""
        ...


class Heart:
    """Beats.

    Args:
        machines: All machines.
        body: Whose heart it is.
        timing: How often.
        clock: The time.
    """

    def __init__(self, machines: Machines, body: Body, timing: Timing, clock: Clock) -> None:
        self._machines = machines
        self._body = body
        self._timing = timing
        self._clock = clock
        self._joined = False
        self._next_beat = float("-inf")
        #: whether orders are looked at between beats: something runs or waits
        self.active = False
        self._nudge = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def nudge(self) -> None:
        """Beat now: something important changed."""
        self._next_beat = float("-inf")
        self._nudge.set()

    def stop(self) -> None:
        """Beat no more, once the present beat is over. Idempotent."""
        self._over = True
        self._nudge.set()
        if self._thread.is_alive():
            self._thread.join(self._timing.lease)

    def step(self) -> float:
        """Do what is due; return the seconds until the next time."""
        now = self._clock.monotonic()
        try:
            if not self._joined:
                self._join()
            elif now >= self._next_beat:
                self._beat()
            else:
                self._body.hear(self._machines.orders(self._body.report().machine_id))
        except Error as error:
            _log.warning("this machine is not heard: %s", error)
            if not self._joined:
                return _JOIN_PAUSE
        pause = self._timing.orders if self.active else self._timing.beat
        return max(0.0, min(pause, self._next_beat - self._clock.monotonic()))

    def last_beat(self) -> None:
        """Beat once more, in the thread of the caller: how things are at the end.

        Raises:
            Error: There is no answer, or this machine was given up.
        """
        self._machines.beat(self._body.report(), self._clock.wall(), self._timing.lease)

    def _join(self) -> None:
        sent = self._clock.monotonic()
        orders = self._machines.join(self._body.report(), self._clock.wall(), self._timing.lease)
        self._joined = True
        self._next_beat = sent + self._timing.beat
        _log.info("this machine has joined")
        self._body.answered(answered=True)
        self._body.hear(orders)

    def _beat(self) -> None:
        sent = self._clock.monotonic()
        self._next_beat = sent + self._timing.beat
        try:
            orders = self._machines.beat(
                self._body.report(), self._clock.wall(), self._timing.lease
            )
        except ConflictError:
            _log.warning("this machine was given up: what it holds belongs to others")
            self._joined = False
            self._next_beat = float("-inf")
            self._body.answered(answered=False)
            self._body.lost()
            return
        except Error:
            self._body.answered(answered=False)
            # Soon again: there are few tries in a lease.
            self._next_beat = sent + min(self._timing.orders, self._timing.beat)
            raise
        self._body.answered(answered=True)
        self._body.hear(orders)

    def _run(self) -> None:
        while not self._over:
            try:
                pause = self.step()
            except Exception:  # noqa: BLE001 - whatever went wrong, the next beat may do
                _log.exception("a heartbeat failed")
                pause = self._timing.orders
            self._nudge.wait(pause)
            self._nudge.clear()
