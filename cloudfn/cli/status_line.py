"""One line at the bottom of the terminal that changes in place; other output scrolls above it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import IO, Any

from cloudfn.cli.terminal import is_terminal


class StatusLine:
    """One line at the bottom of the terminal that changes in place; other output scrolls above.

    Every write of this process to stdout and stderr has to go through `write` while it is shown,
    which `attach` sees to for the user's own prints. On anything but a terminal it does nothing.
    """

    def __init__(self, stream: IO[str], *, enabled: bool) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._enabled = enabled
        self._shown = False
        self._text = ""
        # Text that did not end its line owns the bottom line; we wait until it does.
        self._open_line = False

    @property
    def enabled(self) -> bool:
        """Whether anything is ever shown."""
        return self._enabled

    def show(self, text: str) -> None:
        """Put `text` in place of what is shown; nothing when it is empty."""
        if not self._enabled:
            return
        with self._lock:
            self._text = _rendered(text, self._stream) if text else ""
            self._draw()

    def write(self, target: IO[str], text: str) -> int:
        """Write other output to `target`, above the line."""
        with self._lock:
            shares = self._enabled and is_terminal(target)
            if shares:
                self._erase()
            written = target.write(text)
            if shares or text.endswith("\n"):
                target.flush()
            if shares and text:
                self._open_line = not text.endswith("\n")
                self._draw()
            return written

    def close(self) -> None:
        """Take the line away for good."""
        with self._lock:
            self._erase()
            self._text = ""
            self._enabled = False

    def _draw(self) -> None:
        if self._open_line:
            return
        if not self._text:
            self._erase()
            return
        self._stream.write(f"\r\x1b[2K{self._text}")
        self._stream.flush()
        self._shown = True

    def _erase(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
            self._shown = False


def _rendered(text: str, stream: IO[str]) -> str:
    """Return `text` cut to the terminal's width, dimmed where colours are wanted."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, emoji=False, markup=False)
    line = Text(text, style="" if console.no_color else "dim", no_wrap=True)
    line.truncate(max(console.width - 1, 1), overflow="ellipsis")
    with console.capture() as capture:
        console.print(line, end="", soft_wrap=True)
    return capture.get()


class _Above:
    """A stand-in for sys.stdout or sys.stderr whose writes go above the status line."""

    def __init__(self, target: IO[str], line: StatusLine) -> None:
        self._target = target
        self._line = line

    def write(self, text: str) -> int:
        return self._line.write(self._target, text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


class attached:  # noqa: N801 - reads as a verb: `with attached(line):`
    """While open, what this process prints to a terminal goes above `line`."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line

    def __enter__(self) -> None:
        self._streams = sys.stdout, sys.stderr
        if not self._line.enabled:
            return
        if is_terminal(sys.stdout):
            sys.stdout = _Above(sys.stdout, self._line)
        if is_terminal(sys.stderr):
            sys.stderr = _Above(sys.stderr, self._line)

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self._streams
