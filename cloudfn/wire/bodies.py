"""An exception object alone as bytes, and back: pickled, or rebuilt from its parts.

Nothing is believed before it was read back once: many exceptions pickle and do not unpickle, or
come back with another text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import GetSetDescriptorType, MemberDescriptorType, NoneType
from typing import Any

from cloudfn.wire import codec
from cloudfn.wire.records import is_group

LONGEST_MESSAGE = 16 << 10

_PICKLED = "pickled"
_PARTS = "parts"
_LONGEST_NOTES = 100
_PLAIN_VALUES = frozenset((str, bytes, int, float, bool, NoneType))
_HOOKS = frozenset(
    (
        *("__init__", "__new__", "__str__", "__repr__", "__format__", "__getattribute__"),
        *("__getattr__", "__setattr__", "__reduce__", "__reduce_ex__", "__getstate__"),
        *("__setstate__", "__eq__", "__hash__", "args", "__notes__", "__class__", "__dict__"),
    )
)
_IS_PYTHON_CLASS = 1 << 9  # Py_TPFLAGS_HEAPTYPE


@dataclass(frozen=True, slots=True)
class Body:
    """What can be told of an exception by asking the exception itself.

    Attributes:
        message: Its text, not longer than `LONGEST_MESSAGE`.
        notes: Its notes, and what had to be left out.
        kind: How `content` is read; empty when the exception cannot be carried.
        content: The exception as bytes.
    """

    message: str
    notes: tuple[str, ...] = ()
    kind: str = ""
    content: bytes = b""

    @property
    def is_pickled(self) -> bool:
        """Whether the exception pickles as it is."""
        return self.kind == _PICKLED


def body_of(exc: BaseException, ctx: codec.PickleContext, limit: int) -> Body:
    """Ask an exception for its text and bytes.

    This runs the exception's own code, and lets through what that raises and is no `Exception`.

    Args:
        exc: The exception.
        ctx: How objects of the user's own file travel.
        limit: Most bytes for the exception; what is longer is cut.
    """
    message, notes = text_of(exc), _notes_of(exc)
    pickled = codec.dumps_within(exc, ctx, limit)
    if pickled is not None and _comes_back(exc, pickled):
        return Body(message, notes, _PICKLED, pickled)
    if is_group(exc):
        return Body(message, notes)
    left_out: list[str] = []
    parts = _parts_of(exc, ctx, limit, left_out)
    if parts is None:
        return Body(message, notes)
    if left_out:
        notes = (*notes, f"left out, because it cannot be sent: {', '.join(left_out)}")
    return Body(message, notes, _PARTS, parts)


def revive(kind: str, content: bytes) -> BaseException:
    """Make the exception of a body again.

    Raises:
        DeserializationError: The bytes cannot be read here.
        TypeError: They are no exception.
    """
    value = codec.loads(content, "the exception")
    exc = _assembled(*value) if kind == _PARTS else value
    if not isinstance(exc, BaseException):
        raise TypeError(f"expected an exception, got a {type(exc).__name__!r}")
    return exc


def together(excs: Sequence[BaseException], ctx: codec.PickleContext, limit: int) -> bytes | None:
    """Pickle exceptions as one, so that what they share stays shared; None when that fails."""
    data = codec.dumps_within(list(excs), ctx, limit)
    if data is None:
        return None
    try:
        back = codec.loads(data)
    except Exception:
        return None
    types_agree = len(back) == len(excs) and all(map(_same_type, excs, back))
    return data if types_agree else None


def is_plain(exc: BaseException) -> bool:
    """Whether packing the exception runs no code but the interpreter's, and so cannot hang."""
    kind = type(exc)
    if type(kind) is not type:
        return False
    for cls in kind.__mro__:
        if cls.__flags__ & _IS_PYTHON_CLASS and not _HOOKS.isdisjoint(vars(cls)):
            return False
    if is_group(exc):
        return False
    values = (*exc.args, *(value for name, value in vars(exc).items() if name != "__notes__"))
    return all(type(value) in _PLAIN_VALUES for value in values)


