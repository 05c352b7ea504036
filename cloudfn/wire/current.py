"""The input that runs in this process, if it is a container; the worker writes, the SDK reads."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

_scoped: ContextVar[tuple[int, int]] = ContextVar("cloudfn_input", default=(0, 0))


class Controls(Protocol):
    """What user code may ask of the container that it runs in."""

    @property
    def concurrency(self) -> int:
        """The most inputs, or batches, that it runs at once now."""
        ...

    def set_concurrency(self, count: int) -> None:
        """Run that many at once from now on; those that run go on.

        Raises:
            InvalidError: It runs one at a time by its declaration.
        """
        ...

    def stop_intake(self) -> None:
        """Take no further inputs, and leave when those that run have ended."""
        ...


class Current:
    """Which input runs now: the same for all threads, or one for each thread and task.

    Attributes:
        seq: The agent's number for the claim, 0 when none runs.
        fence: The fence of the claim.
        controls: What may be asked of the container; None outside of one.
    """

    __slots__ = ("controls", "fence", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.fence = 0
        self.controls: Controls | None = None

    def claim(self) -> tuple[int, int] | None:
        """Return (seq, fence), or None when no input runs."""
        seq = self.seq
        return (seq, self.fence) if seq else None

    def separate(self) -> None:
        """Have one for each thread and task from here on, because inputs run at the same time."""
        self.__class__ = _Separate

    def set(self, seq: int, fence: int) -> None:
        """Say which input runs; where they are separate: in this thread or task."""
        self.seq, self.fence = seq, fence


class _Separate(Current):
    """The one of this thread or task, and of what it starts with its context."""

    __slots__ = ()

    @property
    def seq(self) -> int:  # type: ignore[override]  # a plain attribute is what the hot path needs
        return _scoped.get()[0]

    @property
    def fence(self) -> int:  # type: ignore[override]
        return _scoped.get()[1]

    def set(self, seq: int, fence: int) -> None:
        """Say which input runs in this thread or task."""
        _scoped.set((seq, fence))


current = Current()
