"""Which pool new calls of a function go to."""

from __future__ import annotations

from threading import Lock

from cloudfn.clock import Clock
from cloudfn.control.deploy.directory import Directory, version_of
from cloudfn.errors import NotFoundError
from cloudfn.model import ids

#: seconds for which an answer is used again
_FRESH = 2.0


class Pools:
    """Finds pools in the catalog, and remembers them for a moment. Safe to share between threads.

    Args:
        directory: Functions and their apps.
        clock: The time.
    """

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = Lock()
        self._known: dict[str, tuple[float, str]] = {}

    def pool_for(self, function_id: str) -> str:
        """Return the pool of a function, or of a variant, at the revision that serves it.

        Raises:
            NotFoundError: The function is gone, or its app is stopped.
        """
        now = self._clock.monotonic()
        with self._lock:
            until, pool = self._known.get(function_id, (0.0, ""))
        if now < until:
            return pool
        try:
            function = self._directory.function(function_id)
            app = self._directory.live_app(function)
            self._directory.declared(app, function)
        except NotFoundError:
            raise NotFoundError(
                f"There is no function {function_id} in this environment.",
                hint="Its app was stopped or deployed without it; see `cloudfn app list`.",
            ) from None
        pool = ids.pool_name(function_id, version_of(function, app))
        with self._lock:
            self._known[function_id] = now + _FRESH, pool
        return pool

    def full_name(self, function_id: str, name: str) -> str:
        """Return the name under which a function's call is kept; raises InvalidError."""
        return self._directory.full_name(function_id, name)

    def has_pool(self, pool: str) -> bool:
        """Whether inputs of a pool may yet be run: its app lives, and had that revision."""
        function_id, _, number = pool.rpartition("@")
        try:
            function = self._directory.function(function_id)
            app = self._directory.live_app(function)
        except NotFoundError:
            return False
        return int(number) <= app.revision

    def forget(self) -> None:
        """Something was deployed or stopped here."""
        with self._lock:
            self._known.clear()
