"""Tells machines and the planner that there is work, or that something changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from threading import Lock

from cloudfn.clock import Clock
from cloudfn.errors import Error
from cloudfn.providers.doorbells import Doorbells
from cloudfn.providers.leadership import Leadership
from cloudfn.providers.shared_ledger import SharedLedger

_log = logging.getLogger(__name__)

#: seconds for which it is believed that a planner leads, and between two that are woken
_BELIEVED = 2.0


class Alarm:
    """Rings doorbells, and calls the planner, or wakes one. Safe to share between threads.

    None of it is the truth: where it fails, the planner finds what waits and what changed.

    Args:
        ledger: Knows which to ring.
        doorbells: The doorbells.
        leadership: Knows whether there is a planner.
        clock: The time.
    """

    def __init__(
        self, ledger: SharedLedger, doorbells: Doorbells, leadership: Leadership, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._doorbells = doorbells
        self._leadership = leadership
        self._clock = clock
        self._lock = Lock()
        self._look_at = 0.0

    def ring(self) -> None:
        """Tell of everything that this process made claimable."""
        try:
            rings = self._ledger.rings()
            if rings:
                self._doorbells.ring(rings)
        except Error as error:
            _log.warning("doorbells cannot be rung: %s", error)
        if self._is_time():
            self._wake(self._leadership.call)

    def changed(self) -> None:
        """Tell who plans that apps, settings or schedules are others now."""
        self._wake(partial(self._leadership.call, changed=True))

    def wake(self) -> None:
        """Have a planner come where none leads."""
        if self._is_time():
            self._wake(lambda: None)

    def _is_time(self) -> bool:
        with self._lock:
            now = self._clock.monotonic()
            if now < self._look_at:
                return False
            self._look_at = now + _BELIEVED
            return True

    def _wake(self, call: Callable[[], None]) -> None:
        """Call who leads, and have one come where nobody does.

        In this order: who ends its lead looks afterwards whether it was called.
        """
        try:
            call()
            if not self._leadership.led(self._clock.wall()):
                self._leadership.wake()
        except Error as error:
            _log.warning("the planner cannot be woken: %s", error)
