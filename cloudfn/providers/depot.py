"""The port of the depot: payloads and program texts where all machines reach them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cloudfn.wire.messages import BlobRef


class Depot(Protocol):
    """Files that travel between clients and machines. Safe to share between threads; blocks.

    Payloads bear the random names of their `BlobRef`, and are authentic: what `fetch` writes is
    what some `store` of this environment read, or it raises. Bundles are named by their digest.
    """

    def store(self, ref: BlobRef, source: Path) -> None:
        """Keep a payload. Idempotent; the first content of a name stays."""
        ...

    def fetch(self, ref: BlobRef, target: Path) -> None:
        """Write a payload to a new file, whole or not at all.

        Raises:
            DataLossError: There is no such payload, or it is not what was stored.
        """
        ...

    def delete(self, refs: Sequence[BlobRef]) -> None:
        """Forget payloads. Idempotent."""
        ...

    def store_bundle(self, digest: str, folder: Path) -> None:
        """Keep a folder of sources. Idempotent."""
        ...

    def fetch_bundle(self, digest: str, target: Path) -> None:
        """Make the folder of a bundle at a new path, whole or not at all.

        Raises:
            NotFoundError: There is no such bundle.
            DataLossError: It is not what was stored.
        """
        ...

    def has_bundle(self, digest: str) -> bool:
        """Whether there is such a bundle."""
        ...
