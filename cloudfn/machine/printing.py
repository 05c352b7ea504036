"""How much this machine has printed of each app: clients wait for no more at the end of a run."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock

from cloudfn.model.log import LogEntry
from cloudfn.providers.wakeups import Printed, is_counted

#: apps that are remembered; of others, new ones among them, nobody knows how much there was
_MOST = 10_000


class Printing:
    """Counts output by app. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: tells this life of the process from earlier ones
        self._writer = os.urandom(6).hex()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._forgot = False

    def add(self, entry: LogEntry) -> None:
        """Count an entry, where it counts."""
        if not is_counted(entry.container_id):
            return
        with self._lock:
            size = self._size(entry.app_id)
            self._set(entry.app_id, size if size < 0 else size + len(entry.text))

    def called(self, app_id: str) -> None:
        """A container of an app calls others: what they print, nobody knows here."""
        with self._lock:
            self._set(app_id, -1)

    def of(self, app_id: str) -> Printed:
        """Return what is known of an app."""
        with self._lock:
            return Printed(app_id, self._writer, self._size(app_id))

    def _size(self, app_id: str) -> int:
        return self._sizes.get(app_id, -1 if self._forgot else 0)

    def _set(self, app_id: str, size: int) -> None:
        self._sizes[app_id] = size
        if len(self._sizes) > _MOST:
            self._sizes.popitem(last=False)
            self._forgot = True
