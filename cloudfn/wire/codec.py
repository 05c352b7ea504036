"""Objects to bytes and back: the only module that pickles.

Bytes passed to `loads` can run code. Callers authenticate them first.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from threading import RLock
from types import FunctionType, ModuleType
from typing import Any

from cloudfn.errors import DeserializationError, SerializationError
from cloudfn.wire.sinks import (
    BinaryFile,
    LimitedFile,
    MarkerFound,
    NoFile,
    SinkFailed,
    Writer,
    contains,
    rewind,
)
from cloudfn.wire.sizes import size_hint

__all__ = [
    "PROTOCOL",
    "PickleContext",
    "by_name",
    "dump_to",
    "dumps",
    "dumps_within",
    "loads",
    "size_hint",
]

PROTOCOL = 5
_MAIN = "__main__"
# Cloudpickle's list of modules that go by value belongs to the process.
_registry_lock = RLock()
_c_dumps: Callable[[object, int], bytes] = pickle.dumps
_c_loads: Callable[[bytes | memoryview], object] = pickle.loads


@dataclass(frozen=True, slots=True)
class PickleContext:
    """How objects of the user's own file travel.

    Both sides hold the user's file as one module under two names, `__main__` and `main_module`,
    so its classes and functions go by reference. In a notebook there is no file, and they go by
    value.

    Attributes:
        main_module: Name of the user's file as a module; None in notebooks and the REPL.
        by_value: Send the objects of the user's file by value although it has a name, because the
            receiver runs another program.
    """

    main_module: str | None
    by_value: bool = False
    own_modules: tuple[str, ...] = field(init=False, repr=False, compare=False)
    markers: tuple[bytes, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        main = self.main_module
        own = (_MAIN,) if main is None or main == _MAIN else (_MAIN, main)
        sent_by_value = self.by_value or main is None
        object.__setattr__(self, "own_modules", own)
        object.__setattr__(self, "markers", tuple(map(_marker, own)) if sent_by_value else ())


def dumps(obj: object, ctx: PickleContext, what: str = "the arguments") -> bytes:
    """Turn an object into bytes.

    Args:
        obj: The object; `(args, kwargs)` of a call is recognised when an error is explained.
        ctx: How objects of the user's own file travel.
        what: What the object is, for the text of an error.

    Raises:
        SerializationError: Some part of the object cannot be pickled; the text names that part.
    """
    try:
        data = _c_dumps(obj, PROTOCOL)
    except Exception as error:
        if not _worth_another_try(error):
            raise _explained(obj, ctx, what, error) from error
    else:
        if not ctx.markers or not contains(data, ctx.markers):
            return data
    file = io.BytesIO()
    _dump_slowly(obj, file, ctx, what)
    return file.getvalue()


def dump_to(obj: object, file: BinaryFile, ctx: PickleContext, what: str = "the arguments") -> int:
    """Write an object to a raw, seekable file; large bytes go there without being copied.

    Args:
        obj: The object.
        file: An unbuffered binary file. After an error it is as long as before.
        ctx: How objects of the user's own file travel.
        what: What the object is, for the text of an error.

    Returns:
        The number of bytes written.

    Raises:
        SerializationError: Some part of the object cannot be pickled; the text names that part.
        OSError: The file cannot be written.
    """
    start = file.tell()
    try:
        if not _dump_fast(obj, file, ctx, what):
            rewind(file, start)
            _dump_slowly(obj, file, ctx, what)
    except BaseException:
        rewind(file, start)
        raise
    return file.tell() - start


def no_arguments() -> bytes:
    """Return the payload of a call without arguments."""
    return _c_dumps(((), {}), PROTOCOL)


def dumps_within(obj: object, ctx: PickleContext, limit: int) -> bytes | None:
    """Turn an object into at most `limit` bytes; None when it is larger or cannot be pickled."""
    file = LimitedFile(limit)
    try:
        if not _dump_fast(obj, file, ctx, "the object"):
            rewind(file, 0)
            _dump_by_cloudpickle(obj, file, ctx)
    except Exception:
        return None
    return file.getvalue()


def loads(data: bytes | memoryview, what: str = "the result") -> Any:
    """Turn authenticated bytes back into the object.

    Args:
        data: What `dumps` returned on the other side.
        what: What the object is, for the text of an error.

    Raises:
        DeserializationError: A module or name is missing here, the bytes are damaged, or they come
            from a newer Python.
    """
    try:
        return _c_loads(data)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(error, what) from error


def by_name(module: str, qualname: str) -> object:
    """Return a module's object; how objects of the user's file travel beside those by value."""
    __import__(module)
    found: object = sys.modules[module]
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _marker(module: str) -> bytes:
    # How a pickle of protocol 5 spells a short string, and so the module of a class or function.
    name = module.encode("utf-8", "surrogatepass")
    return b"\x8c" + bytes([len(name)]) + name if len(name) < 256 else name


def _worth_another_try(error: Exception) -> bool:
    return not isinstance(error, (RecursionError, MemoryError, SinkFailed))


def _dump_fast(obj: object, file: BinaryFile, ctx: PickleContext, what: str) -> bool:
    """Pickle into the file; False when cloudpickle has to do it instead."""
    try:
        pickle.Pickler(Writer(file, ctx.markers), PROTOCOL).dump(obj)
    except MarkerFound:
        return False
    except Exception as error:
        if not _worth_another_try(error):
            raise _explained(obj, ctx, what, error) from error
        return False
    return True


def _dump_slowly(obj: object, file: BinaryFile, ctx: PickleContext, what: str) -> None:
    try:
        _dump_by_cloudpickle(obj, file, ctx)
    except Exception as error:
        raise _explained(obj, ctx, what, error) from error


def _dump_by_cloudpickle(obj: object, file: BinaryFile, ctx: PickleContext) -> None:
    import cloudpickle  # its import costs more than all of ours

    if not ctx.markers:
        _by_reference_pickler()(Writer(file), ctx).dump(obj)
        return
    with _registry_lock:
        added = _register_own_modules(ctx, cloudpickle)
        try:
            cloudpickle.Pickler(Writer(file), PROTOCOL).dump(obj)
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)


@cache
def _by_reference_pickler() -> Callable[[Writer, PickleContext], pickle.Pickler]:
    import cloudpickle

    base: Any = cloudpickle.Pickler

    class ByReference(base):  # type: ignore[misc]
        """Cloudpickle, but what the user's file names goes by reference."""

        def __init__(self, file: Writer, ctx: PickleContext) -> None:
            super().__init__(file, PROTOCOL)
            self._ctx = ctx

        def reducer_override(self, value: object) -> object:
            if isinstance(value, (type, FunctionType)) and _is_own(value, self._ctx.own_modules):
                return by_name, (self._ctx.main_module, value.__qualname__)
            return super().reducer_override(value)

    return ByReference


