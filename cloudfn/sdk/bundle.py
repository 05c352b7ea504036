"""The source bundle: what a program's containers import, content-addressed and never changed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudfn import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: bytes from which on people are told how large a bundle is
LARGE = 64 << 20
#: what a killed `store` leaves in the folder of bundles begins so; it is never read
PARTIAL_PREFIX = ".partial-"


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a bundle: `path` is relative to the bundle and posix, `source` is where it is."""

    path: str
    source: Path
    executable: bool


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files, sorted by path, that a container needs in order to import a program.

    `digest` names the content (hex SHA-256 of paths, executable bits and contents); `size` is the
    sum of the files' bytes.
    """

    files: tuple[BundleFile, ...]
    digest: str
    size: int


def empty() -> Bundle:
    """Return the bundle of a program that has no files, as one that is typed in."""
    return Bundle((), digest_of((), {}), 0)


def store(bundle: Bundle, bundles_dir: Path, *, durable: bool = False) -> Path:
    """Copy `bundle` to `bundles_dir/<digest>`, unless it is there already, and return that.

    The folder appears at once with all its files, read-only ones; of several that store the same
    bundle at the same time one wins and all return its folder. A damaged folder is replaced.

    Args:
        bundle: What to copy.
        bundles_dir: The folder of all bundles; made when absent, for its owner alone.
        durable: Whether the copy must survive a power cut, which costs a sync of each file.

    Raises:
        ConflictError: A source file changed since it was collected.
        InvalidError: A source file cannot be read any more.
    """
    target = bundles_dir / bundle.digest
    if not _is_whole(target, bundle):
        bundles_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = bundles_dir / f"{PARTIAL_PREFIX}{os.urandom(8).hex()}"
        try:
            _write(bundle, partial)
            _put(partial, target, bundle)
        finally:
            _discard(partial)
    if durable:
        # A folder that was there already may have been stored by someone who did not sync it.
        _sync(bundle, target)
    return target


def stored_size(digest: str, bundles_dir: Path) -> tuple[int, int]:
    """Return how many files a stored bundle has, and their bytes."""
    sizes = [
        os.stat(f"{folder}/{name}").st_size
        for folder, _, names in os.walk(bundles_dir / digest)
        for name in names
    ]
    return len(sizes), sum(sizes)


def warn_if_large(bundle: Bundle, what: str, hint: str) -> None:
    """Tell how large a bundle is, and its largest file, if it is: each run and deploy reads it."""
    if bundle.size < LARGE:
        return
    import warnings

    largest = max(bundle.files, key=lambda each: each.source.stat().st_size)
    warnings.warn(
        f"{what} brings {bundle.size >> 20} MiB in {len(bundle.files)} files, the largest of them "
        f"{largest.source}. {hint}",
        errors.UserWarning,
        stacklevel=2,
    )


def unreadable(path: str, error: OSError) -> errors.InvalidError:
    """Return what is raised for a file or folder of the program that cannot be read."""
    return errors.InvalidError(
        f"{path} belongs to the program and cannot be read: {error.strerror}.",
        hint="Make it readable, or move it out of the package.",
    )


def digest_of(files: Iterable[BundleFile], hashes: Mapping[str, tuple[int, bytes]]) -> str:
    """Return the digest of files by their sizes and SHA-256 digests."""
    whole = hashlib.sha256(b"cloudfn bundle 1\n")
    for each in files:
        size, digest = hashes[each.path]
        name = each.path.encode(errors="surrogateescape")
        whole.update(b"%d %d %d " % (len(name), each.executable, size) + name + digest)
    return whole.hexdigest()


def _is_whole(target: Path, bundle: Bundle) -> bool:
    """Whether all files are there with all their bytes, which a power cut may have prevented."""
    folder = str(target)
    try:
        sizes = [os.stat(f"{folder}/{each.path}").st_size for each in bundle.files]
    except OSError:
        return False
    # Programs typed in have no files, but their containers need a folder to be in.
    return sum(sizes) == bundle.size and (bool(sizes) or target.is_dir())


def _write(bundle: Bundle, folder: Path) -> None:
    for each in _folders(bundle, folder):
        each.mkdir()
        os.chmod(each, 0o755)  # noqa: S103 - a Docker container reads it as another user
    hashes = {each.path: _copy(each, f"{folder}/{each.path}") for each in bundle.files}
    if digest_of(bundle.files, hashes) != bundle.digest:
        raise errors.ConflictError(
            "The program's files changed while they were copied.", hint="Start it again."
        )


def _folders(bundle: Bundle, top: Path) -> list[Path]:
    """`top` and all folders that the bundle's files need below it, parents first."""
    needed = {""}
    for each in bundle.files:
        above = each.path.rpartition("/")[0]
        while above not in needed:
            needed.add(above)
            above = above.rpartition("/")[0]
    return [top / each for each in sorted(needed)]


def _copy(file: BundleFile, target: str) -> tuple[int, bytes]:
    try:
        with open(file.source, "rb") as source:
            content = source.read()
    except OSError as error:
        raise unreadable(str(file.source), error) from error
    with open(target, "xb") as copy:
        copy.write(content)
    os.chmod(target, 0o555 if file.executable else 0o444)
    return len(content), hashlib.sha256(content).digest()


def _put(partial: Path, target: Path, bundle: Bundle) -> None:
    try:
        partial.rename(target)
        return
    except OSError:
        if _is_whole(target, bundle):
            return
    damaged = target.with_name(f"{PARTIAL_PREFIX}{os.urandom(8).hex()}")
    try:
        target.rename(damaged)
        partial.rename(target)
    except OSError:
        # Someone else replaced it at the same moment, or the disk refuses; then this tells.
        if not _is_whole(target, bundle):
            raise
    finally:
        _discard(damaged)


def _discard(folder: Path) -> None:
    if not folder.exists():
        return
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _sync(bundle: Bundle, folder: Path) -> None:
    paths = [folder / each.path for each in bundle.files]
    if os.name == "posix":
        paths += [*_folders(bundle, folder), folder.parent]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
