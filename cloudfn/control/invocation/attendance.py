"""Says that a client is there, and what lives no longer than it does."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from cloudfn.clock import Clock
from cloudfn.providers.presence import ClientRow, Presence

#: how often a lease is renewed while it lasts
_BEATS = 3


class Attendance:
    """One client's row. Safe to share between threads.

    Args:
        presence: Where it is.
        client_id: The client.
        clock: The time.
        grace: Seconds after which a client that says nothing has vanished.
    """

    def __init__(self, presence: Presence, client_id: str, clock: Clock, grace: float) -> None:
        self._presence = presence
        self._client_id = client_id
        self._clock = clock
        self._grace = grace
        self._lock = Lock()
        self._addresses: tuple[str, ...] = ()
        self._owned: dict[str, None] = {}
        #: monotonic time of the next beat; None: there is no row
        self._beat_at: float | None = None

    @property
    def owns(self) -> bool:
        """Whether anything lives with the client."""
        return bool(self._owned)

    @property
    def next_beat(self) -> float | None:
        """Monotonic time at which the lease is to be renewed; None: there is none."""
        return self._beat_at

    def attend(self, address: str = "") -> None:
        """See to it that others know of the client, and where it hears of its calls.

        Raises:
            Error: They cannot be told.
        """
        with self._lock:
            if address and address not in self._addresses:
                self._addresses += (address,)
                self._beat_at = None
            if self._beat_at is None or self._clock.monotonic() >= self._beat_at:
                self._beat(self._owned)

    def own(self, owned: str) -> None:
        """Something lives with the client from here on; raises an Error where that is unsaid."""
        with self._lock:
            more = {**self._owned, owned: None}
            self._beat(more)
            self._owned = more

    def disown(self, owned: str) -> None:
        """It lives no longer, or without the client."""
        with self._lock:
            if owned in self._owned:
                left = dict.fromkeys(each for each in self._owned if each != owned)
                self._beat(left)
                self._owned = left

    def others(self) -> list[ClientRow]:
        """Return the rows of other clients that are there."""
        now = self._clock.wall()
        return [
            row
            for row in self._presence.list()
            if row.client_id != self._client_id and row.lease_until > now
        ]

    def leave(self) -> None:
        """Nothing waits any more: the row goes, unless something lives with the client."""
        with self._lock:
            if self._beat_at is not None and not self._owned:
                self._presence.remove(self._client_id)
                self._beat_at = None

    def _beat(self, owned: Iterable[str]) -> None:
        until = self._clock.wall() + self._grace
        self._presence.beat(ClientRow(self._client_id, self._addresses, tuple(owned), until))
        self._beat_at = self._clock.monotonic() + self._grace / _BEATS
