"""What containers print: to the log store, and to clients that watch."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, TimerHandle
from dataclasses import dataclass, field
from typing import Any, Protocol

from cloudfn.agent.pool import PoolSpec
from cloudfn.clock import Clock
from cloudfn.daemon.session import Session
from cloudfn.model import ids
from cloudfn.model.cls import shown_name
from cloudfn.model.log import LogEntry, LogQuery, Source
from cloudfn.providers.ledger import Claim
from cloudfn.providers.logs import Logs
from cloudfn.wire.messages import Kind, LogSource

_SOURCES: dict[LogSource, Source] = {
    LogSource.STDOUT: "stdout",
    LogSource.STDERR: "stderr",
    LogSource.SYSTEM: "system",
}
_FLUSH_PAUSE = 0.2
_PROGRESS_PAUSE = 0.1
_PAGE = 1000


class ProgressSource(Protocol):
    """Who knows how an app is doing."""

    def progress(self, app_id: str) -> dict[str, Any]:
        """Return the fields of an `EVENT` of the app."""
        ...


@dataclass(slots=True, eq=False)
class Subscription:
    """A client that watches one app, or follows logs that match."""

    session: Session
    ref: int
    app_id: str | None = None
    function: str | None = None
    container: str | None = None
    call: str | None = None
    source: str | None = None
    progress: bool = False
    #: what matches waits until older entries were sent
    held: bool = False
    dropped: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)

    def wants(self, entry: LogEntry) -> bool:
        """Whether the entry is one that the client asked for."""
        return (
            self.app_id in (None, entry.app_id)
            and self.function in (None, entry.function)
            and self.container in (None, entry.container_id)
            and self.call in (None, entry.call_id)
            and self.source in (None, entry.source)
        )

    def flush(self) -> None:
        """Send what is queued, unless the client is far behind."""
        if self.held:
            return
        if self.session.congested:
            self.dropped += len(self.entries)
        elif self.entries:
            if self.dropped:
                self.entries.insert(0, _gap(self.dropped))
                self.dropped = 0
            body = {"ref": self.ref, "entries": self.entries, "end": False}
            self.session.send_json(Kind.LOGS, body)
        self.entries = []


class Output:
    """Takes what containers print, and tells those who watch."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        logs: Logs,
        clock: Clock,
        source: ProgressSource,
    ) -> None:
        self._loop = loop
        self._logs = logs
        self._clock = clock
        self._source = source
        self._subscriptions: list[Subscription] = []
        self._dirty: dict[Subscription, None] = {}
        self._file_timer: TimerHandle | None = None
        self._progress_timer: TimerHandle | None = None

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to send what matches."""
        self._subscriptions.append(subscription)
        if subscription.progress:
            self.changed()

    def send_past(
        self, session: Session, ref: int, query: LogQuery, follow: Subscription | None
    ) -> None:
        """Send what was printed before; then, with `follow`, what comes."""
        self._logs.flush()
        if follow is not None:
            follow.held = True
            self.subscribe(follow)
        # Files are read in another thread: a long search must not stop the loop.
        reading = self._loop.run_in_executor(None, self._logs.read, query)

        def send(done: Future[list[LogEntry]]) -> None:
            entries = [entry.to_json() for entry in done.result()]
            for start in range(0, max(1, len(entries)), _PAGE):
                last = start + _PAGE >= len(entries) and follow is None
                page = {"ref": ref, "entries": entries[start : start + _PAGE], "end": last}
                session.send_json(Kind.LOGS, page)
            if follow is not None:
                follow.held = False
                follow.flush()

        reading.add_done_callback(send)

    def unsubscribe(self, session: Session, ref: int | None = None) -> None:
        """End one or all subscriptions of a client."""
        self._subscriptions = [
            s for s in self._subscriptions if s.session is not session or ref not in (None, s.ref)
        ]

    def write(
        self, pool: PoolSpec, container_id: str, claim: Claim | None, source: LogSource, data: bytes
    ) -> None:
        """A container printed something."""
        entry = LogEntry(
            at=self._clock.wall(),
            app_id=pool.app_id,
            app_name=pool.app_name,
            function=shown_name(pool.function.name),
            container_id=container_id,
            call_id=claim.call_id if claim else "",
            input_id=ids.input_id(claim.call_id, claim.index) if claim else "",
            source=_SOURCES[source],
            text=data.decode(errors="replace"),
        )
        self._logs.write(entry)
        if self._file_timer is None:
            self._file_timer = self._loop.call_later(_FLUSH_PAUSE, self._flush_files)
        for subscription in self._subscriptions:
            if subscription.wants(entry):
                subscription.entries.append(entry.to_json())
                if not self._dirty:
                    self._loop.call_soon(self.flush)
                self._dirty[subscription] = None

    def flush(self) -> None:
        """Send what is queued to those who watch; called before outcomes go out as well."""
        dirty, self._dirty = self._dirty, {}
        for subscription in dirty:
            subscription.flush()

    def changed(self) -> None:
        """The numbers of some app changed: tell those who watch, a few times a second."""
        if self._progress_timer is None and any(s.progress for s in self._subscriptions):
            self._progress_timer = self._loop.call_later(_PROGRESS_PAUSE, self._send_progress)

    def close(self) -> None:
        """Write everything to its file."""
        self._logs.flush()

    def _flush_files(self) -> None:
        self._file_timer = None
        self._logs.flush()

    def _send_progress(self) -> None:
        self._progress_timer = None
        for subscription in self._subscriptions:
            if subscription.progress and subscription.app_id and not subscription.session.congested:
                body = self._source.progress(subscription.app_id)
                subscription.session.send_json(Kind.EVENT, {"ref": subscription.ref, **body})


def _gap(dropped: int) -> dict[str, Any]:
    text = f"[{dropped} pieces of output left out: this reader is too slow; see the logs]\n"
    return {"at": 0.0, "container": "", "app": "", "function": "", "call": "", "input": "",
            "source": "system", "text": text}  # fmt: skip
