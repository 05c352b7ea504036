"""What containers printed, as an App, a Function or a FunctionCall hands it out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from cloudfn.errors import InvalidError, PermissionDeniedError
from cloudfn.sdk.client import Client, Mailbox, current_settings
from cloudfn.sdk.twins import Steps, iterating, run, run_async, twin
from cloudfn.wire.messages import Kind

_SOURCES = ("stdout", "stderr", "system")

#: Returns the engine, and the fields of a `logs` request that say whose output is meant.
Scope = Callable[[], Steps[tuple[Client, dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A piece of output, usually a line with its end."""

    message: str
    timestamp: datetime
    #: stdout, stderr, or system for what the engine says
    source: str
    #: the container; empty for what the engine says about the app as a whole
    object_id: str
    #: app, function, call and input that it belongs to, as far as it does
    context_ids: dict[str, str]


class Logs:
    """The output of containers: what there is, the end of it, or what comes."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @twin
    def fetch(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        source: str | None = None,
        search: str | None = None,
    ) -> Steps[list[LogEntry]]:
        """Return the entries of a range of time; naive moments are local time.

        Raises:
            InvalidError: There is no such source.
        """
        return (yield from self._read(_range(since, until), source, search, None))

    @twin
    def tail(
        self, n: int = 100, *, source: str | None = None, search: str | None = None
    ) -> Steps[list[LogEntry]]:
        """Return the last `n` entries.

        Raises:
            InvalidError: `n` is below 1, or there is no such source.
        """
        if n < 1:
            raise InvalidError(f"`n` must be at least 1, not {n}.")
        return (yield from self._read({}, source, search, n))

    @iterating
    def stream(self, *, source: str | None = None, search: str | None = None) -> LogStream:
        """Iterate over what is printed from here on, plainly or with `async for`, without end."""
        return LogStream(self._scope, {"source": _checked(source), "search": search})

    def _read(
        self, times: dict[str, float], source: str | None, search: str | None, tail: int | None
    ) -> Steps[list[LogEntry]]:
        wanted = {**times, "source": _checked(source), "search": search, "tail": tail}
        stream = LogStream(self._scope, wanted, follow=False)
        entries: list[LogEntry] = []
        while (entry := (yield from stream.following())) is not None:
            entries.append(entry)
        return entries


class LogStream:
    """Entries as they arrive."""

    def __init__(self, scope: Scope, wanted: dict[str, Any], *, follow: bool = True) -> None:
        self._scope = scope
        self._wanted = {**wanted, "follow": follow}
        self._box = Mailbox()
        self._client: Client | None = None
        self._ref = 0
        self._entries: deque[dict[str, Any]] = deque()
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LogEntry:
        entry = run(self.following())
        if entry is None:
            raise StopIteration
        return entry

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LogEntry:
        entry = await run_async(self.following())
        if entry is None:
            raise StopAsyncIteration
        return entry

    def close(self) -> None:
        """Want no more."""
        self._over = True
        if self._client is not None:
            self._client.release(self._ref, tell=True)
            self._client = None

    def following(self) -> Steps[LogEntry | None]:
        """Return the next entry, None after the last one."""
        if self._client is None and not self._over:
            yield from self._begin()
        while not self._entries:
            if self._over or self._client is None:
                return None
            yield self._client.arrival(self._box)
            while self._box.messages:
                _, told = self._box.messages.popleft()
                self._entries += told.get("entries", ())
                self._over = self._over or bool(told.get("end"))
            if self._over:
                self.close()
        return _entry(self._entries.popleft())

    def _begin(self) -> Steps[None]:
        if current_settings().container is not None:
            raise PermissionDeniedError(
                "User code in a container may not read logs.",
                hint="Read them from outside: with a script of your own, or `cloudfn app logs`.",
            )
        client, whose = yield from self._scope()
        yield from client.ready()
        self._client = client
        fields = {**whose, **self._wanted}
        if fields["follow"]:
            fields["since"] = client.clock.wall()
        self._ref = client.listen("logs", fields, lambda told: self._box.put(Kind.EVENT, told))


def _entry(told: dict[str, Any]) -> LogEntry:
    names = ("app", "function", "call", "input")
    return LogEntry(
        message=told.get("text", ""),
        timestamp=datetime.fromtimestamp(told.get("at", 0.0), UTC),
        source=told.get("source", ""),
        object_id=told.get("container", ""),
        context_ids={name: told[name] for name in names if told.get(name)},
    )


def _range(since: datetime | None, until: datetime | None) -> dict[str, float]:
    times = {"since": since, "until": until}
    return {name: moment.timestamp() for name, moment in times.items() if moment is not None}


def _checked(source: str | None) -> str | None:
    if source is not None and source not in _SOURCES:
        raise InvalidError(f"`source` must be one of {', '.join(_SOURCES)}, not {source!r}.")
    return source
