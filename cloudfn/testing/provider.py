"""A provider in memory, with a knob for the next failure of each method of its ports."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

from cloudfn.errors import InvalidError
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.providers.base import Provider
from cloudfn.providers.blobs import Blobs
from cloudfn.providers.catalog import Catalog
from cloudfn.providers.dicts import Dicts
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.providers.logs import Logs
from cloudfn.providers.objects import Objects
from cloudfn.providers.queues import Queues
from cloudfn.providers.schedules import Schedules
from cloudfn.providers.secrets import Secrets
from cloudfn.providers.streams import Streams
from cloudfn.providers.volumes import Volumes
from cloudfn.settings import Limits, StoreLimits
from cloudfn.testing.memory_catalog import MemoryCatalog
from cloudfn.testing.memory_dicts import MemoryDicts
from cloudfn.testing.memory_images import MemoryImages
from cloudfn.testing.memory_ledger import MemoryLedger
from cloudfn.testing.memory_objects import MemoryObjects
from cloudfn.testing.memory_queues import MemoryQueues
from cloudfn.testing.memory_schedules import MemorySchedules
from cloudfn.testing.memory_secrets import MemorySecrets
from cloudfn.testing.memory_streams import MemoryStreams
from cloudfn.testing.memory_volumes import MemoryVolumes

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the folder made there is private
#: seconds after which entries are pruned, as on disk
_RETENTION = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class MemoryBlobs(LocalBlobs):
    """The Blobs port in a folder of its own, in memory where there is such a file system."""

    @classmethod
    def make(cls) -> MemoryBlobs:
        """Make the folder; `close` removes it."""
        in_memory = os.access(_SHARED_MEMORY, os.W_OK | os.X_OK)
        folder = Path(mkdtemp(prefix="cloudfn-memory-", dir=_SHARED_MEMORY if in_memory else None))
        blobs = cls(folder / "fast", folder / "durable")
        for path in (blobs.fast, blobs.durable):
            path.mkdir(mode=0o700)
        return blobs

    @property
    def folder(self) -> Path:
        """What `close` removes."""
        return self.fast.parent

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class MemoryLogs:
    """The Logs port as a list."""

    def __init__(self) -> None:
        self._entries: list[LogEntry] = []
        self._buffer: list[LogEntry] = []

    def write(self, entry: LogEntry) -> None:
        self._buffer.append(entry)

    def flush(self) -> None:
        self._entries += self._buffer
        self._buffer = []

    def read(self, query: LogQuery) -> list[LogEntry]:
        wanted = sorted(filter(query.wants, self._entries), key=lambda entry: entry.at)
        return wanted if query.tail is None else wanted[max(len(wanted) - query.tail, 0) :]

    def prune(self, now: float) -> int:
        kept = [entry for entry in self._entries if entry.at >= now - _RETENTION]
        pruned = len(self._entries) - len(kept)
        self._entries = kept
        return pruned


class _Fallible:
    """A port whose methods raise when a failure is due."""

    def __init__(self, port: object) -> None:
        self._port = port
        self._failures: defaultdict[str, list[Exception]] = defaultdict(list)

    def fail_next(self, method: str, error: Exception) -> None:
        self._failures[method].append(error)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not callable(value):
            return value
        return self._guarded(name, value)

    def _guarded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self._failures[name]:
                raise self._failures[name].pop(0)
            return method(*args, **kwargs)

        return guarded


@dataclass(frozen=True, slots=True)
class MemoryProvider(Provider):
    """All ports in memory; `fail_next` says what goes wrong next."""

    #: a place for files that lives as long as the provider
    folder: Path = field(default_factory=Path)

    @classmethod
    def make(
        cls, limits: Limits | None = None, stores: StoreLimits | None = None
    ) -> MemoryProvider:
        """Make one; `close` removes what it has on disk, which is big payloads.

        Args:
            limits: How many inputs a function may have; the defaults when omitted.
            stores: How much dicts and queues may hold; the defaults when omitted.
        """
        stores = stores or StoreLimits()
        blobs = MemoryBlobs.make()
        return cls(
            name="memory",
            ledger=MemoryLedger(limits),
            catalog=cast("Catalog", _Fallible(MemoryCatalog())),
            blobs=cast("Blobs", _Fallible(blobs)),
            logs=cast("Logs", _Fallible(MemoryLogs())),
            schedules=cast("Schedules", _Fallible(MemorySchedules())),
            objects=cast("Objects", _Fallible(MemoryObjects())),
            dicts=cast("Dicts", _Fallible(MemoryDicts(stores.dict_ttl))),
            volumes=cast("Volumes", _Fallible(MemoryVolumes(blobs.folder / "volumes"))),
            secrets=cast("Secrets", _Fallible(MemorySecrets())),
            queues=cast(
                "Queues", _Fallible(MemoryQueues(stores.queue_items, stores.queue_partitions))
            ),
            streams=cast("Streams", _Fallible(MemoryStreams())),
            images={"process": MemoryImages()},
            folder=blobs.folder,
        )

    def fail_next(self, point: str, error: Exception) -> None:
        """Let the next call of a method raise; several failures of one method come in turn.

        Args:
            point: Port and method, as in "ledger.commit" or "catalog.create_app". When a commit
                fails, everything since the last one is undone first, as on a full disk.
            error: What it raises.

        Raises:
            InvalidError: There is no such method.
        """
        name, _, method = point.partition(".")
        port: Any = getattr(self, name, None) if name in _PORTS else None
        if port is None or method.startswith("_") or not callable(getattr(port, method, None)):
            raise InvalidError(
                f"There is nothing named {point!r} that could fail.",
                hint=f"Name a port ({', '.join(_PORTS)}), a dot, and one of its methods.",
            )
        port.fail_next(method, error)

    def close(self) -> None:
        """Remove what lies in files. Idempotent."""
        self.ledger.close()
        self.blobs.close()


_PORTS = (
    "ledger",
    "catalog",
    "blobs",
    "logs",
    "schedules",
    "objects",
    "dicts",
    "queues",
    "streams",
    "secrets",
    "volumes",
)
