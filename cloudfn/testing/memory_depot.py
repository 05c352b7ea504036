"""A depot in memory. Safe to share between threads."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from threading import Lock

from cloudfn.errors import DataLossError, NotFoundError
from cloudfn.providers.aws.archives import pack, unpack
from cloudfn.wire.messages import BlobRef


class MemoryDepot:
    """The `Depot` port as dictionaries."""

    def __init__(self) -> None:
        #: payloads by name, and archives by digest
        self.payloads: dict[str, bytes] = {}
        self.bundles: dict[str, bytes] = {}
        self._lock = Lock()

    def store(self, ref: BlobRef, source: Path) -> None:
        content = source.read_bytes() if source.is_file() else None
        if content is None or len(content) != ref.size:
            raise DataLossError(f"{source} is not the payload {ref.name} of {ref.size} bytes.")
        with self._lock:
            self.payloads.setdefault(ref.name, content)

    def fetch(self, ref: BlobRef, target: Path) -> None:
        content = self.payloads.get(ref.name)
        if content is None or len(content) != ref.size:
            raise DataLossError(f"There is no payload {ref.name} of {ref.size} bytes.")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        partial.write_bytes(content)
        partial.replace(target)

    def delete(self, refs: Sequence[BlobRef]) -> None:
        with self._lock:
            for ref in refs:
                self.payloads.pop(ref.name, None)

    def store_bundle(self, digest: str, folder: Path) -> None:
        archive = BytesIO()
        pack(digest, folder, archive)
        with self._lock:
            self.bundles.setdefault(digest, archive.getvalue())

    def fetch_bundle(self, digest: str, target: Path) -> None:
        archive = self.bundles.get(digest)
        if archive is None:
            raise NotFoundError(f"There is no bundle {digest[:12]}.")
        unpack(digest, BytesIO(archive), target)

    def has_bundle(self, digest: str) -> bool:
        return digest in self.bundles