def text_of(value: object, to_text: Callable[[object], str] = str) -> str:
    """Return `str(value)`, cut to a bearable length, whatever the object's own code does."""
    try:
        text = to_text(value)
    except Exception as error:
        return f"<its text cannot be told: {type(error).__name__}>"
    # A subclass of str may lie about slices.
    shown = str.__getitem__(text, slice(0, LONGEST_MESSAGE))
    left_out = str.__len__(text) - len(shown)
    return f"{shown}… ({left_out} more characters)" if left_out > 0 else shown


def _notes_of(exc: BaseException) -> tuple[str, ...]:
    notes = getattr(exc, "__notes__", ())
    if not isinstance(notes, (list, tuple)):
        return ()
    return tuple(text_of(note) for note in notes[:_LONGEST_NOTES])


def _comes_back(exc: BaseException, pickled: bytes) -> bool:
    try:
        back = codec.loads(pickled)
    except Exception:
        return False
    # An `__init__` that builds its message would build it from the message.
    return _same_type(exc, back) and text_of(exc) == text_of(back)


def _same_type(exc: BaseException, back: object) -> bool:
    return type(back) is type(exc)


def _parts_of(
    exc: BaseException, ctx: codec.PickleContext, limit: int, left_out: list[str]
) -> bytes | None:
    """Pickle class, arguments and attributes one by one, without those that cannot be."""
    share = limit // 4
    args = tuple(
        _carried(value, f"args[{i}]", ctx, share, left_out) for i, value in enumerate(exc.args)
    )
    state = {
        name: _carried(value, f".{name}", ctx, share, left_out)
        for name, value in vars(exc).items()
        if name != "__notes__"
    }
    slots = {
        name: _carried(value, f".{name}", ctx, share, left_out) for name, value in _slots_of(exc)
    }
    data = codec.dumps_within((type(exc), args, state, slots), ctx, limit)
    if data is None:
        return None
    try:
        return data if _same_type(exc, revive(_PARTS, data)) else None
    except Exception:
        return None


def _carried(
    value: object, name: str, ctx: codec.PickleContext, limit: int, left_out: list[str]
) -> object:
    """Return the value, or its text where it cannot be carried."""
    if type(value) in _PLAIN_VALUES and codec.size_hint(value) <= limit // 4:
        return value
    data = codec.dumps_within(value, ctx, limit)
    if data is not None:
        with suppress(Exception):
            codec.loads(data)
            return value
    left_out.append(f"{name} (a {type(value).__name__!r})")
    return text_of(value, str if isinstance(value, str) else repr)


def _slots_of(exc: BaseException) -> Iterator[tuple[str, object]]:
    """Yield what the exception keeps outside its `__dict__`, as OSError keeps errno."""
    for cls in type(exc).__mro__:
        for name, member in vars(cls).items():
            is_slot = isinstance(member, (MemberDescriptorType, GetSetDescriptorType))
            if not is_slot or name.startswith("__") or name == "args":
                continue
            with suppress(Exception):
                value = member.__get__(exc)
                # The interpreter's own classes tell None from never set, and show the difference.
                if value is not None or cls.__flags__ & _IS_PYTHON_CLASS:
                    yield name, value


def _assembled(
    cls: type[BaseException],
    args: tuple[object, ...],
    state: dict[str, object],
    slots: dict[str, object],
) -> BaseException:
    """Make an exception without running its own `__new__` and `__init__`."""
    base: Any = next(kind for kind in cls.__mro__ if not kind.__flags__ & _IS_PYTHON_CLASS)
    exc: BaseException = base.__new__(cls, *args)
    BaseException.__setattr__(exc, "args", args)
    vars(exc).update(state)
    for name, value in slots.items():
        with suppress(Exception):
            BaseException.__setattr__(exc, name, value)
    return exc
