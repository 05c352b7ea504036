"""Payloads too large for frames, as files in two private directories. Thin I/O.

The blob `<call id>/<random>` lies in `fast`, in memory where possible, or in `durable`, on disk. A
container writes a result to `results-<container id>/<random>`; the daemon moves it to its call.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from cloudfn.errors import (
    DataLossError,
    InvalidError,
    PermissionDeniedError,
    ResourceExhaustedError,
)
from cloudfn.wire.messages import BlobRef

#: directories that containers write their results to start so; the container's id follows
RESULTS = "results-"
#: directories of what a Docker container may read start so; see `views`
INPUTS = "inputs-"
#: bytes that a memory file system must have free to be chosen
ENOUGH = 256 << 20

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the directory made there is private
_MEMORY_FILE_SYSTEMS = frozenset(("tmpfs", "ramfs"))
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_COPY = 64 << 20


@dataclass(frozen=True, slots=True)
class BlobUsage:
    """What lies in the two directories, in bytes and files."""

    fast_bytes: int
    fast_blobs: int
    durable_bytes: int
    durable_blobs: int


@dataclass(frozen=True, slots=True)
class LocalBlobs:
    """The blobs of one environment."""

    #: survives the death of every process, not a power cut
    fast: Path
    #: survives a power cut, once synced
    durable: Path

    @classmethod
    def open(
        cls, state_dir: Path, *, memory: Path = _SHARED_MEMORY, enough: int = ENOUGH
    ) -> LocalBlobs:
        """Find or make the directories of an environment.

        Args:
            state_dir: The environment's private directory.
            memory: Where a memory file system is looked for.
            enough: Bytes that it must have free to be chosen.

        Raises:
            PermissionDeniedError: A directory is a symbolic link, someone else's, or not private.
        """
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable = state_dir / "blobs"
        _make_private(durable)
        return cls(_fast_root(state_dir, memory, enough), durable)

    def root(self, *, durable: bool) -> Path:
        """Return one of the two directories."""
        return self.durable if durable else self.fast

    def path(self, ref: BlobRef) -> Path:
        """Return the file of a blob, having looked that it is there and whole.

        Raises:
            InvalidError: The name is none that a blob can have.
            DataLossError: The blob is missing or damaged.
        """
        path = self.place(ref)
        if not _is_whole(path, ref.size):
            raise _missing(ref)
        return path

    def place(self, ref: BlobRef) -> Path:
        """Return where the file of a blob is, or would be.

        Raises:
            InvalidError: The name is none that a blob can have.
        """
        directory, name = _parts(ref)
        return self.root(durable=ref.durable) / directory / name

    def adopt(self, ref: BlobRef, call_id: str, *, durable: bool) -> BlobRef:
        """Move a container's result to the blobs of a call; return its new name. Idempotent.

        With `durable`, it survives a power cut when this returns, which takes as long as the disk
        takes; otherwise it is a matter of microseconds.

        Raises:
            InvalidError: The name is none that a container's result can have.
            DataLossError: The blob is missing or damaged.
            ResourceExhaustedError: The disk is full.
        """
        directory, name = _parts(ref)
        if not _SAFE.fullmatch(call_id) or not (
            directory.startswith(RESULTS) or directory == call_id
        ):
            raise InvalidError(f"The blob {ref.name!r} cannot become one of call {call_id!r}.")
        adopted = BlobRef(f"{call_id}/{name}", ref.size, ref.durable or durable)
        source = self.root(durable=ref.durable) / directory / name
        target = self.root(durable=adopted.durable) / call_id / name
        if not _is_whole(source, ref.size):
            # Moved before, by someone who died before the outcome was recorded?
            if not _is_whole(target, ref.size):
                raise _missing(ref)
            return adopted
        try:
            _move(source, target, sync=durable)
        except OSError as error:
            raise _explain(ref, error) from error
        # A container may have put something else there since we looked; now it cannot any more.
        if not _is_whole(target, ref.size):
            _remove(target)
            raise _missing(ref)
        return adopted

    def copy(self, ref: BlobRef, call_id: str) -> BlobRef:
        """See the port. Blobs never change, so that a second name for the same bytes will do."""
        directory, name = _parts(ref)
        if not _SAFE.fullmatch(call_id):
            raise InvalidError(f"{call_id!r} is no id of a call.")
        root = self.root(durable=ref.durable)
        source, target = root / directory / name, root / call_id / name
        if not _is_whole(target, ref.size):
            if not _is_whole(source, ref.size):
                raise _missing(ref)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            target.hardlink_to(source)
            _sync(target.parent)
            _sync(root)
        return BlobRef(f"{call_id}/{name}", ref.size, ref.durable)

    def delete(self, ref: BlobRef) -> None:
        """Delete a blob. Idempotent; raises InvalidError for a name that no blob can have."""
        directory, name = _parts(ref)
        (self.root(durable=ref.durable) / directory / name).unlink(missing_ok=True)

    def delete_call(self, call_id: str) -> None:
        """Delete all blobs of a call. Idempotent."""
        if not _SAFE.fullmatch(call_id):
            raise InvalidError(f"{call_id!r} is no id of a call.")
        for root in (self.fast, self.durable):
            _remove(root / call_id)

    def delete_results(self, container_id: str) -> None:
        """Delete the results that a container left behind. Idempotent."""
        self.delete_call(f"{RESULTS}{container_id}")

    def sweep(self, known: Callable[[str], bool], older_than: float, now: float) -> int:
        """Delete what nobody knows: blobs of unknown calls, results of dead containers.

        Args:
            known: Whether a call, or a living container, has this id.
            older_than: Seconds for which nothing was written there.
            now: Seconds since the epoch.

        Returns:
            How many directories and stray files were deleted.
        """
        deleted = 0
        for root in (self.fast, self.durable):
            for path in _entries(root):
                name = path.name.removeprefix(RESULTS).removeprefix(INPUTS)
                if known(name) or _written(path) > now - older_than:
                    continue
                _remove(path)
                deleted += 1
        return deleted

    def usage(self) -> BlobUsage:
        """Return how much lies where."""
        return BlobUsage(*_usage(self.fast), *_usage(self.durable))

    def close(self) -> None:
        """Leave no empty directory in the memory file system. Idempotent."""
        for path in (*_entries(self.fast), self.fast):
            try:
                path.rmdir()
            except OSError:
                continue  # it is in use, and stays


def memory_root(state_dir: Path, memory: Path = _SHARED_MEMORY) -> Path:
    """Return where an environment's blobs lie in the memory file system, if they lie there."""
    digest = blake2b(os.fsencode(os.path.realpath(state_dir)), digest_size=8).hexdigest()
    return memory / f"cloudfn-{os.getuid()}-{digest}"


