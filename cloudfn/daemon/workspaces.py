"""Working copies of volumes: one for each container, committed now and then and at its end.

Files are looked at and copied in a thread of its own; everything else happens on the loop. Where
volumes are far away, they are asked in that thread, too.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cloudfn.clock import Clock
from cloudfn.control.stores.later import Later
from cloudfn.control.stores.volumes import VolumeDesk
from cloudfn.daemon.folders import by_descriptor, files_in, opened
from cloudfn.errors import Error, InvalidError
from cloudfn.model import ids
from cloudfn.model.volume import VolumeMount
from cloudfn.providers.volumes import StagedFile, VolumeFile
from cloudfn.wire.replies import error_json
from cloudfn.worker.mounts import clone

_log = logging.getLogger(__name__)

#: seconds between commits that nobody asked for
_PAUSE = 5.0
#: a file that was written so short a time ago may be written again within its time stamp: ns
_RACY = 50_000_000


class _Seen(NamedTuple):
    """A file as it was when it was last committed."""

    size: int
    mtime: int


@dataclass(slots=True)
class Workspace:
    """One volume in one container."""

    container_id: str
    mount: VolumeMount
    folder: Path
    #: by path in the folder
    base: dict[str, _Seen]
    #: (uid, gid) of its container; None: ours
    owner: tuple[int, int] | None = None
    #: a commit that nobody asked for is under way
    busy: bool = False

    @property
    def ready(self) -> bool:
        """Whether the container has made it whole."""
        return Path(f"{self.folder}.ready").exists()

    def outside(self, path: str) -> str:
        """Return the path in the volume of one in the folder."""
        return f"{self.mount.sub_path}/{path}" if self.mount.sub_path else path


@dataclass(slots=True)
class _Changes:
    """What differs from the last commit; the files are staged."""

    stage: Path
    puts: list[StagedFile] = field(default_factory=list)
    removes: list[str] = field(default_factory=list)
    seen: dict[str, _Seen] = field(default_factory=dict)


class Workspaces:
    """The working copies of all living containers.

    Args:
        loop: The loop.
        desk: The volumes.
        root: Where they lie; what an earlier daemon left there is deleted.
        clock: The time.
        far: Volumes may be asked in any thread, and answer in their own time.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        desk: VolumeDesk,
        root: Path,
        clock: Clock,
        *,
        far: bool = False,
    ) -> None:
        self._loop = loop
        self._desk = desk
        self._root = root
        self._clock = clock
        self._far = far
        self._spaces: dict[str, list[Workspace]] = {}
        #: of containers that are gone, until everything of them is committed
        self._leaving: dict[str, list[Workspace]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="volumes")
        self._timer: TimerHandle | None = None
        self._closed = False
        shutil.rmtree(root, ignore_errors=True)

    def prepare(
        self,
        container_id: str,
        mounts: tuple[VolumeMount, ...],
        owner: tuple[int, int] | None = None,
    ) -> Callable[[], list[dict[str, Any]]]:
        """Return what gives the orders for the mounts of a container that is about to start.

        It is to be called once, from any thread, and may have to wait for far volumes.

        Args:
            container_id: The container.
            mounts: What it sees.
            owner: (uid, gid) that it runs as; None: ours.
        """
        spaces = []
        for number, mount in enumerate(mounts):
            folder = self._root / container_id / str(number)
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            spaces.append(Workspace(container_id, mount, folder, {}, owner))
        orders = None if self._far else [self._order(space) for space in spaces]
        if spaces:
            self._spaces.setdefault(container_id, []).extend(spaces)
        self._arm()
        return lambda: orders if orders is not None else [self._order(each) for each in spaces]

    def mounts(self, container_id: str | None, volume_id: str) -> list[dict[str, str]]:
        """Return where a container has a volume: mount path and folder."""
        return [
            {"path": space.mount.path, "folder": str(space.folder)}
            for space in self._of(container_id, volume_id)
        ]

    def commit(self, container_id: str | None, volume_id: str) -> Later:
        """Commit what a container changed in a volume."""
        later, spaces = Later(), self._of(container_id, volume_id)
        if any(space.mount.read_only for space in spaces):
            raise InvalidError(
                "The volume is mounted read-only here: there is nothing to commit.",
                hint="Mount it without `read_only()`.",
            )
        self._commit_all(spaces, lambda error: later.give(_told(error)))
        return later

    def reload(self, container_id: str | None, volume_id: str) -> Later:
        """Commit what a container changed, and bring its copy to what is committed."""
        later, spaces = Later(), self._of(container_id, volume_id)

        def renew(failed: Error | None) -> None:
            if failed is not None:
                later.give(_told(failed))
                return
            found = None if self._far else [self._committed(space) for space in spaces]

            def work() -> Error | None:
                try:
                    for number, space in enumerate(spaces):
                        files = found[number] if found else self._committed(space)
                        _renew(space, files, self._sources(space, files))
                except Error as error:
                    return error
                return None

            self._later(work, lambda error: later.give(_told(error)))

        self._commit_all([s for s in spaces if not s.mount.read_only], renew)
        return later

    def ended(self, container_id: str) -> None:
        """A container is gone: commit what it changed, however it ended, and clear up."""
        spaces = self._spaces.pop(container_id, None)
        if spaces is not None:
            self._leaving[container_id] = spaces
            self._leave(container_id)

    @property
    def committing(self) -> bool:
        """Whether something of containers that are gone is to be committed yet."""
        return bool(self._leaving)

    def close(self) -> None:
        """Commit what there is, and stop; all containers are gone."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown()
        for spaces in [*self._spaces.values(), *self._leaving.values()]:
            for space in spaces:
                if not space.mount.read_only:
                    self._commit(space)
        shutil.rmtree(self._root, ignore_errors=True)

    # How

    def _order(self, space: Workspace) -> dict[str, Any]:
        """Return what a container is told of its copy, which is to be what is committed now."""
        files = self._committed(space)
        sources = self._sources(space, files)
        space.base = {path: _Seen(file.size, file.mtime) for path, file in files.items()}
        return {
            "path": space.mount.path,
            "folder": str(space.folder),
            "read_only": space.mount.read_only,
            "files": [
                [path, str(sources[path]), file.mtime, file.mode] for path, file in files.items()
            ],
        }

    def _committed(self, space: Workspace) -> dict[str, VolumeFile]:
        """Return the committed files that a container sees, by path in the folder."""
        volume_id = self._desk.id_of({"volume": space.mount.object_id})
        return dict(_inside(space.mount, self._desk.volumes.files(volume_id)))

    def _sources(self, space: Workspace, files: Mapping[str, VolumeFile]) -> dict[str, Path]:
        volume_id, volumes = space.mount.object_id, self._desk.volumes
        volumes.fetch(volume_id, [file.key for file in files.values()])
        return {path: volumes.content(volume_id, file.key) for path, file in files.items()}

    def _leave(self, container_id: str) -> None:
        """Commit what a container left; far volumes are asked until they answer."""

        def committed(error: Error | None) -> None:
            if error is not None and self._far:
                self._loop.call_later(_PAUSE, partial(self._leave, container_id))
                return
            self._leaving.pop(container_id, None)
            self._later(lambda: _clear(self._root / container_id), lambda _: None)

        spaces = [each for each in self._leaving[container_id] if not each.mount.read_only]
        if not self._closed:
            self._commit_all(spaces, committed)

    def _of(self, container_id: str | None, volume_id: str) -> list[Workspace]:
        found = [
            space
            for space in self._spaces.get(container_id or "", ())
            if space.mount.object_id == volume_id
        ]
        if not found:
            raise InvalidError(
                "The volume is not mounted here.",
                hint="Name it in `@app.function(volumes={path: volume})`, or use batch_upload.",
            )
        return found

    def _commit_all(self, spaces: list[Workspace], done: Callable[[Error | None], None]) -> None:
        """Commit one after the other up to the first that fails, then go on."""
        if not spaces:
            done(None)
            return
        space, *rest = spaces

        def recorded(error: Error | None) -> None:
            if error is not None:
                done(error)
            else:
                self._commit_all(rest, done)

        if self._far:
            self._later(lambda: self._commit(space), recorded)
        elif not self._can_commit(space):
            recorded(None)
        else:
            stage = self._stage(space)
            self._later(
                lambda: _collect(space, stage),
                lambda changes: recorded(self._record(space, changes)),
            )

    def _commit(self, space: Workspace) -> Error | None:
        """Commit one at once; return what went wrong."""
        try:
            if not self._can_commit(space):
                return None
        except Error as error:
            return error
        return self._record(space, _collect(space, self._stage(space)))

    def _can_commit(self, space: Workspace) -> bool:
        """Whether the copy is whole, and the volume still there."""
        return space.ready and self._desk.knows(space.mount.object_id)

    def _stage(self, space: Workspace) -> Path:
        return self._desk.volumes.stage(space.mount.object_id) / ids.mint("rq")

    def _record(self, space: Workspace, changes: _Changes) -> Error | None:
        try:
            if changes.puts or changes.removes:
                self._desk.volumes.commit(
                    space.mount.object_id,
                    changes.puts,
                    changes.removes,
                    request=changes.stage.name,
                    now=self._clock.wall(),
                )
                space.base = changes.seen
        except Error as error:
            _log.exception("a commit of volume %s failed", space.mount.object_id)
            return error
        finally:
            shutil.rmtree(changes.stage, ignore_errors=True)
        return None

    def _later(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do work in the thread, and go on here with what came of it."""
        if self._closed:
            return

        def finished(future: Future[Any]) -> None:
            self._loop.call_soon_threadsafe(self._finished, future, done)

        self._thread.submit(work).add_done_callback(finished)

    def _finished(self, future: Future[Any], done: Callable[[Any], None]) -> None:
        error = future.exception()
        if error is not None:
            _log.error("work on a volume failed", exc_info=error)
            return
        if not self._closed:
            done(future.result())

    def _arm(self) -> None:
        if self._timer is None and self._spaces and not self._closed:
            self._timer = self._loop.call_later(_PAUSE, self._commit_now_and_then)

    def _commit_now_and_then(self) -> None:
        self._timer = None
        for spaces in list(self._spaces.values()):
            for space in spaces:
                if not space.mount.read_only and not space.busy:
                    space.busy = True
                    self._commit_all([space], partial(_free, space))
        self._arm()


