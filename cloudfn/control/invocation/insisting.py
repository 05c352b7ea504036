"""Does things again for a while where the network or a service fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from cloudfn import errors
from cloudfn.clock import Clock

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: seconds for which it is tried: services that fail, do so for minutes
_PATIENCE = 600.0
#: seconds between the first two tries, and between two at most
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0
#: what passes: a network or a service that fails, or that is asked more often than it allows, and
#: credentials that their owner renews
_PASSING = (
    errors.AuthError,
    errors.ConnectionError,
    errors.ResourceExhaustedError,
    errors.ServiceError,
)


def insist(clock: Clock, work: Callable[[], T]) -> T:
    """Do work that may be done again, until the network and the service carry it.

    Args:
        clock: The time.
        work: Has the same effect once and several times.

    Returns:
        What it came to.

    Raises:
        Error: It failed otherwise, or did so for ten minutes.
    """
    give_up, pause = clock.monotonic() + _PATIENCE, _FIRST_PAUSE
    while True:
        try:
            return work()
        except _PASSING as error:
            if clock.monotonic() + pause > give_up:
                raise
            if pause == _FIRST_PAUSE:
                _log.warning("what follows is tried again. %s", error)
        clock.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