def _fast_root(state_dir: Path, memory: Path, enough: int) -> Path:
    on_disk = state_dir / "blobs-fast"
    in_memory = memory_root(state_dir, memory)
    # A directory with blobs in it stays the one: the ledger refers to them.
    if not _entries(on_disk) and (_entries(in_memory) or _has_room(memory, enough)):
        try:
            _make_private(in_memory)
            return in_memory
        except PermissionDeniedError:
            pass  # somebody else sits on the name in a directory that is everybody's
    _make_private(on_disk)
    return on_disk


def _has_room(memory: Path, enough: int) -> bool:
    if not os.access(memory, os.W_OK | os.X_OK):
        return False
    if _file_system(memory) not in _MEMORY_FILE_SYSTEMS:
        return False
    space = os.statvfs(memory)
    return space.f_bavail * space.f_frsize >= enough


def _file_system(path: Path) -> str:
    """Return the type of the file system that a directory lies in; empty where that is unknown."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:
        return ""
    real = Path(os.path.realpath(path))
    # A later line covers an earlier one.
    found = [
        fields for fields in map(str.split, mounts.splitlines()) if real.is_relative_to(fields[1])
    ]
    return max(reversed(found), key=lambda fields: len(fields[1]))[2] if found else ""


def _make_private(directory: Path) -> None:
    """Make a directory for the owner alone; refuse one that is not.

    Raises:
        PermissionDeniedError: It is a symbolic link, someone else's, not private, or not possible.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise PermissionDeniedError(
            f"The directory {directory} cannot be made: {error.strerror}."
        ) from error
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.getuid():
        raise PermissionDeniedError(
            f"{directory} is not a private directory of yours.",
            hint="Remove it, or `chmod 700` it if it is yours.",
        )


def _parts(ref: BlobRef) -> tuple[str, str]:
    directory, _, name = ref.name.partition("/")
    if not _SAFE.fullmatch(directory) or not _SAFE.fullmatch(name):
        raise InvalidError(f"{ref.name!r} is no name of a blob.")
    return directory, name


def _is_whole(path: Path, size: int) -> bool:
    """Whether there is a plain file of that size, reached without following links."""
    try:
        if not stat.S_ISDIR(path.parent.lstat().st_mode):
            return False
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def _move(source: Path, target: Path, *, sync: bool) -> None:
    """Bring a file to a directory that may have to be made, perhaps on another file system."""
    try:
        _put(source, target, sync=sync)
    except FileNotFoundError:
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if sync:
            _sync(target.parent.parent)
        _put(source, target, sync=sync)
    if sync:
        _sync(target.parent)


def _put(source: Path, target: Path, *, sync: bool) -> None:
    if sync:
        _sync(source)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, sync=sync)
        source.unlink(missing_ok=True)


def _copy(source: Path, target: Path, *, sync: bool) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        writing = os.open(target, flags, 0o600)
        try:
            while os.sendfile(writing, reading, None, _COPY):
                pass
            if sync:
                os.fsync(writing)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove(path: Path) -> None:
    """Delete a directory with what is in it, or a file or link itself. Idempotent."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    path.unlink(missing_ok=True)


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _written(path: Path) -> float:
    """Return when something was last written there, in seconds since the epoch."""
    times = [found.st_mtime for found in _stats((path, *_entries(path)))]
    return max(times, default=0.0)


def _usage(root: Path) -> tuple[int, int]:
    sizes = [found.st_size for path in _entries(root) for found in _stats(_entries(path))]
    return sum(sizes), len(sizes)


def _stats(paths: tuple[Path, ...] | list[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        try:
            yield path.lstat()
        except OSError:
            continue


def _missing(ref: BlobRef) -> DataLossError:
    return DataLossError(
        f"The blob {ref.name} of {ref.size} bytes is missing or damaged.",
        hint="Was its directory cleaned, or the machine restarted? Submit the input again.",
    )


def _explain(ref: BlobRef, error: OSError) -> DataLossError | ResourceExhaustedError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhaustedError(
            f"There is no room for the blob {ref.name} of {ref.size} bytes.",
            hint="Make room on the disk of the state directory.",
        )
    return DataLossError(f"The blob {ref.name} cannot be moved: {error.strerror}.")