def _free(space: Workspace, _error: Error | None) -> None:
    space.busy = False


def _told(error: Error | None) -> dict[str, Any]:
    return {} if error is None else {"error": error_json(error)}


def _inside(mount: VolumeMount, files: list[VolumeFile]) -> Iterator[tuple[str, VolumeFile]]:
    """Return the files that a mount shows, by their path there."""
    prefix = f"{mount.sub_path}/" if mount.sub_path else ""
    for file in files:
        if file.path.startswith(prefix):
            yield file.path[len(prefix) :], file


def _collect(space: Workspace, stage: Path) -> _Changes:
    """Stage what differs from the last commit; links and special files are passed over."""
    changes = _Changes(stage)
    stage.mkdir(mode=0o700)
    for path, handle, found in files_in(space.folder):
        seen = _Seen(found.st_size, found.st_mtime_ns)
        if space.base.get(path) == seen:
            changes.seen[path] = seen
            continue
        target = stage / str(len(changes.puts))
        try:
            clone(handle, str(target), found.st_mtime_ns, found.st_mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.ELOOP:  # a link is in the file's place by now
                raise
            continue
        changes.puts.append(
            StagedFile(space.outside(path), target, found.st_mtime_ns, found.st_mode & 0o777)
        )
        # The clock of the file system, as it was when the copy was done.
        if target.stat().st_ctime_ns - found.st_mtime_ns > _RACY:
            changes.seen[path] = seen
        else:
            changes.seen[path] = _Seen(-1, 0)  # looked at again the next time
    changes.removes = [space.outside(path) for path in space.base if path not in changes.seen]
    return changes


def _renew(space: Workspace, files: dict[str, VolumeFile], sources: dict[str, Path]) -> None:
    """Bring a working copy to what is committed."""
    for path in space.base.keys() - files.keys():
        with suppress(OSError), opened(space.folder, path) as parent:
            os.unlink(os.path.basename(path), dir_fd=parent)
    for path, file in files.items():
        if space.base.get(path) == _Seen(file.size, file.mtime):
            continue
        fresh, name = f".{ids.mint('fresh')}", os.path.basename(path)
        with opened(space.folder, path, space.owner) as parent:
            clone(str(sources[path]), by_descriptor(parent, fresh), file.mtime, file.mode)
            if space.owner is not None:
                os.chown(fresh, *space.owner, dir_fd=parent, follow_symlinks=False)
            os.replace(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
    space.base = {path: _Seen(file.size, file.mtime) for path, file in files.items()}


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
