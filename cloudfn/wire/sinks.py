"""The files that picklers write to: complete writes, limits, and a look at what goes by."""

from __future__ import annotations

import io
from typing import Any, Protocol

# A pickler hands over frames of 64 KiB and a bit; what is longer is one object's raw bytes.
_LONGEST_FRAME = 256 << 10


class BinaryFile(Protocol):
    """What is needed of a raw binary file."""

    def write(self, data: Any, /) -> int | None:
        """Write some of the data; return how many bytes."""
        ...

    def seek(self, offset: int, /) -> int:
        """Go to a position."""
        ...

    def tell(self) -> int:
        """Return the position."""
        ...

    def truncate(self) -> int:
        """Cut the file off at the position."""
        ...


class SinkFailed(Exception):  # noqa: N818 - never leaves cloudfn.wire
    """The file refused the bytes; so the object is not to blame.

    Args:
        error: What the file raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class MarkerFound(Exception):  # noqa: N818 - never leaves cloudfn.wire
    """The pickle refers to a module that has to go by value."""


class Full(Exception):  # noqa: N818 - never leaves cloudfn.wire
    """The limit is reached."""


class Writer:
    """Writes all that it is given, although raw files may take less at a time.

    Args:
        file: Where the bytes go.
        markers: Byte strings that make `write` raise `MarkerFound`.
    """

    def __init__(self, file: BinaryFile, markers: tuple[bytes, ...] = ()) -> None:
        self._file = file
        self._markers = markers

    def write(self, data: Any) -> int:
        """Write everything."""
        view = memoryview(data)
        # Arrays come as buffers of any shape, and raw files want plain bytes.
        view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes("A"))
        size = view.nbytes
        if self._markers and size <= _LONGEST_FRAME and contains(bytes(view), self._markers):
            raise MarkerFound
        try:
            written = self._file.write(view) or 0
            while written < size:
                written += self._file.write(view[written:]) or 0
        except Exception as error:
            raise SinkFailed(error) from error
        return size


class LimitedFile(io.BytesIO):
    """A file in memory that takes `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: Any, /) -> int:
        """Write the data, or raise `Full`."""
        if self.tell() + memoryview(data).nbytes > self._limit:
            raise Full
        return super().write(data)


class NoFile:
    """A file that keeps nothing."""

    def write(self, data: Any, /) -> int:
        """Forget the data."""
        return memoryview(data).nbytes

    def seek(self, _offset: int, /) -> int:
        """Stay."""
        return 0

    def tell(self) -> int:
        """Return 0."""
        return 0

    def truncate(self) -> int:
        """Stay empty."""
        return 0


def contains(data: bytes, markers: tuple[bytes, ...]) -> bool:
    """Whether one of the markers occurs in the data."""
    return any(marker in data for marker in markers)


def rewind(file: BinaryFile, start: int) -> None:
    """Cut the file off at a position and go there."""
    file.seek(start)
    file.truncate()
