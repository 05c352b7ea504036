"""The output of containers in files: `<directory>/<app id>/<container id>.jsonl`. Thin I/O.

Writing only collects; `flush`, which a timer of the caller's calls, appends to the files. Each
container has at most two files of bounded size, so that one that never stops printing is harmless.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from json import loads
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

from cloudfn.errors import InvalidError
from cloudfn.model.log import LogEntry, LogQuery

#: bytes after which a container's file is set aside, replacing the one set aside before
ROTATE = 8 << 20
#: entries that one query returns at most, however wide it is
MOST_ENTRIES = 100_000
#: characters of one entry; longer texts become several
_LONGEST_TEXT = 64 << 10
#: bytes of a container that are collected before they are written without waiting for the timer
_LONGEST_BUFFER = 256 << 10
_BLOCK = 128 << 10
_SUFFIX = ".jsonl"
_OLD_SUFFIX = ".jsonl.1"
#: the file for output that belongs to an app and none of its containers
_NO_CONTAINER = "_app"
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(slots=True)
class _Buffer:
    """What a container printed since the last flush."""

    lines: list[str] = field(default_factory=list)
    size: int = 0


class LocalLogs:
    """The logs of one environment.

    `write`, `flush` and `prune` belong to one thread; `read` sees what was flushed, and may be
    called from any.

    Args:
        directory: Where the files are; created when needed, for the owner alone.
        retention: Seconds after its last line that a file is kept.
        limit: Bytes that all files together may have after `prune`.
    """

    def __init__(
        self, directory: Path, *, retention: float = 7 * 86_400.0, limit: int = 1 << 30
    ) -> None:
        self._directory = directory
        self._retention = retention
        self._limit = limit
        self._buffers: dict[tuple[str, str], _Buffer] = {}
        #: lines that could not be written, since the daemon started
        self.lost = 0

    # Writing

    def write(self, entry: LogEntry) -> None:
        """Collect an entry; it is in its file after the next `flush`.

        Raises:
            InvalidError: The ids are no names of files.
        """
        key = entry.app_id, entry.container_id
        buffer = self._buffers.get(key)
        if buffer is None:
            _check(entry)
            buffer = self._buffers[key] = _Buffer()
        text = entry.text
        if len(text) <= _LONGEST_TEXT:
            line = _line(entry, text)
            buffer.lines.append(line)
            buffer.size += len(line)
        else:
            for start in range(0, len(text), _LONGEST_TEXT):
                line = _line(entry, text[start : start + _LONGEST_TEXT])
                buffer.lines.append(line)
                buffer.size += len(line)
        if buffer.size > _LONGEST_BUFFER:
            del self._buffers[key]
            self._append(key, buffer)

    def flush(self) -> None:
        """Append what was collected to the files. What the disk refuses is counted and dropped."""
        buffers, self._buffers = self._buffers, {}
        for key, buffer in buffers.items():
            self._append(key, buffer)

    def _append(self, key: tuple[str, str], buffer: _Buffer) -> None:
        app_id, container_id = key
        path = self._directory / app_id / ((container_id or _NO_CONTAINER) + _SUFFIX)
        data = "".join(buffer.lines).encode("ascii")
        try:
            _append(path, data)
        except OSError:
            # Logs are no reason to stop the work.
            self.lost += len(buffer.lines)

    # Reading

    def read(self, query: LogQuery) -> list[LogEntry]:
        """Return the entries that are wanted, in the order of time."""
        limit = MOST_ENTRIES if query.tail is None else min(query.tail, MOST_ENTRIES)
        if limit <= 0:
            return []
        kept: list[LogEntry] = []
        seen: set[int] = set()
        # The file written to last comes first: most others need no look then.
        for written, path in sorted(self._files(query), key=_recency, reverse=True):
            floor = kept[0].at if len(kept) == limit else query.since
            if floor is not None and written < floor:
                break
            # What was read later is older, also where the times are equal.
            kept = _read_tail(path, query, floor, limit, seen) + kept
            kept.sort(key=lambda entry: entry.at)
            del kept[:-limit]
        return kept

    def _files(self, query: LogQuery) -> Iterator[tuple[float, Path]]:
        """Yield the time of the last line and the path of the files that a query is about."""
        for app in self._apps():
            if query.app_id not in (None, app.name):
                continue
            for path in _listed(app):
                container_id = path.name.removesuffix(_OLD_SUFFIX).removesuffix(_SUFFIX)
                if query.container_id not in (None, container_id) or container_id == path.name:
                    continue
                try:
                    yield path.lstat().st_mtime, path
                except FileNotFoundError:
                    continue

    def _apps(self) -> list[Path]:
        return [path for path in _listed(self._directory) if path.is_dir()]

    # Retention

    def prune(self, now: float) -> int:
        """Delete the files that are too old, then the oldest until the rest is small enough.

        Args:
            now: Seconds since the epoch.

        Returns:
            How many files were deleted.
        """
        files = sorted(self._files(LogQuery()), reverse=True)
        total, deleted = 0, 0
        for written, path in files:
            total += _size(path)
            if written >= now - self._retention and total <= self._limit:
                continue
            path.unlink(missing_ok=True)
            deleted += 1
        for app in self._apps():
            try:
                app.rmdir()
            except OSError:
                continue  # it is not empty
        return deleted


def _check(entry: LogEntry) -> None:
    for name in (entry.app_id, entry.container_id or "none"):
        if not _SAFE.fullmatch(name):
            raise InvalidError(f"{name!r} is no name of an app or a container.")


def _line(entry: LogEntry, text: str) -> str:
    """Return the line for an entry; its app and container are the name of the file."""
    # A third of the time that a JSON encoder takes for the same; this runs for every line printed.
    return (
        f'{{"at":{entry.at!r},"source":"{entry.source}","function":{quoted(entry.function)},'
        f'"call":{quoted(entry.call_id)},"input":{quoted(entry.input_id)},'
        f'"app":{quoted(entry.app_name)},"text":{quoted(text)}}}\n'
    )


def _parse(line: bytes, app_id: str, container_id: str) -> LogEntry | None:
    """Return the entry of a line; None for one that was torn by a crash."""
    try:
        data = loads(line)
        return LogEntry(
            data["at"],
            app_id,
            data["app"],
            data["function"],
            container_id,
            data["call"],
            data["input"],
            data["source"],
            data["text"],
        )
    except (ValueError, KeyError, TypeError):
        return None


def _append(path: Path, data: bytes) -> None:
    file = _open_to_append(path)
    try:
        size = os.fstat(file).st_size
        if size and size + len(data) > ROTATE:
            os.close(file)
            path.replace(path.with_name(path.name.removesuffix(_SUFFIX) + _OLD_SUFFIX))
            file = _open_to_append(path)
            size = 0
        if size and os.pread(file, 1, size - 1) != b"\n":
            data = b"\n" + data  # ends the line that a crash tore
        try:
            _write_all(file, data)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def _open_to_append(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        for directory in (path.parent.parent, path.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _recency(file: tuple[float, Path]) -> tuple[float, bool]:
    """Sorts files by their last line; one set aside comes before the one that replaced it."""
    written, path = file
    return written, path.name.endswith(_SUFFIX)


def _read_tail(
    path: Path, query: LogQuery, floor: float | None, limit: int, seen: set[int]
) -> list[LogEntry]:
    """Return the last `limit` wanted entries of a file, but none older than `floor`."""
    app_id, name = path.parent.name, path.name
    container_id = name.removesuffix(_OLD_SUFFIX).removesuffix(_SUFFIX)
    if container_id == _NO_CONTAINER:
        container_id = ""
    promising = _prefilter(query)
    entries: list[LogEntry] = []
    for line in _lines_backwards(path, seen):
        # The time is needed even where the entry is not wanted, but not of each such line.
        if not promising(line):
            continue
        entry = _parse(line, app_id, container_id)
        if entry is None:
            continue
        if floor is not None and entry.at < floor:
            break
        if query.wants(entry):
            entries.append(entry)
            if len(entries) == limit:
                break
    entries.reverse()
    return entries


def _prefilter(query: LogQuery) -> Callable[[bytes], bool]:
    """Return a cheap test that a line must pass to be wanted."""
    needles = [
        f'"{key}":{quoted(value)}'.encode()
        for key, value in (("call", query.call_id), ("function", query.function))
        if value is not None
    ]
    if query.search is not None:
        needles.append(quoted(query.search)[1:-1].encode())
    return lambda line: all(needle in line for needle in needles)


def _lines_backwards(path: Path, seen: set[int]) -> Iterator[bytes]:
    """Yield the lines of a file without their ends, the last one first.

    `seen` has the inodes of files read before: a file may be set aside while another thread reads.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        found = os.fstat(file)
        if found.st_ino in seen:
            return
        seen.add(found.st_ino)
        position = found.st_size
        rest = b""
        while position:
            start = max(position - _BLOCK, 0)
            first, *lines = (os.pread(file, position - start, start) + rest).split(b"\n")
            yield from reversed(lines)
            position, rest = start, first
        yield rest
    finally:
        os.close(file)


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
