"""The Volume: files that containers and programs share, in commits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import IO, Any, BinaryIO, Self

from cloudfn.model import ids
from cloudfn.model.volume import VolumeMount, volume_path
from cloudfn.sdk.client import Client, default_client
from cloudfn.sdk.objects import Creatable, Paged, managed
from cloudfn.sdk.twins import Blocking, Steps, iterating, static_twin, twin
from cloudfn.sdk.upload import Progress, Upload

_CHUNK = 1 << 20


class FileEntryType(IntEnum):
    """What an entry is, with Modal's numbers."""

    FILE = 1
    DIRECTORY = 2


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file or directory in a volume."""

    path: str
    type: FileEntryType
    #: seconds since the epoch; of a directory, that of its newest file
    mtime: int
    #: bytes
    size: int


class Volume(Creatable):
    """Files with a name, which functions see at a path, `volumes={"/data": volume}`.

    Each container has a working copy of its own. What it writes is visible to others after a
    commit: `commit()`, or by itself every few seconds and at the container's end; and others see
    it after `reload()`, or when they start.
    """

    _noun = "volume"
    _prefix = "vo"
    objects = managed()

    def __init__(
        self, name: str = "", *, read_only: bool = False, sub_path: str = "", **rest: Any
    ) -> None:
        super().__init__(name, **rest)
        self._read_only = read_only
        self._sub_path = sub_path

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        environment_name: str | None = None,
        create_if_missing: bool = False,
        version: int | None = None,  # noqa: ARG003 - Modal's; there is one kind here
        create_options: Any = None,  # noqa: ARG003 - Modal's
        client: Client | None = None,
    ) -> Self:
        """Return the Volume of that name; whether there is one shows when it is used.

        Args:
            name: Its name.
            environment_name: Another environment than the one that is set.
            create_if_missing: Make it on first use.
            version: Accepted, and means nothing here.
            create_options: The same.
            client: The engine.
        """
        return super().from_name(
            name,
            environment_name=environment_name,
            create_if_missing=create_if_missing,
            client=client,
        )

    # ------------------------------------------------------------------------------- mounting

    def read_only(self) -> Volume:
        """Return it as one that containers cannot write to."""
        return self.with_mount_options(read_only=True)

    def with_mount_options(
        self, *, read_only: bool | None = None, sub_path: str | None = None
    ) -> Volume:
        """Return it as containers are to see it.

        Args:
            read_only: They cannot write to it.
            sub_path: They see this part of it alone.
        """
        return Volume(
            self._name,
            read_only=self._read_only if read_only is None else read_only,
            sub_path=self._sub_path if sub_path is None else volume_path(sub_path),
            object_id=self._object_id,
            create=self._create,
            client=self._client,
            environment=self._environment,
        )

    def mounted(self, engine: Client, path: str) -> Steps[VolumeMount]:
        """Return how a function names it."""
        self._client = self._client or engine
        object_id = yield from self._id()
        return VolumeMount(path, self._name, object_id, self._read_only, self._sub_path)

    @twin
    def commit(self) -> Steps[None]:
        """Make what this container wrote visible to others; back when it is.

        Raises:
            InvalidError: The volume is not mounted here, or read-only.
        """
        volume_id = yield from self._id()
        yield from self._engine().ask("volume_commit", volume=volume_id)

    @twin
    def reload(self) -> Steps[None]:
        """See what others have committed; what this container wrote is committed before.

        Raises:
            RuntimeError: Files of the volume are open.
            InvalidError: The volume is not mounted here.
        """
        volume_id = yield from self._id()
        engine = self._engine()
        told = yield from engine.ask("volume_mounts", volume=volume_id)
        for mount in told["mounts"]:
            for folder in (mount["path"], mount["folder"]):
                opened = _open_below(folder)
                if opened is not None:
                    raise RuntimeError(
                        f"there are open files preventing the operation: {opened} is open"
                    )
        yield from engine.ask("volume_reload", volume=volume_id)

    # ---------------------------------------------------------------------------------- files

    @twin
    def listdir(self, path: str, *, recursive: bool = False) -> Steps[list[FileEntry]]:
        """Return what lies in a directory, or the file that the path is.

        Raises:
            FileNotFoundError: There is neither.
        """
        return (yield from self._entries(path, recursive=recursive))

    @iterating
    def iterdir(self, path: str, *, recursive: bool = True) -> Paged[FileEntry]:
        """Iterate over what lies below a directory; see `listdir`."""
        return Paged("iterdir", _Listing(self, path, recursive=recursive).next)

    @iterating
    def read_file(self, path: str) -> Paged[bytes]:
        """Iterate over the bytes of a committed file, some at a time.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return Paged("read_file", _Chunks(self, path).next)

    @twin
    def read_file_into_fileobj(self, path: str, fileobj: IO[bytes]) -> Steps[int]:
        """Write the bytes of a committed file to `fileobj`; return how many."""
        source = yield from self._located(path)
        copied: int = yield Blocking(_copy_into, source, fileobj)
        return copied

    @twin
    def link(self, path: str, *, expires_in: float = 3600) -> Steps[str]:
        """Return an address at which anybody can read a committed file, without credentials.

        It is of the file as it is now; ten minutes after that was replaced or removed, it may lead
        nowhere. It cannot be called back.

        Args:
            path: Of the file.
            expires_in: Seconds that it is good for, 7 days at most. Made with temporary
                credentials, as those of a role are, it ends with these at the latest.

        Raises:
            FileNotFoundError: There is no such file.
            InvalidError: This provider has no addresses for files; it is a directory, or empty;
                or the time is too long.
        """
        volume_id = yield from self._id()
        told = yield from self._engine().ask(
            "volume_link", volume=volume_id, path=path, seconds=int(expires_in)
        )
        if told["url"] is None:
            raise FileNotFoundError(path)
        return str(told["url"])

    @twin
    def remove_file(self, path: str, recursive: bool = False) -> Steps[None]:  # noqa: FBT001, FBT002
        """Remove a file, or a directory with `recursive`.

        Raises:
            FileNotFoundError: There is none.
            InvalidError: It is a directory.
        """
        volume_id = yield from self._id()
        told = yield from self._engine().ask(
            "volume_remove",
            volume=volume_id,
            path=path,
            recursive=recursive,
            request=ids.mint("rq"),
        )
        if not told["found"]:
            raise FileNotFoundError(path)

    @twin
    def copy_files(
        self,
        src_paths: Sequence[str],
        dst_path: str,
        recursive: bool = False,  # noqa: FBT001, FBT002 - as Modal has it
    ) -> Steps[None]:
        """Copy files within the volume, into a directory where there are several.

        Raises:
            FileNotFoundError: One is not there.
            InvalidError: One is a directory, without `recursive`.
        """
        volume_id = yield from self._id()
        told = yield from self._engine().ask(
            "volume_copy",
            volume=volume_id,
            sources=list(src_paths),
            target=dst_path,
            recursive=recursive,
            request=ids.mint("rq"),
        )
        if told["missing"] is not None:
            raise FileNotFoundError(told["missing"])

    @iterating
    def batch_upload(
        self,
        force: bool = False,  # noqa: FBT001, FBT002 - as Modal has it
        *,
        progress: Progress | None = None,
    ) -> Upload:
        """Collect files while the block is open, and commit them together at its end.

        Args:
            force: Replace files that exist; otherwise they are a FileExistsError.
            progress: Called with (bytes copied, bytes in all) now and then.
        """
        return Upload(self._id, self._engine, progress, force=force)

    @static_twin
    def rename(
        old_name: str,  # noqa: N805 - static
        new_name: str,
        *,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Steps[None]:
        """Give a volume another name.

        Raises:
            NotFoundError: There is none of the old name.
            AlreadyExistsError: There is one of the new name.
        """
        handle = Volume(old_name, client=client, environment=environment_name)
        object_id = yield from handle._id()
        yield from (client or default_client(environment_name)).ask(
            "object_rename", object_id=object_id, name=new_name
        )

    @static_twin
    def delete(
        name: str,  # noqa: N805 - static
        *,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Steps[None]:
        """Delete a volume with everything in it; the same as `Volume.objects.delete`."""
        handle = Volume(name, client=client, environment=environment_name)
        object_id = yield from handle._id()
        yield from (client or default_client(environment_name)).ask(
            "object_delete", object_id=object_id
        )

    # ------------------------------------------------------------------------------------ how

    def _entries(self, path: str, *, recursive: bool) -> Steps[list[FileEntry]]:
        volume_id = yield from self._id()
        told = yield from self._engine().ask(
            "volume_list", volume=volume_id, path=path, recursive=recursive
        )
        if not told["found"]:
            raise FileNotFoundError(path)
        return [
            FileEntry(
                path, FileEntryType.FILE if kind == "file" else FileEntryType.DIRECTORY, at, size
            )
            for path, kind, at, size in told["entries"]
        ]

    def _located(self, path: str) -> Steps[str]:
        volume_id = yield from self._id()
        told = yield from self._engine().ask("volume_locate", volume=volume_id, path=path)
        if told["file"] is None:
            raise FileNotFoundError(path)
        return str(told["file"])


class _Listing:
    """Reads the entries below a path, once."""

    def __init__(self, volume: Volume, path: str, *, recursive: bool) -> None:
        self._volume = volume
        self._path = path
        self._recursive = recursive
        self._is_read = False

    def next(self) -> Steps[Sequence[FileEntry]]:
        """Return the entries; none the second time."""
        if self._is_read:
            return ()
        self._is_read = True
        found = self._volume._entries(self._path, recursive=self._recursive)  # noqa: SLF001
        return (yield from found)


class _Chunks:
    """Reads a committed file, some at a time."""

    def __init__(self, volume: Volume, path: str) -> None:
        self._volume = volume
        self._path = path
        self._file: BinaryIO | None = None

    def next(self) -> Steps[Sequence[bytes]]:
        """Return the next bytes; none at the end."""
        if self._file is None:
            source = yield from self._volume._located(self._path)  # noqa: SLF001
            self._file = open(source, "rb")  # noqa: SIM115 - closed at its end
        data: bytes = yield Blocking(self._file.read, _CHUNK)
        if not data:
            self._file.close()
        return (data,) if data else ()


def _copy_into(source: str, fileobj: IO[bytes]) -> int:
    with open(source, "rb") as file:
        shutil.copyfileobj(file, fileobj, _CHUNK)
        return file.tell()


def _open_below(folder: str) -> str | None:
    """Return a file below a folder that this process has open or works in; None without one."""
    for place in (*_descriptors(), "/proc/self/cwd"):
        with suppress(OSError):
            target = os.readlink(place)
            if target.startswith(f"{folder}/") or (target == folder and place.endswith("cwd")):
                return target
    return None


def _descriptors() -> Iterator[str]:
    with suppress(OSError):
        yield from (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
