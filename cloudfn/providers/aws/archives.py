"""Folders of sources as archives: regular files alone, named by the digest of their bundle.

What is read from an archive counts as hostile until its digest is the one that was asked for.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, BinaryIO, cast

from cloudfn.errors import DataLossError
from cloudfn.sdk.bundle import PARTIAL_PREFIX, BundleFile, digest_of

#: files of a bundle, and their bytes: more than collecting sources allows, and less than a disk
MAX_FILES = 200_000
MAX_BYTES = 16 << 30
_CHUNK = 1 << 20


def pack(digest: str, folder: Path, target: BinaryIO) -> None:
    """Write the archive of a bundle. The same files make the same archive.

    Args:
        digest: The bundle's.
        folder: Where its files are.
        target: Where the archive goes.

    Raises:
        DataLossError: The files are not those that the digest names.
    """
    hashes: dict[str, tuple[int, bytes]] = {}
    files = list(_files(folder))
    with (
        gzip.GzipFile("", "wb", 6, target, mtime=0) as zipped,
        tarfile.open(
            fileobj=zipped,
            mode="w|",
            format=tarfile.GNU_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive,
    ):
        for each in files:
            info = tarfile.TarInfo(each.path)
            info.mode = 0o755 if each.executable else 0o644
            with each.source.open("rb") as source:
                info.size = os.fstat(source.fileno()).st_size
                hashing = _Hashing(source)
                archive.addfile(info, cast("IO[bytes]", hashing))
            hashes[each.path] = (info.size, hashing.digest.digest())
    _check(digest, files, hashes, str(folder))


def unpack(
    digest: str,
    archive: BinaryIO,
    target: Path,
    *,
    most_files: int = MAX_FILES,
    most_bytes: int = MAX_BYTES,
) -> None:
    """Make the folder of a bundle, with read-only files; whole or not at all.

    Of several that make it at once, one wins.

    Args:
        digest: The bundle's.
        archive: What `pack` wrote, or anything else.
        target: The folder; it is not there yet.
        most_files: Files that it may have.
        most_bytes: Bytes that they may have together.

    Raises:
        DataLossError: The archive is none, holds anything but files, or not those of the bundle.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(f"{PARTIAL_PREFIX}{os.urandom(8).hex()}")
    try:
        _make_folder(partial)
        try:
            _extract(digest, archive, partial, most_files, most_bytes)
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, _UNFIT):
                raise
            raise _not_it(digest, f"it cannot be read: {error}") from error
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        if partial.exists():
            shutil.rmtree(partial, ignore_errors=True)


#: what an archive is to blame for, and not the disk
_UNFIT = (gzip.BadGzipFile, FileExistsError, NotADirectoryError, IsADirectoryError)


def _extract(
    digest: str, archive: BinaryIO, folder: Path, most_files: int, most_bytes: int
) -> None:
    files: list[BundleFile] = []
    hashes: dict[str, tuple[int, bytes]] = {}
    left = most_bytes
    with tarfile.open(
        fileobj=archive, mode="r|gz", encoding="utf-8", errors="surrogateescape"
    ) as opened:
        for member in opened:
            left -= member.size
            if len(files) >= most_files or left < 0:
                raise _not_it(digest, f"it has more than {most_files} files or {most_bytes} bytes")
            if member.type != tarfile.REGTYPE or not _is_safe(member.name):
                raise _not_it(digest, f"{member.name!r} is no file below its folder")
            source = opened.extractfile(member)
            assert source is not None
            file = folder / member.name
            _make_folders(file.parent, folder)
            executable = bool(member.mode & 0o111)
            hashes[member.name] = _write(cast("BinaryIO", source), file, executable=executable)
            files.append(BundleFile(member.name, file, executable))
    files.sort(key=lambda each: each.path)
    _check(digest, files, hashes, "the archive")


class _Hashing:
    """A file that hashes what is read of it."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.digest = sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


def _files(folder: Path) -> Iterator[BundleFile]:
    """Yield the regular files below a folder by their paths, and no links."""
    found: list[BundleFile] = []
    top = len(str(folder)) + 1
    for above, _, names in os.walk(folder):
        for name in names:
            source = Path(above, name)
            if not source.is_symlink() and source.is_file():
                path = str(source)[top:].replace(os.sep, "/")
                found.append(BundleFile(path, source, bool(source.stat().st_mode & 0o111)))
    return iter(sorted(found, key=lambda each: each.path))


def _is_safe(path: str) -> bool:
    """Whether a path leads to somewhere below the folder that it is relative to."""
    return not {"", ".", ".."} & set(path.split("/")) and "\0" not in path and "\\" not in path


def _make_folders(folder: Path, top: Path) -> None:
    missing = []
    while folder != top and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        _make_folder(each)


def _make_folder(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)  # a container reads it as another user


def _write(source: BinaryIO, target: Path, *, executable: bool) -> tuple[int, bytes]:
    digest, size = sha256(), 0
    with target.open("xb") as file:
        while data := source.read(_CHUNK):
            digest.update(data)
            size += len(data)
            file.write(data)
    target.chmod(0o555 if executable else 0o444)
    return size, digest.digest()


def _check(
    digest: str, files: list[BundleFile], hashes: dict[str, tuple[int, bytes]], where: str
) -> None:
    if digest_of(files, hashes) != digest:
        raise _not_it(digest, f"{where} has other files")


def _not_it(digest: str, why: str) -> DataLossError:
    return DataLossError(
        f"What is stored is not the bundle {digest[:12]}: {why}.",
        hint="Deploy the program again; somebody changed what was stored.",
    )
