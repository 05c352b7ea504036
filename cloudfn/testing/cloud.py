"""A cloud in memory: what all its clients and machines share, and a machine that runs code here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, cast

from cloudfn.clock import SystemClock
from cloudfn.providers.base import Cloud
from cloudfn.providers.fleet import MachineClass
from cloudfn.providers.machines import MachineReport, MachineState
from cloudfn.providers.shared_ledger import SharedLedger
from cloudfn.settings import Limits, StoreLimits
from cloudfn.testing.memory_catalog import MemoryCatalog
from cloudfn.testing.memory_depot import MemoryDepot
from cloudfn.testing.memory_dicts import MemoryDicts
from cloudfn.testing.memory_doorbells import MemoryDoorbells
from cloudfn.testing.memory_fleet import MemoryFleet
from cloudfn.testing.memory_images import MemoryImages
from cloudfn.testing.memory_leadership import MemoryLeadership
from cloudfn.testing.memory_machines import MemoryMachines
from cloudfn.testing.memory_objects import MemoryObjects
from cloudfn.testing.memory_presence import MemoryPresence
from cloudfn.testing.memory_queues import MemoryQueues
from cloudfn.testing.memory_schedules import MemorySchedules
from cloudfn.testing.memory_secrets import MemorySecrets
from cloudfn.testing.memory_shared_ledger import MemorySharedLedger, Records
from cloudfn.testing.memory_streams import MemoryStreams
from cloudfn.testing.memory_volumes import MemoryVolumes
from cloudfn.testing.memory_wakeups import MemoryWakeups, Post
from cloudfn.testing.provider import MemoryLogs

_KEY = bytes(range(32))
#: seconds that a machine lives without another word
_LEASE = 600.0


class Guarded:
    """A port whose methods are called one at a time, may fail next, and are counted.

    Args:
        port: The port.
    """

    def __init__(self, port: object) -> None:
        self._port = port
        self._lock = Lock()
        self._failures: dict[str, list[Exception]] = {}
        #: how often each method was called
        self.asked: dict[str, int] = {}

    def fail_next(self, method: str, error: Exception) -> None:
        """Let the next call of a method raise; several failures of one come in turn."""
        self._failures.setdefault(method, []).append(error)

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._port, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.asked[name] = self.asked.get(name, 0) + 1
                if self._failures.get(name):
                    raise self._failures[name].pop(0)
                return method(*args, **kwargs)

        return guarded


class MemoryCloud:
    """An environment of a cloud, without a network and without machines of its own.

    Args:
        folder: For what lies in files.
        limits: How many inputs a function may have.
        stores: How much dicts and queues may hold.
        classes: Which machines there can be, for those who ask.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        stores: StoreLimits | None = None,
        classes: Sequence[MachineClass] = (),
    ) -> None:
        stores = stores or StoreLimits()
        self.folder = folder
        self.records = Records.make(limits)
        self.post = Post()
        self.woken = 0
        self.depot = MemoryDepot()
        self.machines = MemoryMachines()
        self.presence = MemoryPresence()
        self.leadership = MemoryLeadership(self._wake)
        self.doorbells = MemoryDoorbells()
        self.fleet = MemoryFleet(classes, SystemClock())
        self.images = MemoryImages(python=".".join(map(str, sys.version_info[:2])))
        self.ports: dict[str, Any] = {
            "catalog": Guarded(MemoryCatalog()),
            "logs": Guarded(MemoryLogs()),
            "schedules": Guarded(MemorySchedules()),
            "objects": Guarded(MemoryObjects()),
            "dicts": Guarded(MemoryDicts(stores.dict_ttl)),
            "queues": Guarded(MemoryQueues(stores.queue_items, stores.queue_partitions)),
            "streams": Guarded(MemoryStreams()),
            "secrets": Guarded(MemorySecrets()),
            "volumes": Guarded(MemoryVolumes(folder / "volumes")),
        }

    def open(self, holder: str) -> Cloud:
        """Return the ports as a machine or client of that id has them."""
        ledger = Guarded(MemorySharedLedger(self.records, holder))
        return Cloud(
            name="memory",
            ledger=cast("SharedLedger", ledger),
            doorbells=self.doorbells,
            wakeups=MemoryWakeups(self.post),
            depot=self.depot,
            machines=self.machines,
            presence=self.presence,
            fleet=self.fleet,
            leadership=self.leadership,
            images=self.images,
            reach=None,
            key=lambda: _KEY,
            close=lambda: None,
            **self.ports,
        )

    def join(self, machine_id: str) -> None:
        """Add a machine that does nothing by itself."""
        report = MachineReport(machine_id, "small", MachineState.READY, 1.0, 1024)
        self.machines.join(report, SystemClock().wall(), _LEASE)

    def _wake(self) -> None:
        self.woken += 1
