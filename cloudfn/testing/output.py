"""What attempts of an offline run print: kept as logs, and told to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudfn.clock import Clock
from cloudfn.model import ids
from cloudfn.model.log import LogEntry, Source
from cloudfn.providers.ledger import Claim
from cloudfn.providers.logs import Logs
from cloudfn.testing.pools import Pool

Sink = Callable[[dict[str, Any]], None]


class Output:
    """Takes what is printed.

    Args:
        logs: Where it is kept.
        clock: The time.
        container_id: The container that everything runs in.
    """

    def __init__(self, logs: Logs, clock: Clock, container_id: str) -> None:
        self._logs = logs
        self._clock = clock
        self._container_id = container_id
        self._listeners: dict[int, tuple[str | None, Sink]] = {}
        #: listener → what was printed since it was last told
        self._untold: dict[int, list[dict[str, Any]]] = {}

    def listen(self, ref: int, app_id: str | None, sink: Sink) -> None:
        """Have `sink` told what an app prints, instead of anybody else."""
        self._listeners[ref] = app_id, sink

    def unlisten(self, ref: int) -> None:
        """Tell that one no more."""
        self._listeners.pop(ref, None)

    def is_heard(self, app_id: str) -> bool:
        """Whether anybody listens to an app."""
        return bool(self._sinks(app_id))

    def print(self, claim: Claim, pool: Pool, source: Source, text: str) -> None:
        """An input printed something."""
        if not text:
            return
        self._logs.write(
            LogEntry(
                self._clock.wall(),
                pool.app_id,
                pool.app_name,
                pool.spec.name,
                self._container_id,
                claim.call_id,
                ids.input_id(claim.call_id, claim.index),
                source,
                text,
            )
        )
        for ref, _ in self._sinks(pool.app_id):
            self._untold.setdefault(ref, []).append({"source": source, "text": text})

    def tell(self, app_id: str) -> None:
        """Tell the listeners of an app what was printed since the last time."""
        for ref, sink in self._sinks(app_id):
            entries = self._untold.pop(ref, [])
            if entries:
                sink({"ref": ref, "entries": entries})

    def _sinks(self, app_id: str) -> list[tuple[int, Sink]]:
        return [
            (ref, sink)
            for ref, (wanted, sink) in self._listeners.items()
            if wanted in (None, app_id)
        ]
