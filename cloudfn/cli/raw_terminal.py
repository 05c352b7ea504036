"""The user's terminal while somebody else's shell is in it: raw, and as before on every way out."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO

#: signals that end a process, and would leave the terminal as it is
_ENDINGS = ("SIGHUP", "SIGQUIT", "SIGTERM")


@contextmanager
def raw(stdin: IO[bytes]) -> Iterator[None]:
    """Hand every key to whoever reads; a stream that is no terminal is left alone.

    Signals that end this process raise SystemExit meanwhile, so that the terminal is put back.
    """
    if not os.isatty(stdin.fileno()):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(stdin.fileno())
    handlers = {
        number: signal.signal(number, _leave)
        for number in (getattr(signal, name) for name in _ENDINGS)
    }
    try:
        tty.setraw(stdin.fileno())
        yield
    finally:
        termios.tcsetattr(stdin.fileno(), termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def resizes() -> Iterator[IO[bytes]]:
    """Yield a pipe in which there is something whenever the terminal has another size."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def note(_number: int, _frame: FrameType | None) -> None:
        try:
            os.write(writing, b"!")
        except BlockingIOError:
            return  # there is enough in it

    before = signal.signal(signal.SIGWINCH, note)
    try:
        with open(reading, "rb", buffering=0) as pipe:
            yield pipe
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(writing)


def size() -> tuple[int, int]:
    """Return columns and rows of the terminal."""
    found = shutil.get_terminal_size()
    return found.columns, found.lines


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
