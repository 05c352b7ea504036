"""The input that runs in this process, if it is a container; the worker writes, the SDK reads."""

from __future__ import annotations


class Current:
    """Which input runs now.

    Attributes:
        seq: The agent's number for the claim, 0 when none runs.
        fence: The fence of the claim.
    """

    __slots__ = ("fence", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.fence = 0

    def claim(self) -> tuple[int, int] | None:
        """Return (seq, fence), or None when no input runs."""
        seq = self.seq
        return (seq, self.fence) if seq else None


current = Current()
