"""What a revision has to know of this interpreter and this checkout. Reads files, asks git."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cloudfn.wire.version import VERSION

#: seconds that git may take to say whether files were changed
_GIT_PATIENCE = 2.0


def import_paths(root: Path | None) -> list[str]:
    """Return the directories of `sys.path` that the interpreter would not search by itself.

    Those come from PYTHONPATH and from programs; the program's own directory, which travels in the
    bundle, the standard library and installed packages are left out.

    Args:
        root: The program's own directory.
    """
    own = {os.path.abspath(root)} if root is not None else set()
    found = []
    for entry in sys.path:
        if not entry:
            continue
        path = os.path.abspath(entry)
        if path in own or not os.path.isdir(path) or _is_built_in(path):
            continue
        found.append(path)
    return list(dict.fromkeys(found))


def python_version() -> str:
    """Return this Python's version, as `3.11.7`."""
    return ".".join(map(str, sys.version_info[:3]))


def labels(root: Path | None, tag: str) -> dict[str, str]:
    """Return the facts for the history: who deployed what, with what."""
    found = {"cloudfn": VERSION, "user": _user(), "commit": _commit(root), "tag": tag}
    return {name: value for name, value in found.items() if value}


def _is_built_in(path: str) -> bool:
    library = os.path.dirname(os.path.abspath(os.__file__))
    parts = path.split(os.sep)
    return (
        path == library
        or path.startswith(library + os.sep)
        or "site-packages" in parts
        or "dist-packages" in parts
    )


def _user() -> str:
    from getpass import getuser

    try:
        return getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _commit(root: Path | None) -> str:
    """Return the commit that is checked out, with `*` if files differ; empty if there is none."""
    for folder in (root, *root.parents) if root is not None else ():
        git = folder / ".git"
        try:
            if git.is_file():  # a worktree
                git = folder / git.read_text().partition("gitdir:")[2].strip()
            if git.is_dir():
                head = _head(git)
                return f"{head}*" if head and _is_dirty(folder) else head
        except OSError:
            return ""
    return ""


def _is_dirty(folder: Path) -> bool:
    """Whether tracked files differ from the commit; False where git cannot tell in time."""
    import subprocess

    command = ["git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no"]
    try:
        told = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_GIT_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0 and bool(told.stdout)


def _head(git: Path) -> str:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head
    name = head.partition(":")[2].strip()
    common = git
    if (git / "commondir").is_file():
        common = git / (git / "commondir").read_text().strip()
    loose = common / name
    if loose.is_file():
        return loose.read_text().strip()
    packed = common / "packed-refs"
    if packed.is_file():
        for line in packed.read_text().splitlines():
            if line.endswith(f" {name}"):
                return line.partition(" ")[0]
    return ""
