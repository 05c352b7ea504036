"""A cloud in memory with a machine that runs what waits, and clients of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudfn import settings
from cloudfn.control.invocation.client import CloudClient
from cloudfn.control.invocation.front import Front
from cloudfn.model import ids
from cloudfn.providers.base import Place
from cloudfn.sdk.client import using
from cloudfn.settings import Limits
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.testing.cloud_machine import CloudMachine


class World:
    """A cloud, a machine, and clients."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self.cloud = MemoryCloud(folder, limits)
        self.machine = CloudMachine(self.cloud, "i-1", folder / "machines")
        self.clients: list[CloudClient] = []

    def client(self) -> CloudClient:
        known = settings.load({"CLOUDFN_PROVIDER": "memory"})
        place = Place(known, ids.mint("cl"), self.folder / "cache")
        front = Front(self.cloud.open(place.holder), place)
        folder = self.folder / f"payloads-{len(self.clients)}"
        client = CloudClient(front, "ada@laptop", folder, 1_000)
        self.clients.append(client)
        return client

    @contextmanager
    def program(self) -> Iterator[CloudClient]:
        with using(self.client()) as client:
            yield client
        client.close()

    def calls(self, method: str) -> int:
        """How often the clients so far used a method of their ledgers."""
        return sum(client._front.cloud.ledger.asked.get(method, 0) for client in self.clients)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.machine.close()
