"""Files on their way into a volume: collected in a block, committed together at its end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from cloudfn import errors
from cloudfn.model import ids
from cloudfn.model.volume import volume_path
from cloudfn.sdk.block import Block
from cloudfn.sdk.client import Client
from cloudfn.sdk.twins import Blocking, Steps

Progress = Callable[[int, int], None]


class Upload(Block["Upload"]):
    """Files that are on their way into a volume: collected in a block, committed at its end."""

    def __init__(
        self,
        volume_id: Callable[[], Steps[str]],
        engine: Callable[[], Client],
        progress: Progress | None,
        *,
        force: bool,
    ) -> None:
        self._volume_id = volume_id
        self._engine = engine
        self._progress = progress
        self._force = force
        #: remote path, where it comes from, permission bits
        self._files: list[tuple[str, Path | IO[bytes], int]] = []

    def put_file(
        self, local_file: str | Path | IO[bytes], remote_path: str, mode: int | None = None
    ) -> None:
        """Add a file.

        Args:
            local_file: Its path, or an open binary file, read when the block ends.
            remote_path: Where it goes; with a slash at the end, into that directory.
            mode: Its permission bits; the local ones when omitted.

        Raises:
            FileNotFoundError: There is no such local file.
        """
        if not isinstance(local_file, str | os.PathLike):
            if remote_path.endswith("/"):
                raise errors.InvalidError(
                    "A file without a name needs a path that has one.",
                    hint='Name it: put_file(file, "/directory/name").',
                )
            self._files.append((volume_path(remote_path), local_file, mode or 0o644))
            return
        path = Path(local_file)
        if not path.is_file():
            raise FileNotFoundError(str(path))
        if remote_path.endswith("/"):
            remote_path += path.name
        self._files.append((volume_path(remote_path), path, mode or path.stat().st_mode & 0o777))

    def put_directory(
        self,
        local_path: str | Path,
        remote_path: str,
        recursive: bool = True,  # noqa: FBT001, FBT002 - as Modal has it
    ) -> None:
        """Add the files of a directory; links to directories are not followed.

        Raises:
            NotADirectoryError: It is no directory.
        """
        top = Path(local_path)
        if not top.is_dir():
            raise NotADirectoryError(str(top))
        for folder, folders, names in os.walk(top):
            folders.sort()
            if not recursive:
                folders.clear()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file():
                    inside = path.relative_to(top).as_posix()
                    self.put_file(path, f"{remote_path.rstrip('/')}/{inside}")

    def _begin(self) -> Steps[Upload]:
        yield from ()
        return self

    def _end(self, error: BaseException | None) -> Steps[None]:
        if error is None and self._files:
            yield from self._send()

    def _send(self) -> Steps[None]:
        request = ids.mint("rq")
        volume_id = yield from self._volume_id()
        engine = self._engine()
        told = yield from engine.ask("volume_stage", volume=volume_id, request=request)
        yield Blocking(self._copy, told["folder"])
        now = int(engine.clock.wall() * 1e9)
        answer = yield from engine.ask(
            "volume_put",
            volume=volume_id,
            request=request,
            force=self._force,
            files=[
                [path, str(number), now, mode] for number, (path, _, mode) in enumerate(self._files)
            ],
        )
        if answer["existing"]:
            yield Blocking(shutil.rmtree, told["folder"])
            raise FileExistsError(
                f"In the volume already: {', '.join(answer['existing'][:5])}. "
                "Use batch_upload(force=True) to replace."
            )

    def _copy(self, folder: str) -> None:
        sizes = [each.stat().st_size for _, each, _ in self._files if isinstance(each, Path)]
        total, done = sum(sizes), 0
        for number, (_, source, _) in enumerate(self._files):
            target = Path(folder, str(number))
            if isinstance(source, Path):
                shutil.copyfile(source, target)
                done += target.stat().st_size
            else:
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file)
            if self._progress is not None:
                self._progress(done, total)
