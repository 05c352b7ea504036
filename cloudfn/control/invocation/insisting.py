"""Does things again for a while where the network fails."""

from __future__ import annotations

from collections.abc import Callable

from cloudfn import errors
from cloudfn.clock import Clock

#: seconds for which it is tried, and between the first two tries
_PATIENCE = 60.0
_FIRST_PAUSE = 0.5


def insist(clock: Clock, work: Callable[[], object]) -> None:
    """Do work that may be done again, until the network carries it.

    Args:
        clock: The time.
        work: Has the same effect once and several times.

    Raises:
        Error: It failed otherwise, or did so for a minute.
    """
    give_up, pause = clock.monotonic() + _PATIENCE, _FIRST_PAUSE
    while True:
        try:
            work()
            return
        except (errors.ConnectionError, errors.ServiceError):
            if clock.monotonic() + pause > give_up:
                raise
        clock.sleep(pause)
        pause *= 2
