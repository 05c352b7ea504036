"""What the engine needs of a place where work can run: one port per subject, and their bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cloudfn.providers.blobs import Blobs
from cloudfn.providers.catalog import Catalog
from cloudfn.providers.depot import Depot
from cloudfn.providers.dicts import Dicts
from cloudfn.providers.doorbells import Doorbells
from cloudfn.providers.fleet import Fleet
from cloudfn.providers.images import Images, Registry
from cloudfn.providers.leadership import Leadership
from cloudfn.providers.ledger import Ledger
from cloudfn.providers.logs import Logs
from cloudfn.providers.machines import Machines
from cloudfn.providers.objects import Objects
from cloudfn.providers.presence import Presence
from cloudfn.providers.queues import Queues
from cloudfn.providers.reach import Reach
from cloudfn.providers.scheduled import ScheduledSettings
from cloudfn.providers.schedules import Schedules
from cloudfn.providers.secrets import Secrets
from cloudfn.providers.shared_ledger import SharedLedger
from cloudfn.providers.streams import Streams
from cloudfn.providers.volumes import Volumes
from cloudfn.providers.wakeups import Wakeups
from cloudfn.settings import Settings


@dataclass(frozen=True, slots=True)
class Provider:
    """A place where work can run: a frozen bundle of ports."""

    name: str
    ledger: Ledger
    catalog: Catalog
    blobs: Blobs
    logs: Logs
    schedules: Schedules
    objects: Objects
    dicts: Dicts
    queues: Queues
    streams: Streams
    secrets: Secrets
    volumes: Volumes
    #: by the name of the runtime whose containers are made of them
    images: Mapping[str, Images]
    #: opens the way of those of the docker runtime to registries
    registry: Callable[[], Registry] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """From where a `Cloud` is used, and by whom."""

    #: which environment, in which region, and what its stores may hold
    settings: Settings
    #: id of the machine that claims, or of the client that calls
    holder: str
    #: private folder of this process for what it fetches; may be emptied between runs
    cache: Path
    #: this process is the agent of one of the machines
    on_machine: bool = False


@dataclass(frozen=True, slots=True)
class Cloud:
    """A place whose machines come and go, and which several clients use at once.

    A frozen bundle of ports like `Provider`, without files that all could see. All ports may be
    used from several threads, and block.
    """

    name: str
    ledger: SharedLedger
    doorbells: Doorbells
    wakeups: Wakeups
    depot: Depot
    machines: Machines
    presence: Presence
    fleet: Fleet
    leadership: Leadership
    catalog: Catalog
    logs: Logs
    schedules: Schedules
    objects: Objects
    dicts: Dicts
    queues: Queues
    streams: Streams
    secrets: Secrets
    volumes: Volumes
    #: those of Docker, which its machines run
    images: Images
    #: lets people in to its machines; None: nobody gets in
    reach: Reach | None
    #: returns the environment's key, 32 bytes, which clients and agents may read
    key: Callable[[], bytes]
    #: ends what was opened, in this process alone
    close: Callable[[], None]
    #: None: schedules of the provider cannot write settings
    scheduled: ScheduledSettings | None = None
