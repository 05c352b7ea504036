"""The `cloudfn` command: a process's way in and out. Imports the rest once Ctrl-C is caught."""

from __future__ import annotations

import sys
import warnings

TYPE_CHECKING = False  # that of `typing` takes its time to import, and nothing catches Ctrl-C yet
if TYPE_CHECKING:
    from typing import TextIO

_INTERRUPTED = 130


def run() -> None:
    """Run the command line of this process; never returns."""
    try:
        from cloudfn.cli.root import main

        _say_warnings()
        code = main(sys.argv[1:])
        _flush()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        _leave_at_once()
    sys.exit(code)


def _say_warnings() -> None:
    """Show warnings of cloudfn as sentences, without the place in its code that they are from."""
    from cloudfn import errors
    from cloudfn.cli.terminal import say

    show = warnings.showwarning

    def say_ours(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, errors.UserWarning):
            say(f"warning: {message}")
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = say_ours


def _flush() -> None:
    """Write what is buffered; a reader that left is no error worth a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        import os

        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave_at_once() -> None:
    """End the process with 130, without waiting for the program's threads.

    Python itself would end by SIGINT instead where an interrupt came while it ran source text, as
    every dataclass does, however well the interrupt was caught since.
    """
    import atexit
    import os

    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - temporary files of the program go there
        _flush()
    finally:
        os._exit(_INTERRUPTED)
