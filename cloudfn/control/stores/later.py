"""An answer that is given when something has happened. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from cloudfn.control.operations import Fields


class Later:
    """An answer that somebody waits for. Single-threaded."""

    __slots__ = ("_fields", "_hooks")

    def __init__(self) -> None:
        self._fields: Fields | None = None
        self._hooks: list[Callable[[Fields], None]] = []

    @property
    def given(self) -> bool:
        """Whether the answer is there."""
        return self._fields is not None

    def give(self, fields: Fields) -> None:
        """Give the answer; the first one counts."""
        if self._fields is not None:
            return
        self._fields = fields
        for hook in self._hooks:
            hook(fields)

    def then(self, hook: Callable[[Fields], None]) -> None:
        """Have `hook` called with the answer, at once if it is there."""
        if self._fields is None:
            self._hooks.append(hook)
        else:
            hook(self._fields)


def now_given(later: Later) -> Fields:
    """Return an answer that is there."""
    told: list[Fields] = []
    later.then(told.append)
    return told[0]
