"""Notes to clients as bytes, several in one message. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class

from cloudfn.model.call import Status
from cloudfn.providers.wakeups import Note, Printed

#: bytes of the notes in one message: SQS bills by 64 KiB, and base64 makes four of three
MESSAGE = 192_000

_VERSION = 2
#: of a note: version, whether payloads follow, how long the call's id is, inputs, items; how long
#: the ids of app and writer are, none for nothing, and how much was printed
_HEAD = Struct(">B?BIQBBq")
#: of an input: index, status; of a payload: how long it is
_INPUT = Struct(">IB")
_LENGTH = Struct(">I")
#: inputs of one note, so that it fits without payloads
_INPUTS = 30_000


def messages_of(notes: Iterable[Note]) -> Iterator[bytes]:
    """Pack notes into as few messages as they fit into."""
    message = b""
    for note in notes:
        for packed in _packed(note):
            if message and len(message) + len(packed) > MESSAGE:
                yield message
                message = b""
            message += packed
    if message:
        yield message


def _packed(note: Note) -> Iterator[bytes]:
    """Pack a note; without payloads if they are too many, in several if its inputs are."""
    size = sum(map(len, note.payloads)) + len(note.indices) * (_INPUT.size + _LENGTH.size)
    if note.payloads and size <= MESSAGE - 1_000:
        yield _pack(note)
        return
    for at in range(0, max(1, len(note.indices)), _INPUTS):
        part = slice(at, at + _INPUTS)
        indices, statuses = note.indices[part], note.statuses[part]
        yield _pack(note._replace(indices=indices, statuses=statuses, payloads=()))


def _pack(note: Note) -> bytes:
    call_id = note.call_id.encode()
    app_id, writer, size = note.printed or ("", "", 0)
    names = app_id.encode(), writer.encode()
    head = _HEAD.pack(
        _VERSION,
        bool(note.payloads),
        len(call_id),
        len(note.indices),
        note.items,
        *map(len, names),
        size,
    )
    inputs = [_INPUT.pack(*each) for each in zip(note.indices, note.statuses, strict=True)]
    payloads = [_LENGTH.pack(len(each)) + each for each in note.payloads]
    return b"".join((head, call_id, *names, *inputs, *payloads))


def notes_in(data: bytes) -> list[Note]:
    """Return the notes of a message.

    Raises:
        ValueError: It is none, or of another version.
    """
    notes: list[Note] = []
    at = 0
    try:
        while at < len(data):
            note, at = _unpacked(data, at)
            notes.append(note)
    except StructError as error:
        raise ValueError("a message of notes is cut short") from error
    return notes


def _unpacked(data: bytes, at: int) -> tuple[Note, int]:
    version, has_payloads, length, count, items, *lengths, size = _HEAD.unpack_from(data, at)
    if version != _VERSION:
        raise ValueError(f"notes of version {version}")
    at += _HEAD.size
    call_id = data[at : at + length].decode()
    at += length
    names = []
    for each in lengths:
        names.append(data[at : at + each].decode())
        at += each
    printed = Printed(names[0], names[1], size) if names[0] else None
    inputs = [_INPUT.unpack_from(data, at + number * _INPUT.size) for number in range(count)]
    at += count * _INPUT.size
    payloads: list[bytes] = []
    for _ in range(count if has_payloads else 0):
        [size] = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        payloads.append(data[at : at + size])
        at += size
    indices = tuple(index for index, _ in inputs)
    statuses = tuple(Status(status) for _, status in inputs)
    return Note(call_id, indices, statuses, tuple(payloads), items, printed), at
