"""What containers print, written to the log store by a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque

from cloudfn.errors import Error
from cloudfn.machine.printing import Printing
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.providers.logs import Logs

_log = logging.getLogger(__name__)

#: entries that wait while the store does not answer; the oldest go first
_MOST = 50_000
#: seconds between two tries
_PAUSE = 2.0


class LogsBehind:
    """The `Logs` port that never waits.

    Args:
        logs: The store.
    """

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        #: how much was written of each app
        self.printing = Printing()
        self._entries: deque[LogEntry] = deque(maxlen=_MOST)
        self._due = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def write(self, entry: LogEntry) -> None:
        """See the port."""
        self.printing.add(entry)
        self._entries.append(entry)

    def flush(self) -> None:
        """Have what was written so far flushed soon."""
        self._idle.clear()
        self._due.set()

    def read(self, query: LogQuery) -> list[LogEntry]:
        """See the port; blocks."""
        return self._logs.read(query)

    def prune(self, now: float) -> int:
        """See the port; blocks."""
        return self._logs.prune(now)

    def close(self, seconds: float) -> None:
        """Flush what there is, for up to some seconds, and stop."""
        self.flush()
        self._idle.wait(seconds)
        self._over.set()
        self._due.set()

    def _run(self) -> None:
        while self._due.wait() and not self._over.is_set():
            self._due.clear()
            try:
                while self._entries:
                    self._logs.write(self._entries.popleft())
                self._logs.flush()
                if not self._due.is_set():
                    self._idle.set()
            except Error as error:
                _log.warning("output cannot be stored now: %s", error)
                self._due.set()
                self._over.wait(_PAUSE)
            except Exception:  # noqa: BLE001 - what follows is to be stored all the same
                _log.exception("output could not be stored")
