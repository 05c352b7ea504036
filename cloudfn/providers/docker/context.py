"""Lays out what Docker's builder reads: bundles, files and secrets, in a folder of one build."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

#: for files with secrets in them, and folders that hold such files
_PRIVATE, _PRIVATE_FOLDER = 0o600, 0o700


def lay_out(context: Path, bundles: Mapping[str, Path], files: Mapping[str, str]) -> None:
    """Fill the folder of a build's context.

    Args:
        context: Is made.
        bundles: path in the context → folder whose files it holds.
        files: path in the context → content.
    """
    context.mkdir(mode=_PRIVATE_FOLDER)
    for name, source in bundles.items():
        # Contents never change, so names for the same files are as good as copies.
        shutil.copytree(source, context / name, symlinks=True, copy_function=_link)
    for name, content in files.items():
        path = context / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")


def write_private(path: Path, content: str) -> None:
    """Write a file that nobody else may read, not even for a moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(content)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # on another filesystem, or one without hard links
        shutil.copy2(source, target, follow_symlinks=False)