def _register_own_modules(ctx: PickleContext, cloudpickle: ModuleType) -> list[ModuleType]:
    """Make cloudpickle send the user's file by value; `__main__` it sends so anyway."""
    known = cloudpickle.list_registry_pickle_by_value()
    added = []
    for name in ctx.own_modules[1:]:
        module = sys.modules.get(name)
        if module is None or module.__name__ in known or module.__name__ not in sys.modules:
            continue
        cloudpickle.register_pickle_by_value(module)
        added.append(module)
    return added


def _is_own(value: type | FunctionType, own_modules: tuple[str, ...]) -> bool:
    module = getattr(value, "__module__", None)
    if module not in own_modules:
        return False
    found: object = sys.modules.get(str(module))
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


def _explained(obj: object, ctx: PickleContext, what: str, error: Exception) -> Exception:
    if isinstance(error, SinkFailed):
        return error.error
    if isinstance(error, MemoryError):
        return error
    from cloudfn.wire.culprits import find  # only on the way to an error

    culprit = find(obj, what, error, lambda part: _why_not(part, ctx))
    return SerializationError(
        f"cannot serialize {culprit.path}: {culprit.reason}", hint=culprit.hint
    )


def _why_not(obj: object, ctx: PickleContext) -> Exception | None:
    """Return why the object cannot be pickled, or None."""
    try:
        _dump_by_cloudpickle(obj, NoFile(), ctx)
    except Exception as error:
        return error
    return None


def _unreadable(error: Exception, what: str) -> DeserializationError:
    from cloudfn.wire.culprits import brief

    here = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    text = brief(error)
    if isinstance(error, ModuleNotFoundError):
        return DeserializationError(
            f"{what} needs the module {error.name!r}, which is not available in this environment",
            hint=f"install {error.name!r} here, or send plain values (lists, dicts, numbers, text)",
        )
    if isinstance(error, ImportError):
        return DeserializationError(
            f"{what} needs something that cannot be imported in this environment: {text}",
            hint="install the same versions on both sides, or send plain values",
        )
    if isinstance(error, AttributeError):
        return DeserializationError(
            f"{what} refers to a name that is not available in this environment: {text}",
            hint="the two sides hold different code: deploy again, or define it in an importable "
            "module that both sides have",
        )
    if isinstance(error, ValueError) and "pickle protocol" in text:
        return DeserializationError(
            f"{what} was written by a newer Python than this one ({here}): {text}",
            hint="use the same minor version of Python on both sides",
        )
    if isinstance(error, TypeError) and ("code expected" in text or "code()" in text):
        return DeserializationError(
            f"{what} contains code that was sent by value from another version of Python than "
            f"this one ({here}): {text}",
            hint="use the same minor version of Python on both sides, or define the function in "
            "an importable module",
        )
    if isinstance(error, (pickle.UnpicklingError, EOFError)):
        return DeserializationError(f"the bytes of {what} are damaged or cut off: {text}")
    return DeserializationError(
        f"{what} cannot be rebuilt in this environment: {text}",
        hint="one of its classes raises while it is unpickled",
    )
