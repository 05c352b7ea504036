"""Tells machines and the planner that there is work."""

from __future__ import annotations

import logging
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
    """Rings doorbells, and wakes a planner where none leads. Safe to share between threads.

    Neither is the truth: where ringing fails, the planner finds what waits.

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
        self.wake()

    def wake(self) -> None:
        """Have a planner come where none leads."""
        with self._lock:
            now = self._clock.monotonic()
            if now < self._look_at:
                return
            self._look_at = now + _BELIEVED
        try:
            if not self._leadership.led(self._clock.wall()):
                self._leadership.wake()
        except Error as error:
            _log.warning("the planner cannot be woken: %s", error)
