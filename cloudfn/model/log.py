"""What containers print: one piece of it, and which pieces somebody wants. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Source = Literal["stdout", "stderr", "system"]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A piece of output, usually a line with its end."""

    #: seconds since the epoch
    at: float
    app_id: str
    app_name: str
    function: str
    #: empty for what the engine says about the app as a whole
    container_id: str
    #: the input that ran; empty for none
    call_id: str
    input_id: str
    source: Source
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry as clients get it."""
        return {
            "at": self.at,
            "container": self.container_id,
            "app": self.app_name,
            "function": self.function,
            "call": self.call_id,
            "input": self.input_id,
            "source": self.source,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which entries are wanted; None: all."""

    app_id: str | None = None
    function: str | None = None
    container_id: str | None = None
    call_id: str | None = None
    source: str | None = None
    #: seconds since the epoch, both included
    since: float | None = None
    until: float | None = None
    #: text that occurs in the entry, as it is
    search: str | None = None
    #: the last so many; None: as many as one answer may have
    tail: int | None = 100

    @classmethod
    def asked(cls, fields: Mapping[str, Any], app_id: str | None) -> LogQuery:
        """Return what a `logs` request asks for.

        Args:
            fields: Of the request.
            app_id: Of the app that it names; None: it names none.
        """
        return cls(
            app_id=app_id,
            function=fields.get("function"),
            container_id=fields.get("container"),
            call_id=fields.get("call"),
            source=fields.get("source"),
            since=fields.get("since"),
            until=fields.get("until"),
            search=fields.get("search"),
            tail=fields.get("tail"),
        )

    def wants(self, entry: LogEntry) -> bool:
        """Whether an entry is wanted, whatever its place among the others."""
        return (
            self.app_id in (None, entry.app_id)
            and self.container_id in (None, entry.container_id)
            and self.function in (None, entry.function)
            and self.call_id in (None, entry.call_id)
            and self.source in (None, entry.source)
            and (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at <= self.until)
            and (self.search is None or self.search in entry.text)
        )
