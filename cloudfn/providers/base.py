"""What the engine needs of a place where work can run: one port per subject, and their bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cloudfn.providers.blobs import Blobs
from cloudfn.providers.catalog import Catalog
from cloudfn.providers.dicts import Dicts
from cloudfn.providers.images import Images, Registry
from cloudfn.providers.ledger import Ledger
from cloudfn.providers.logs import Logs
from cloudfn.providers.objects import Objects
from cloudfn.providers.queues import Queues
from cloudfn.providers.schedules import Schedules
from cloudfn.providers.secrets import Secrets
from cloudfn.providers.streams import Streams
from cloudfn.providers.volumes import Volumes


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
