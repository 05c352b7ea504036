"""Arguments to payloads and outcomes to results; big ones through blobs, written and read here."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from io import FileIO
from mmap import ACCESS_READ, mmap
from typing import Any

from cloudfn import errors
from cloudfn.model.call import Status
from cloudfn.sdk.client import Welcome
from cloudfn.sdk.session import error_of
from cloudfn.wire import codec
from cloudfn.wire.exceptions import unpack_exception
from cloudfn.wire.messages import INLINE_LIMIT, BlobRef, decode_json, is_blob
from cloudfn.wire.sizes import size_hint

#: types that a payload of one such argument needs no look at its size for
_PLAIN = frozenset((int, float, bool, type(None)))
#: exceptions that steer the program they are raised in
_STEERING = (SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Packer:
    """Turns the arguments of one call's inputs into payloads.

    Args:
        context: How objects of the user's own file travel.
        welcome: Where blobs live.
        call_id: The call; its blobs lie in a directory of that name, unless this is a container
            that may not write there: then the engine brings them there.
        durable: The payloads have to survive a power cut.
        method: Of a class, the method that is called.
    """

    def __init__(
        self,
        context: codec.PickleContext,
        welcome: Welcome,
        call_id: str,
        *,
        durable: bool,
        method: str | None = None,
    ) -> None:
        self._context = context
        self._welcome = welcome
        self._folder = welcome.outbox or call_id
        self._durable = durable
        self._method = method
        self._made: set[str] = set()

    def pack(self, args: Sequence[Any], kwargs: dict[str, Any]) -> bytes:
        """Return the payload of one input.

        Raises:
            SerializationError: An argument cannot be pickled.
            ResourceExhaustedError: There is no room for a big one.
        """
        if is_big(args, kwargs):
            value = self._value(args, kwargs)
            return self._blob(lambda file: codec.dump_to(value, file, self._context))
        return self.pack_small(args, kwargs)

    def pack_small(self, args: Sequence[Any], kwargs: dict[str, Any]) -> bytes:
        """Do the same where `is_big` was asked already, and says no."""
        data = codec.dumps(self._value(args, kwargs), self._context)
        if len(data) < INLINE_LIMIT:
            return data
        return self._blob(lambda file: _write_all(file, data))

    def _value(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        if self._method is None:
            return tuple(args), kwargs
        return tuple(args), kwargs, self._method

    def pack_many(
        self, items: Sequence[tuple[Any, ...]], kwargs: dict[str, Any]
    ) -> list[bytes | errors.Error]:
        """Return the payloads of inputs, or in the place of one the error that it met."""
        dumps, context, method = codec.dumps, self._context, self._method
        payloads: list[bytes | errors.Error] = []
        for args in items:
            try:
                if len(args) == 1 and not kwargs and type(args[0]) in _PLAIN:
                    plain = (args, kwargs) if method is None else (args, kwargs, method)
                    payloads.append(dumps(plain, context))
                else:
                    payloads.append(self.pack(args, kwargs))
            except errors.SerializationError as error:
                payloads.append(error)
        return payloads

    def pack_value(self, value: Any, what: str) -> bytes:
        """Return the payload of a value that a store is to keep.

        Raises:
            SerializationError: It cannot be pickled.
            ResourceExhaustedError: There is no room for a big one.
        """
        if size_hint(value) >= INLINE_LIMIT:
            return self._stored(lambda file: codec.dump_to(value, file, self._context, what))
        data = codec.dumps(value, self._context, what)
        return data if len(data) < INLINE_LIMIT else self.stored(data)

    def stored(self, data: bytes) -> bytes:
        """Return the payload that stands for bytes in a blob."""
        return self._stored(lambda file: _write_all(file, data))

    def _stored(self, write: Callable[[FileIO], int]) -> bytes:
        try:
            return self._blob_in(self._welcome.durable, write, durable=True)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise self._full() from error

    def _full(self) -> errors.ResourceExhaustedError:
        return errors.ResourceExhaustedError(
            f"The disk is full: no room for a big argument in {self._welcome.durable}.",
            hint="Free some space and call again.",
        )

    def _blob(self, write: Callable[[FileIO], int]) -> bytes:
        if not self._durable:
            try:
                return self._blob_in(self._welcome.fast, write, durable=False)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
        try:
            return self._blob_in(self._welcome.durable, write, durable=True)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise self._full() from error

    def _blob_in(self, top: str, write: Callable[[FileIO], int], *, durable: bool) -> bytes:
        folder = os.path.join(top, self._folder)
        if folder not in self._made:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            self._made.add(folder)
        name = f"{self._folder}/{os.urandom(12).hex()}"
        path = os.path.join(top, name)
        try:
            with FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                size = write(file)
                if durable and self._durable:
                    os.fsync(file.fileno())
        except BaseException:
            _remove(path)
            raise
        if self._durable:
            _sync_folder(folder)
            _sync_folder(top)
        return BlobRef(name, size, durable).encode()


def is_big(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the arguments are certain to take a blob."""
    if _PLAIN.issuperset(map(type, args)) and not kwargs:
        return False
    return size_hint(args) + (size_hint(kwargs) if kwargs else 0) >= INLINE_LIMIT


def result_of(payload: bytes, welcome: Welcome) -> Any:
    """Return what the function returned.

    Raises:
        DeserializationError: It cannot be rebuilt here.
        DataLossError: Its blob is gone or damaged.
    """
    if not is_blob(payload):
        return codec.loads(payload)
    return _read_blob(payload, welcome, codec.loads)


def failure_of(status: int, payload: bytes, welcome: Welcome) -> BaseException:
    """Return the exception that an outcome other than RETURNED means."""
    if status != Status.RAISED:
        return error_of(decode_json(payload))
    try:
        if is_blob(payload):
            failure: BaseException = _read_blob(payload, welcome, _unpacked)
            return failure
        return _unpacked(payload)
    except errors.Error as error:
        return error


def _unpacked(data: bytes | memoryview) -> BaseException:
    found = unpack_exception(data, label="remote")
    if not isinstance(found, _STEERING):
        return found
    # Raised here, it would end or interrupt the caller's program instead of telling of a failure.
    wrapped = errors.RemoteError(f"The input raised {type(found).__name__}: {found}")
    wrapped.__cause__ = found
    return wrapped


def _read_blob(payload: bytes, welcome: Welcome, read: Callable[[memoryview], Any]) -> Any:
    blob = BlobRef.decode(payload)
    path = os.path.join(welcome.durable if blob.durable else welcome.fast, blob.name)
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != blob.size:
                raise errors.DataLossError(
                    f"The result in {path} is damaged: {size} bytes instead of {blob.size}."
                )
            with mmap(file.fileno(), size, access=ACCESS_READ) as pages, memoryview(pages) as view:
                return read(view)
    except FileNotFoundError:
        raise errors.DataLossError(f"The result in {path} is gone.") from None


def _write_all(file: FileIO, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]
    return len(data)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
