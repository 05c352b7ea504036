"""What makes committed writes survive a power cut. Does I/O; usable from any thread.

SQLite in WAL mode with `synchronous=NORMAL` appends a commit to the write-ahead log and leaves it
to the operating system; with FULL it syncs the log after that, and this is the whole difference
(sqlite.org/pragma.html#pragma_synchronous). So a commit under NORMAL followed by an `fdatasync` of
the log is a commit under FULL, and one sync serves all commits before it. What a checkpoint has
moved out of the log is no concern: under NORMAL too it syncs the log before it writes to the
database, and the database before the log is used from its start again.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

from cloudfn.errors import ExecutionError


class LogSync:
    """Syncs a write-ahead log through a descriptor of its own.

    SQLite locks the database file, never the log, so that closing this descriptor drops no lock.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = Lock()
        self._descriptor: int | None = None

    def sync(self) -> None:
        """Make everything in the log survive a power cut.

        Raises:
            ExecutionError: The disk refused, or the log is gone.
        """
        try:
            with self._lock:
                # macOS has no fdatasync.
                getattr(os, "fdatasync", os.fsync)(self._current())
        except OSError as error:
            raise ExecutionError(
                f"{self._log} cannot be synced: {error.strerror or error}.",
                hint="Look at the disk: `dmesg` and `df` say what is wrong with it.",
            ) from error

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _current(self) -> int:
        """Return a descriptor of the file that has the log's name now."""
        if self._descriptor is not None:
            if os.path.samestat(os.fstat(self._descriptor), os.stat(self._log)):
                return self._descriptor
            os.close(self._descriptor)
            self._descriptor = None
        self._descriptor = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
        return self._descriptor
