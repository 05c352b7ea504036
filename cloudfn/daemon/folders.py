"""Reads and changes folders that a container writes to, never through a link that it put there.

Whoever follows a path of names may be led out of a folder by one that became a link a moment ago;
here each folder is opened by the one above it, and what is opened is what is meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(NamedTuple):
    """A file in a folder."""

    #: below the folder
    path: str
    #: a path to open it by, as long as the walk has not gone on
    handle: str
    status: os.stat_result


def files_in(folder: Path) -> Iterator[Found]:
    """Yield the plain files below a folder; links and special files are passed over."""
    try:
        top = os.open(folder, _FOLDER)
    except OSError:
        return
    yield from _walk(top, "")


def _walk(descriptor: int, prefix: str) -> Iterator[Found]:
    """Walk a folder; closes its descriptor."""
    try:
        with os.scandir(descriptor) as entries:
            for entry in list(entries):
                path = f"{prefix}{entry.name}"
                try:
                    if entry.is_dir(follow_symlinks=False):
                        below = os.open(entry.name, _FOLDER, dir_fd=descriptor)
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield Found(path, by_descriptor(descriptor, entry.name), status)
                        continue
                    else:
                        continue
                except OSError:  # it is gone, or something else by now
                    continue
                yield from _walk(below, f"{path}/")
    finally:
        os.close(descriptor)


@contextmanager
def opened(folder: Path, path: str, owner: tuple[int, int] | None = None) -> Iterator[int]:
    """Open the folder that a path below `folder` is in; make it where it is missing.

    Args:
        folder: Where the path begins.
        path: Of a file, which need not be there.
        owner: (uid, gid) of folders that are made.

    Raises:
        OSError: Something else than a folder is on the way.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        for name in path.split("/")[:-1]:
            try:
                below = os.open(name, _FOLDER, dir_fd=descriptor)
            except FileNotFoundError:
                os.mkdir(name, 0o777, dir_fd=descriptor)
                if owner is not None:
                    os.chown(name, *owner, dir_fd=descriptor, follow_symlinks=False)
                below = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def by_descriptor(descriptor: int, name: str) -> str:
    """Return a path of a file in an open folder, wherever that was moved."""
    return f"/proc/self/fd/{descriptor}/{name}"
