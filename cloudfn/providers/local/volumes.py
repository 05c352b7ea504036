"""Volumes as files of content beside an SQLite file that says which are where. Thin I/O."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cloudfn.errors import DataLossError
from cloudfn.model.ids import mint
from cloudfn.providers.local.database import Database
from cloudfn.providers.volumes import StagedFile, VolumeFile

_TABLES = """
CREATE TABLE files (
    volume TEXT NOT NULL, path TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL,
    mtime INTEGER NOT NULL, mode INTEGER NOT NULL, PRIMARY KEY (volume, path)
) WITHOUT ROWID;
CREATE TABLE garbage (volume TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE requests (request TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""
#: seconds after which what was staged and never committed is deleted
_ABANDONED = 86_400.0


class LocalVolumes:
    """The `Volumes` port on a directory.

    Args:
        folder: The directory; made, for its owner alone, when absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self._db = Database(folder / "volumes.db", (_TABLES,), power_cut=False)

    def files(self, volume_id: str) -> list[VolumeFile]:
        rows = self._db.rows(
            "SELECT path, key, size, mtime, mode FROM files WHERE volume = ? ORDER BY path",
            volume_id,
        )
        return [VolumeFile(*row) for row in rows]

    def content(self, volume_id: str, key: str) -> Path:
        return self._folder / volume_id / "content" / key

    def fetch(self, volume_id: str, keys: Sequence[str]) -> None:
        """See the port; all contents are here."""

    def link(self, volume_id: str, file: VolumeFile, seconds: int) -> None:
        """See the port; nobody else reaches what is here."""

    def stage(self, volume_id: str) -> Path:
        stage = self._folder / volume_id / "stage"
        stage.mkdir(mode=0o700, parents=True, exist_ok=True)
        return stage

    def commit(
        self,
        volume_id: str,
        puts: Sequence[StagedFile],
        removes: Sequence[str],
        *,
        request: str,
        now: float,
    ) -> None:
        if self._db.rows("SELECT 1 FROM requests WHERE request = ?", request):
            return
        taken = [self._take(volume_id, staged) for staged in puts]
        with self._db.writing():
            for path in [*removes, *(file.path for file in taken)]:
                self._drop(volume_id, path, now)
            self._db.execute_many(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)",
                [(volume_id, f.path, f.key, f.size, f.mtime, f.mode) for f in taken],
            )
            self._db.execute("INSERT INTO requests VALUES (?, ?)", request, now)

    def wipe(self, volume_id: str) -> None:
        with self._db.writing():
            self._db.execute("DELETE FROM files WHERE volume = ?", volume_id)
            self._db.execute("DELETE FROM garbage WHERE volume = ?", volume_id)
        shutil.rmtree(self._folder / volume_id, ignore_errors=True)

    def expire(self, now: float, patience: float) -> None:
        late = now - patience
        with self._db.writing():
            self._db.execute("DELETE FROM requests WHERE at <= ?", late)
            gone = self._db.rows("DELETE FROM garbage WHERE at <= ? RETURNING volume, key", late)
        for volume_id, key in gone:
            self.content(volume_id, key).unlink(missing_ok=True)
        for staged in self._folder.glob("*/stage/*"):
            if staged.lstat().st_mtime <= now - _ABANDONED:
                shutil.rmtree(staged, ignore_errors=True)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()

    def _take(self, volume_id: str, staged: StagedFile) -> VolumeFile:
        """Make a staged file one of content; the staged one stays, in case this is asked again."""
        key = mint("co")
        target = self.content(volume_id, key)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.link(staged.source, target, follow_symlinks=False)
        except FileNotFoundError:
            raise DataLossError(f"The file for {staged.path!r} is not there any more.") from None
        found = target.lstat()
        os.utime(target, ns=(staged.mtime, staged.mtime))
        return VolumeFile(staged.path, key, found.st_size, staged.mtime, staged.mode)

    def _drop(self, volume_id: str, path: str, now: float) -> None:
        for (key,) in self._db.rows(
            "DELETE FROM files WHERE volume = ? AND path = ? RETURNING key", volume_id, path
        ):
            self._db.execute("INSERT INTO garbage VALUES (?, ?, ?)", volume_id, key, now)
