"""The port of leadership: who plans for an environment, and whether anybody does just now."""

from __future__ import annotations

from typing import Protocol


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

    def wake(self) -> None:
        """Have a leader come, soon, where none is. May be lost; a minute brings one anyway."""
        ...
