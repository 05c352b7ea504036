"""The port of logs: what containers print."""

from __future__ import annotations

from typing import Protocol

from cloudfn.model.log import LogEntry, LogQuery


class Logs(Protocol):
    """What containers print, by app, container, call and input."""

    def write(self, entry: LogEntry) -> None:
        """Take an entry; it is readable after the next `flush`."""
        ...

    def flush(self) -> None:
        """Make everything written readable."""
        ...

    def read(self, query: LogQuery) -> list[LogEntry]:
        """Return entries in the order of their times. May be called from any thread."""
        ...

    def prune(self, now: float) -> int:
        """Drop what is too old or too much; return how many files."""
        ...
