"""An exception with its causes as plain data, and as text in Python's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloudfn.wire.traces import Frame, frames_of, lines_of, shorten

_MOST_RECORDS = 100
_LONGEST_NAME = 200
_LONGEST_GROUP_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """One exception of a chain; others of the chain are meant by their index.

    Attributes:
        type: Module and name of the class, as tracebacks show it.
        bases: The same of its base classes.
        message: Its text.
        notes: Its notes.
        frames: Its traceback, outermost frame first.
        cause: `__cause__`.
        context: `__context__`.
        suppress: `__suppress_context__`.
        group_message: The message of an exception group alone.
        children: The exceptions of an exception group.
        kind: How `content` is read; empty when the exception itself could not be carried.
        content: The exception itself.
    """

    type: str
    bases: tuple[str, ...] = ()
    message: str = ""
    notes: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()
    cause: int | None = None
    context: int | None = None
    suppress: bool = False
    group_message: str = ""
    children: tuple[int, ...] = ()
    kind: str = ""
    content: bytes = b""


def chain_of(
    root: BaseException, strip: Callable[[str], bool]
) -> tuple[list[BaseException], list[Record]]:
    """Return an exception with all that it hangs together with, and a record of each.

    The records hold what is known without running an exception's own code: types, frames, links.
    Cycles are followed once; of very long chains the far end is left out.
    """
    chain: list[BaseException] = []
    places: dict[int, int] = {}

    def place(exc: BaseException | None) -> int | None:
        if exc is None:
            return None
        if id(exc) not in places and len(chain) < _MOST_RECORDS:
            places[id(exc)] = len(chain)
            chain.append(exc)
        return places.get(id(exc))

    place(root)
    # The chain grows while it is walked.
    return chain, [_outline(exc, place, strip) for exc in chain]


def is_group(exc: BaseException) -> bool:
    """Whether the exception is an exception group."""
    # Not isinstance: that may ask the exception's own `__class__`.
    return issubclass(type(exc), BaseExceptionGroup)


def type_name(kind: type) -> str:
    """Return a class's name as tracebacks show it."""
    module, name = str(kind.__module__)[:_LONGEST_NAME], str(kind.__qualname__)[:_LONGEST_NAME]
    return name if module in ("builtins", "__main__") else f"{module}.{name}"


def told(records: Sequence[Record], index: int = 0) -> str:
    """Tell an exception and its causes as Python would print them."""
    return "\n".join(_lines(records, index, set()))


def headline(record: Record) -> str:
    """Return type and message."""
    return f"{record.type}: {record.message}" if record.message else record.type


def to_plain(record: Record) -> dict[str, Any]:
    """Return the record as builtins alone."""
    plain = {name: getattr(record, name) for name in Record.__slots__}
    plain["frames"] = [tuple(frame) for frame in record.frames]
    return plain


def from_plain(plain: dict[str, Any]) -> Record:
    """Return the record again; what a newer side may have added is ignored."""
    known = {name: plain[name] for name in Record.__slots__ if name in plain}
    known["frames"] = tuple(Frame(*frame[:5]) for frame in plain.get("frames", ()))
    return Record(**known)


def smaller(
    records: Sequence[Record], *, records_kept: int, frames: int, message: int, contents: int
) -> list[Record]:
    """Return fewer and shorter records.

    Args:
        records: The records of a chain.
        records_kept: How many are kept, from the root on.
        frames: Frames kept of each.
        message: Characters kept of each message and each note.
        contents: How many records keep the exception itself.
    """

    def kept(index: int | None) -> int | None:
        return index if index is not None and index < records_kept else None

    return [
        replace(
            record,
            message=record.message[:message],
            notes=tuple(note[:message] for note in record.notes[:frames]),
            frames=tuple(shorten(record.frames, frames)),
            cause=kept(record.cause),
            context=kept(record.context),
            children=tuple(child for child in record.children if child < records_kept),
            group_message=record.group_message[:message],
            kind=record.kind if i < contents else "",
            content=record.content if i < contents else b"",
        )
        for i, record in enumerate(records[:records_kept])
    ]


def _field(exc: BaseException, name: str) -> Any:
    """Read a field of the interpreter's, whatever the exception's class says about its name."""
    return vars(BaseException)[name].__get__(exc)


def _outline(
    exc: BaseException,
    place: Callable[[BaseException | None], int | None],
    strip: Callable[[str], bool],
) -> Record:
    kind = type(exc)
    group = vars(BaseExceptionGroup) if is_group(exc) else None
    children = [place(child) for child in group["exceptions"].__get__(exc)] if group else []
    return Record(
        type=type_name(kind),
        bases=tuple(type_name(base) for base in kind.__mro__[1:-1]),
        frames=tuple(frames_of(_field(exc, "__traceback__"), strip)),
        cause=place(_field(exc, "__cause__")),
        context=place(_field(exc, "__context__")),
        suppress=_field(exc, "__suppress_context__"),
        group_message=str(group["message"].__get__(exc))[:_LONGEST_GROUP_MESSAGE] if group else "",
        children=tuple(child for child in children if child is not None),
    )


def _lines(records: Sequence[Record], index: int, seen: set[int]) -> Iterator[str]:
    seen.add(index)
    record = records[index]
    if record.cause is not None and record.cause not in seen:
        yield from _lines(records, record.cause, seen)
        yield "\nThe above exception was the direct cause of the following exception:\n"
    elif record.context is not None and not record.suppress and record.context not in seen:
        yield from _lines(records, record.context, seen)
        yield "\nDuring handling of the above exception, another exception occurred:\n"
    if record.frames:
        yield "Traceback (most recent call last):"
        yield from lines_of(record.frames)
    yield headline(record)
    yield from record.notes
    for number, child in enumerate(record.children, start=1):
        if child in seen:
            continue
        yield f"  +---------------- {number} ----------------"
        for line in _lines(records, child, seen):
            yield from (f"  | {part}" for part in line.split("\n"))
