"""Control groups of emulated machines' containers: found by name, removed when they are empty."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def parents(tag: str) -> list[Path]:
    """Return the control groups of a tag, one in each hierarchy that this machine has."""
    return [path for root in [_ROOT, *_hierarchies()] if (path := root / tag).is_dir()]


def remove(path: Path) -> None:
    """Remove a control group and those below it, as far as nothing runs in them."""
    for folder, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)


def _hierarchies() -> list[Path]:
    """Return where version 1 keeps its controllers; version 2 has one hierarchy, the root."""
    if (_ROOT / "cgroup.controllers").exists():
        return []
    return [each for each in _ROOT.iterdir() if each.is_dir() and not each.is_symlink()]
