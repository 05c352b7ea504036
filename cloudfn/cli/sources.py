"""The files of a program, looked at again and again: whether their contents have changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cloudfn import errors

if TYPE_CHECKING:
    from cloudfn.sdk.program import Program

#: modification time in nanoseconds, size, inode
_Stamp = tuple[int, int, int]


class Sources:
    """The files that a program's bundle has: its own and its local imports.

    Asked often: it reads the files only when the file system says that something was written, and
    what was written without a change of the contents is no change.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._stamps: dict[Path, _Stamp | None] = {}
        self._digest = self._collected()

    def changed(self) -> bool:
        """Return whether the contents are others than at the last time."""
        if all(_stamp(path) == stamp for path, stamp in self._stamps.items()):
            return False
        try:
            digest = self._collected()
        except errors.Error:
            return False  # in the midst of a save: it is there at the next look
        before, self._digest = self._digest, digest
        return digest != before

    def _collected(self) -> str:
        from cloudfn.sdk.collecting import collect

        program = self._program
        bundle = collect(program.module_name, program.root, program.entry)
        self._stamps = {file.source: _stamp(file.source) for file in bundle.files}
        return bundle.digest


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
