"""Whether output of a run can still be missing, when it ends."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from cloudfn.model.log import LogEntry
from cloudfn.providers.wakeups import Note, is_counted


class Missing:
    """Holds what machines say they had of an app's output against what came. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: app → writer → characters that it had; -1: nobody knows what others had
        self._told: dict[str, dict[str, int]] = {}
        #: app → characters that came
        self._came: dict[str, int] = {}
        self._called = self._unsure = False

    def called(self) -> None:
        """This client has made a call."""
        self._called = True

    def expect(self, app_id: str) -> None:
        """Output of an app is followed from its beginning."""
        with self._lock:
            self._told.setdefault(app_id, {})

    def forget(self, app_id: str) -> None:
        """It is followed no more."""
        with self._lock:
            self._told.pop(app_id, None)
            self._came.pop(app_id, None)

    def told(self, note: Note) -> None:
        """A machine told of outcomes."""
        if note.printed is None:
            self._unsure |= bool(note.indices)
            return
        app_id, writer, size = note.printed
        with self._lock:
            sizes = self._told.get(app_id)
            if sizes is not None:
                known = sizes.get(writer, 0)
                sizes[writer] = -1 if min(known, size) < 0 else max(known, size)

    def untold(self) -> None:
        """There are outcomes of which no machine told."""
        self._unsure = True

    def came(self, app_id: str, entries: Iterable[LogEntry]) -> None:
        """Output came."""
        size = sum(len(each.text) for each in entries if is_counted(each.container_id))
        with self._lock:
            self._came[app_id] = self._came.get(app_id, 0) + size

    def nothing(self, app_id: str) -> bool:
        """Whether it is known that nothing of an app's output is missing."""
        if not self._called:
            return True
        with self._lock:
            sizes = self._told.get(app_id, {}).values()
            known = bool(sizes) and min(sizes) >= 0 and not self._unsure
            return known and self._came.get(app_id, 0) >= sum(sizes)
