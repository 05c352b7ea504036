"""Importing a user's program for a command, and saying what went wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudfn import errors
from cloudfn.cli import terminal
from cloudfn.cli.results import tell_failure
from cloudfn.cli.session import Session

if TYPE_CHECKING:
    from cloudfn.sdk.client import Client
    from cloudfn.sdk.program import Program

_STDIN = "-"
ABORTING = "Aborting app initialization..."


def open_program(session: Session, ref: str, *, module: bool) -> tuple[Program, Client]:
    """Import the program that `ref` names, while the daemon starts; return it and its client.

    Raises:
        Error: There is no such program, or it cannot be imported; its traceback was printed.
        KeyboardInterrupt: Ctrl-C; that was said.
    """
    settings = session.settings
    try:
        session.host.prestart(settings)
        client = session.host.open_program(settings)
        if not module and ref.partition("::")[0] == _STDIN:
            ref = ref.replace(_STDIN, _from_stdin(), 1)
        return _load(ref, module=module, full_traceback=settings.full_traceback), client
    except KeyboardInterrupt:
        terminal.say(ABORTING)
        raise


def _load(ref: str, *, module: bool, full_traceback: bool) -> Program:
    """Import a program; what its own code raises is shown with its traceback."""
    from cloudfn.sdk import program

    try:
        return program.load(ref, module=module)
    except errors.Error as error:
        cause = error.__cause__
        if cause is not None and not isinstance(cause, errors.Error | OSError):
            tell_failure(cause, full=full_traceback)
        raise


def _from_stdin() -> str:
    """Return a file, there until this process ends, with the program that stdin holds."""
    import atexit
    import shutil
    import sys
    import tempfile
    from pathlib import Path

    folder = Path(tempfile.mkdtemp(prefix="cloudfn-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "stdin.py"
    path.write_text(sys.stdin.read(), encoding="utf-8")
    return str(path)
