"""Tracebacks as data: taken from an exception, told as text, made into a traceback again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from types import FunctionType, TracebackType
from typing import NamedTuple

_MOST_FRAMES = 200
_LONGEST_LINE = 300
_LONGEST_NAME = 500
# The source shown with a frame is kept in a list as long as its line number.
_LARGEST_LINENO = 200_000
_REPEATS_SHOWN = 3


class Frame(NamedTuple):
    """One line of a traceback.

    Attributes:
        filename: The file, as the interpreter that ran it named it.
        lineno: The line, counted from 1.
        name: The function.
        line: The text of the line, stripped; empty when unknown.
        module: Name of the function's module.
    """

    filename: str
    lineno: int
    name: str
    line: str
    module: str


def frames_of(
    traceback: TracebackType | None, strip: Callable[[str], bool], most: int = _MOST_FRAMES
) -> list[Frame]:
    """Return the frames of a traceback, outermost first.

    Args:
        traceback: The traceback.
        strip: Whether the frames of a file are hidden.
        most: Of more frames than that, those in the middle are left out.
    """
    entries = [
        entry for entry in _entries(traceback) if not strip(entry.tb_frame.f_code.co_filename)
    ]
    return shorten([_frame(entry) for entry in _ends(entries, most)], most, len(entries))


def shorten(frames: Sequence[Frame], most: int, count: int | None = None) -> list[Frame]:
    """Leave out frames in the middle, and say so, until at most `most` are left."""
    left_out = (len(frames) if count is None else count) - most
    if left_out <= 0:
        return list(frames)
    head = most - most // 2
    note = Frame("…", 1, f"{left_out} more frames", "", "")
    return [*frames[:head], note, *frames[len(frames) - most // 2 :]]


def lines_of(frames: Iterable[Frame]) -> Iterator[str]:
    """Tell the frames in Python's words; repetitions of a recursion are counted, not shown."""
    for frame, run in groupby(frames):
        times = sum(1 for _ in run)
        for _ in range(min(times, _REPEATS_SHOWN)):
            yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
            if frame.line:
                yield f"    {frame.line}"
        if times > _REPEATS_SHOWN:
            yield f"  [Previous line repeated {times - _REPEATS_SHOWN} more times]"


def rebuild(frames: Sequence[Frame], sources: Sources) -> TracebackType | None:
    """Return a traceback that prints and inspects as the frames say."""
    traceback = None
    for frame in reversed(frames):
        traceback = _traceback(frame, sources, traceback)
    return traceback


class Sources:
    """The source lines that came with frames, as loaders that `linecache` asks when it prints.

    They live as long as the traceback; so a client that sees a million failures keeps nothing.

    Args:
        label: Where the frames come from; files are shown as `<label>:/path`.
        frames: All frames of an exception and its causes.
    """

    def __init__(self, label: str, frames: Iterable[Frame]) -> None:
        self._label = label
        self._loaders: dict[str, _Loader] = {}
        for frame in frames:
            if frame.line and frame.lineno <= _LARGEST_LINENO:
                loader = self._loaders.setdefault(frame.filename, _Loader())
                loader.lines[frame.lineno] = frame.line
        self._forget_printed()

    def filename(self, frame: Frame) -> str:
        """Return the file's name with the label before it."""
        name = frame.filename
        if name.startswith("<") and name.endswith(">"):
            name = name[1:-1]  # linecache takes `<…>` for a file without source
        return f"<{self._label}>:{name}"

    def namespace(self, frame: Frame) -> dict[str, object]:
        """Return the globals of a frame."""
        names: dict[str, object] = {
            "__name__": frame.module or "?",
            "__file__": self.filename(frame),
        }
        loader = self._loaders.get(frame.filename)
        if loader is not None:
            names["__loader__"] = loader
            names["__spec__"] = _Spec(frame.module or "?", loader)
        return names

    def _forget_printed(self) -> None:
        """Lines printed for an earlier exception must not hide other lines of the same file."""
        linecache = sys.modules.get("linecache")
        if linecache is None:
            return
        for name in self._loaders:
            linecache.cache.pop(self.filename(Frame(name, 1, "", "", "")), None)


class _Loader:
    def __init__(self) -> None:
        self.lines: dict[int, str] = {}

    def get_source(self, _name: str) -> str:
        """Return a file in which the known lines are at their places."""
        return "\n".join(self.lines.get(i + 1, "") for i in range(max(self.lines, default=0)))


class _Spec:
    def __init__(self, name: str, loader: _Loader) -> None:
        self.name = name
        self.loader = loader


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _ends(entries: list[TracebackType], most: int) -> list[TracebackType]:
    if len(entries) <= most:
        return entries
    return entries[: most - most // 2] + entries[len(entries) - most // 2 :]


def _frame(entry: TracebackType) -> Frame:
    import linecache  # only on the way to an error

    code, names = entry.tb_frame.f_code, entry.tb_frame.f_globals
    lineno = entry.tb_lineno or code.co_firstlineno or 1
    line = ""
    with suppress(Exception):  # asks the module's loader, which may be anyone's
        line = linecache.getline(code.co_filename, lineno, names).strip()
    return Frame(
        code.co_filename[-_LONGEST_NAME:],
        lineno,
        code.co_name[:_LONGEST_NAME],
        line[:_LONGEST_LINE],
        str(names.get("__name__", ""))[:_LONGEST_NAME],
    )


def _traceback(frame: Frame, sources: Sources, rest: TracebackType | None) -> TracebackType:
    """Run a function that fails at once, dressed as the frame, and keep its frame."""
    lineno = min(max(frame.lineno, 1), 2**31 - 2)
    code = compile("1/0", "?", "exec", dont_inherit=True)
    code = code.replace(
        co_filename=sources.filename(frame),
        co_name=frame.name,
        co_qualname=frame.name,
        co_firstlineno=lineno,
        co_linetable=_one_line(len(code.co_code) // 2),
    )
    try:
        FunctionType(code, sources.namespace(frame))()
    except ZeroDivisionError as error:
        inner = error.__traceback__ and error.__traceback__.tb_next
        if inner is not None:
            return TracebackType(rest, inner.tb_frame, inner.tb_lasti, lineno)
    raise AssertionError("unreachable: the code divides by zero")


def _one_line(units: int) -> bytes:
    """Return a line table without columns: all instructions are on the first line.

    An entry is a byte (1, then 4 bits that say "no columns", then 3 bits of length - 1) and a
    difference of lines, here 0; see CPython's Objects/locations.md.
    """
    table = bytearray()
    while units > 0:
        length = min(units, 8)
        table += bytes((0x80 | 13 << 3 | length - 1, 0))
        units -= length
    return bytes(table)
