"""The port for what volumes hold: files that change together, in commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """One committed file."""

    #: relative, with slashes, without dots
    path: str
    #: names its content, which never changes
    key: str
    size: int
    #: nanoseconds since the epoch
    mtime: int
    #: permission bits
    mode: int


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that is to be committed; the store takes its content over."""

    path: str
    #: in a folder below `Volumes.stage`
    source: Path
    mtime: int
    mode: int


@dataclass(frozen=True, slots=True)
class Link:
    """An address at which anybody can read a file, for a while."""

    url: str
    #: it ends with the credentials that it was made with, where these end sooner
    temporary: bool


class Volumes(Protocol):
    """Files of volumes. A commit is seen whole or not at all; of two, the last one wins per file.

    A commit survives the death of the process when the method returns.
    """

    def files(self, volume_id: str) -> list[VolumeFile]:
        """Return all committed files of a volume, by path."""
        ...

    def content(self, volume_id: str, key: str) -> Path:
        """Return a local file with the content of a committed file; nobody may change it.

        Content that no file has any more stays readable until `expire` has been patient.
        """
        ...

    def fetch(self, volume_id: str, keys: Sequence[str]) -> None:
        """Have contents here, several at once, so that `content` need not wait for each."""
        ...

    def link(self, volume_id: str, file: VolumeFile, seconds: int) -> Link | None:
        """Return an address of a committed file that is not empty, or None: there are none here.

        Args:
            volume_id: Of the volume.
            file: One of its files.
            seconds: For how long it is good; at least one.

        Raises:
            InvalidError: That is longer than this store can promise.
        """
        ...

    def stage(self, volume_id: str) -> Path:
        """Return the folder in which folders of files to be committed are made."""
        ...

    def commit(
        self,
        volume_id: str,
        puts: Sequence[StagedFile],
        removes: Sequence[str],
        *,
        request: str,
        now: float,
    ) -> None:
        """Remove files and write files, at once. Idempotent for the same request."""
        ...

    def wipe(self, volume_id: str) -> None:
        """Delete everything of a volume. Idempotent."""
        ...

    def expire(self, now: float, patience: float) -> None:
        """Delete content that no file has had for `patience` seconds, and old requests."""
        ...

    def close(self) -> None:
        """Give the store back. Idempotent."""
        ...
