"""Which images of a runtime are whole: a file for each, which appears at once or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from cloudfn.providers.images import BuiltImage

_ENDING = ".json"


class ImageRecords:
    """The records in one folder.

    Args:
        root: The folder; made when the first image is recorded.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        """Return where the record of an image is."""
        return self._root / f"{digest}{_ENDING}"

    def read(self, digest: str) -> BuiltImage | None:
        """Return what is recorded of an image; None: nothing that can be read."""
        return _read(self.path(digest))

    def all(self) -> list[BuiltImage]:
        """Return what is recorded of all images, the newest first."""
        found = [_read(path) for path in self._root.glob(f"*{_ENDING}")]
        images = [each for each in found if each is not None]
        return sorted(images, key=lambda image: image.created, reverse=True)

    def write(self, image: BuiltImage) -> None:
        """Record an image, so that it survives a power cut; raises OSError where it cannot be."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = self.path(image.digest)
        aside = record.with_name(f".{record.name}.{os.urandom(4).hex()}")
        with aside.open("w") as file:
            json.dump(asdict(image), file)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(record)
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def forget(self, digest: str) -> bool:
        """Remove the record of an image; return whether there was one."""
        try:
            self.path(digest).unlink()
        except FileNotFoundError:
            return False
        return True


def _read(record: Path) -> BuiltImage | None:
    try:
        return BuiltImage(**json.loads(record.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
