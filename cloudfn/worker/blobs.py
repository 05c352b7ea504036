"""Payloads that lie in files beside the messages: arguments are mapped, results written."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from mmap import ACCESS_READ, mmap
from typing import Any

from cloudfn.errors import DataLossError, ResourceExhaustedError
from cloudfn.wire import codec
from cloudfn.wire.messages import INLINE_LIMIT, BlobRef

_FAST = "CLOUDFN_BLOBS_FAST"
_DURABLE = "CLOUDFN_BLOBS_DURABLE"
_CONTAINER = "CLOUDFN_CONTAINER_ID"
_SMALL = frozenset((int, float, bool, type(None)))


class Blobs:
    """The blobs of one container.

    Args:
        container: Its id; results lie in a folder of that name.
        fast: Folder in memory, or None.
        durable: Folder on disk, or None; takes what `fast` has no room for.
    """

    def __init__(self, container: str, fast: str | None, durable: str | None) -> None:
        self._folder = f"results-{container}"
        self._roots = {False: fast, True: durable}
        #: what is written has to survive a power cut before anybody hears of it
        self.durable = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Blobs:
        """Return the blobs that a container's environment names."""
        return cls(
            environ.get(_CONTAINER, "unnamed"),
            environ.get(_FAST) or None,
            environ.get(_DURABLE) or None,
        )

    def lasting(self) -> Blobs:
        """Return the same, for what has to survive a power cut."""
        blobs = copy(self)
        blobs.durable = True
        return blobs

    def load(self, payload: bytes, what: str) -> Any:
        """Return the object that a reference to a blob stands for.

        Raises:
            DataLossError: The blob is missing or has another size than was said.
            DeserializationError: Its bytes cannot be turned into an object here.
        """
        ref = BlobRef.decode(payload)
        root = self._roots[ref.durable]
        try:
            if root is None:
                raise FileNotFoundError("this container has no such folder")
            with open(os.path.join(root, ref.name), "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size != ref.size or not size:
                    raise DataLossError(f"{what} should have {ref.size} bytes, not {size}.")
                mapped = mmap(file.fileno(), size, access=ACCESS_READ)
        except OSError as error:
            raise DataLossError(f"{what} cannot be read: {error}") from None
        with memoryview(mapped) as view:
            loaded = codec.loads(view, what)
        with suppress(BufferError):  # the object may look right into the file
            mapped.close()
        return loaded

    def pack(self, value: object, ctx: codec.PickleContext, what: str) -> bytes:
        """Return the payload of an object: its pickle, or the reference to a blob with that.

        Raises:
            SerializationError: Some part of the object cannot be pickled.
            ResourceExhaustedError: There is no room for a big one.
        """
        if type(value) not in _SMALL and codec.size_hint(value) >= INLINE_LIMIT:
            return self.dump(value, ctx, what)
        data = codec.dumps(value, ctx, what)
        return data if len(data) < INLINE_LIMIT else self.store(data, what)

    def dump(self, value: object, ctx: codec.PickleContext, what: str) -> bytes:
        """Write an object into a new blob and return the reference.

        Raises:
            SerializationError: Some part of the object cannot be pickled.
            ResourceExhaustedError: There is no room for it.
        """
        return self._stored(lambda file: codec.dump_to(value, file, ctx, what), what)

    def store(self, data: bytes, what: str) -> bytes:
        """Write bytes into a new blob and return the reference.

        Raises:
            ResourceExhaustedError: There is no room for them.
        """
        return self._stored(lambda file: _write(file, data), what)

    def _stored(self, write: Callable[[io.FileIO], int], what: str) -> bytes:
        problem: OSError = FileNotFoundError("this container has no folder for blobs")
        for durable, root in self._roots.items():
            if root is None or (self.durable and not durable):
                continue
            try:
                return self._stored_in(root, write, durable=durable)
            except OSError as error:
                problem = error
        raise ResourceExhaustedError(
            f"There is no room for {what}: {problem}",
            hint="Free space on the disk, or return less: a path, or a part of it.",
        )

    def _stored_in(self, root: str, write: Callable[[io.FileIO], int], *, durable: bool) -> bytes:
        name = f"{self._folder}/{os.urandom(12).hex()}"
        path = os.path.join(root, name)
        try:
            file = _create(path)
        except FileNotFoundError:
            os.mkdir(os.path.dirname(path), 0o700)
            file = _create(path)
        try:
            with file:
                size = write(file)
                if self.durable:
                    os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        return BlobRef(name, size, durable=durable).encode()


def _create(path: str) -> io.FileIO:
    return io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _write(file: io.FileIO, data: bytes) -> int:
    done = 0
    while done < len(data):
        done += file.write(memoryview(data)[done:]) or 0
    return done
