"""This machine as a provider: SQLite and files, inside the daemon."""

from __future__ import annotations

from cloudfn.providers.base import Provider
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.providers.local.catalog import SqliteCatalog
from cloudfn.providers.local.dicts import SqliteDicts
from cloudfn.providers.local.images import LocalImages
from cloudfn.providers.local.ledger import SqliteLedger
from cloudfn.providers.local.logs import LocalLogs
from cloudfn.providers.local.objects import SqliteObjects
from cloudfn.providers.local.queues import SqliteQueues
from cloudfn.providers.local.schedules import SqliteSchedules
from cloudfn.providers.local.secrets import LocalSecrets
from cloudfn.providers.local.streams import LocalStreams
from cloudfn.providers.local.volumes import LocalVolumes
from cloudfn.settings import Settings


def open_provider(
    settings: Settings,
    key: bytes,
    now: float,
    images: LocalImages,
) -> Provider:
    """Open the stores of one environment, for the one process that owns them.

    Args:
        settings: The environment, and what its stores may hold.
        key: The environment's key.
        now: Seconds since the epoch.
        images: By the name of the runtime whose containers are made of them.

    Raises:
        VersionError: A newer cloudfn wrote them.
        DataLossError: One is damaged; it was moved aside.
        ExecutionError: Another process has one.
    """
    state_dir, stores = settings.state_dir, settings.stores
    catalog = SqliteCatalog(state_dir / "catalog.db")
    return Provider(
        name="local",
        ledger=SqliteLedger.open(state_dir / "ledger.db", settings.limits, now=now),
        catalog=catalog,
        blobs=LocalBlobs.open(state_dir),
        logs=LocalLogs(state_dir / "logs"),
        schedules=SqliteSchedules(catalog.file),
        objects=SqliteObjects(state_dir / "objects.db"),
        dicts=SqliteDicts(state_dir / "dicts.db", stores.dict_ttl),
        queues=SqliteQueues(state_dir / "queues.db", stores.queue_items, stores.queue_partitions),
        streams=LocalStreams(),
        secrets=LocalSecrets(state_dir / "secrets.db", key),
        volumes=LocalVolumes(state_dir / "volumes"),
        images=images,
        registry=images.registry,
    )
