"""Which code this is: the package's version and a digest of its sources. Reads them once."""

from __future__ import annotations

import os
from functools import cache

#: the package's version; pyproject.toml says the same
VERSION = "0.1.0"
_DIGITS = 12


def code_version() -> str:
    """Return `<package version>+<digest>`: two sides with the same text run the same code.

    The digest covers names and contents of all modules of the package, so that it is the same in
    every virtual environment, and differs as soon as a line does.
    """
    return _read_code()[0]


def code_written() -> int:
    """Return when the newest module was written, in seconds since the epoch.

    Of two sides with different text and the same package version, it tells which one is newer.
    """
    return _read_code()[1]


@cache
def _read_code() -> tuple[str, int]:
    from hashlib import blake2b

    state = blake2b(digest_size=_DIGITS // 2)
    written = 0.0
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name, path in sorted(_sources(package, "")):
        with open(path, "rb", buffering=0) as file:
            content = file.read()
            written = max(written, os.fstat(file.fileno()).st_mtime)
        state.update(f"{name}\0{len(content)}\0".encode())
        state.update(content)
    return f"{VERSION}+{state.hexdigest()}", int(written)


def _sources(folder: str, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                found.append((prefix + entry.name, entry.path))
            elif entry.name != "__pycache__" and entry.is_dir():
                found += _sources(entry.path, f"{prefix}{entry.name}/")
    return found
