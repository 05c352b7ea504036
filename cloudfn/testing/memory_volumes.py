"""Volumes whose index is in memory, and whose content lies in a folder that a provider removes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from cloudfn.model.ids import mint
from cloudfn.providers.volumes import StagedFile, VolumeFile


class MemoryVolumes:
    """The `Volumes` port as a dictionary.

    Args:
        folder: Where content lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, dict[str, VolumeFile]] = {}
        self._garbage: list[tuple[float, str, str]] = []
        self._requests: dict[str, float] = {}

    def files(self, volume_id: str) -> list[VolumeFile]:
        return sorted(self._files.get(volume_id, {}).values(), key=lambda file: file.path)

    def content(self, volume_id: str, key: str) -> Path:
        return self._folder / volume_id / key

    def fetch(self, volume_id: str, keys: Sequence[str]) -> None:
        """See the port; all contents are here."""

    def link(self, volume_id: str, file: VolumeFile, seconds: int) -> None:
        """See the port; nobody else reaches what is here."""

    def stage(self, volume_id: str) -> Path:
        stage = self._folder / volume_id / "stage"
        stage.mkdir(parents=True, exist_ok=True)
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
        if request in self._requests:
            return
        self._requests[request] = now
        files = self._files.setdefault(volume_id, {})
        for path in [*removes, *(staged.path for staged in puts)]:
            old = files.pop(path, None)
            if old is not None:
                self._garbage.append((now, volume_id, old.key))
        for staged in puts:
            key = mint("co")
            shutil.copyfile(staged.source, self.content(volume_id, key))
            size = staged.source.stat().st_size
            files[staged.path] = VolumeFile(staged.path, key, size, staged.mtime, staged.mode)

    def wipe(self, volume_id: str) -> None:
        self._files.pop(volume_id, None)
        shutil.rmtree(self._folder / volume_id, ignore_errors=True)

    def expire(self, now: float, patience: float) -> None:
        late = now - patience
        for at, volume_id, key in self._garbage:
            if at <= late:
                self.content(volume_id, key).unlink(missing_ok=True)
        self._garbage = [each for each in self._garbage if each[0] > late]
        self._requests = {key: at for key, at in self._requests.items() if at > late}

    def close(self) -> None:
        """See the port; the provider removes the folder."""
