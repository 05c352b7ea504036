"""The port of leadership: who plans for an environment, and whether anybody does just now."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Called(NamedTuple):
    """How often who leads was called since ever."""

    #: because of work
    work: int = 0
    #: because apps, settings or schedules are others now
    changes: int = 0
    #: by one that would lead in its place
    reliefs: int = 0


class Leadership(Protocol):
    """At most one leader at a time, and a number that grows with each. Blocks."""

    def lead(self, holder: str, now: float, seconds: float) -> int | None:
        """Become leader, or stay so, for `seconds`; return the epoch, or None: another one leads.

        The epoch stays the same while a holder renews in time, and is a higher one otherwise.
        """
        ...

    def resign(self, holder: str) -> None:
        """Lead no longer. Idempotent."""
        ...

    def led(self, now: float) -> bool:
        """Whether somebody leads."""
        ...

    def call(self, *, changed: bool = False) -> None:
        """Call who leads to look again; to be done before one asks whether anybody leads.

        Args:
            changed: Apps, settings or schedules are others now; else: there is work.
        """
        ...

    def relieve(self) -> None:
        """Tell who leads that another one is here, and goes on from where it resigns."""
        ...

    def called(self) -> Called:
        """Return how often that was done, each of it."""
        ...

    def wake(self) -> None:
        """Have a leader come, soon, where none is. May be lost; a minute brings one anyway."""
        ...
