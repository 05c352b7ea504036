"""Presence in memory."""

from __future__ import annotations

import builtins
from dataclasses import replace
from threading import Lock

from cloudfn.providers.presence import ClientRow


class MemoryPresence:
    """The `Presence` port as a dictionary, for all who share the object."""

    def __init__(self) -> None:
        self._rows: dict[str, ClientRow] = {}
        self._lock = Lock()

    def beat(self, row: ClientRow) -> None:
        with self._lock:
            self._rows[row.client_id] = row

    def list(self) -> builtins.list[ClientRow]:
        with self._lock:
            return [self._rows[client_id] for client_id in sorted(self._rows)]

    def doubt(self, client_id: str, lease_until: float, now: float) -> None:
        with self._lock:
            row = self._rows.get(client_id)
            if row is not None and row.lease_until == lease_until and row.doubted is None:
                self._rows[client_id] = replace(row, doubted=now)

    def remove(self, client_id: str, lease_until: float | None = None) -> bool:
        with self._lock:
            row = self._rows.get(client_id)
            if row is None or lease_until not in (None, row.lease_until):
                return False
            del self._rows[client_id]
            return True
