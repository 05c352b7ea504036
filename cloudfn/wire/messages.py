"""The messages between client and daemon, and between agent and container. Pure.

Messages on the hot path are packed in columns, so that a hundred inputs cost one unpacking;
everything else is JSON. Every `decode` raises DataLossError for bytes that are no such message. See
`docs/protocol.md` for who says what when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import cache
from itertools import accumulate, pairwise
from struct import Struct, pack, unpack_from
from struct import error as struct_error
from typing import Any, NamedTuple

from cloudfn.errors import DataLossError

#: bumped when an older side would misunderstand; a daemon serves the previous one as well
PROTOCOL = 1
#: payloads from this size on go through blobs
INLINE_LIMIT = 64 << 10
#: items of a generator that may be under way to its reader, and bytes after which none is added
WINDOW_ITEMS = 64
WINDOW_BYTES = 8 << 20
#: pickles start with 0x80, so a payload that starts with this byte is a reference to a blob
BLOB_MARK = b"\x01"
#: status byte of a container's outcome: RAISED, and the function's retries give up on such ones
RAISED_FINAL = 0x83
#: bytes of the digest that comes before each input of a named call
DIGEST = 16
#: exit status of a container whose channels are gone
CHANNEL_LOST = 70


class Kind(IntEnum):
    """What a frame between client and daemon carries."""

    HELLO = 1
    WELCOME = 2
    REQUEST = 3
    REPLY = 4
    SUBMIT = 5
    ACK = 6
    OUTCOMES = 7
    DELIVERED = 8
    LOGS = 9
    EVENT = 10
    ITEMS = 11
    TAKEN = 12


class ContainerKind(IntEnum):
    """What a message between agent and container carries."""

    RUN = 1
    OUTCOME = 2
    LOG = 3
    READY = 4
    BROKEN = 5
    #: like RUN, of an input whose result must survive a power cut
    RUN_DURABLE = 6
    ITEM = 7
    #: run several inputs in one call; a file with their payloads is attached
    RUN_BATCH = 16
    #: the container takes that many inputs at once from now on
    SLOTS = 17
    #: it was interrupted: it takes no input more, and what it holds has no outcome
    LEAVING = 8
    #: answer a request: `seq` names the visit, a socket for its events is attached
    VISIT = 24
    #: a visit is over its time
    END_VISIT = 25
    #: the container takes no further inputs, and leaves when those that it has have ended
    DRAIN = 18


class LogSource(IntEnum):
    """Where a piece of output came from."""

    STDOUT = 1
    STDERR = 2
    SYSTEM = 3


_SUBMIT = Struct("<IIIBI")
_SUBMIT_OPEN = 1
_SUBMIT_SEAL = 2
_SUBMIT_PLAIN = 4
_PLAIN_HEADER = Struct("<BQB")
_PLAIN_KEYS = frozenset({"call", "function", "kind", "parent"})
_ACK = Struct("<IIB")
_ACK_REFUSED = 1
_COLUMNS = Struct("<II")
_RUN = Struct("<BQI")
_RUN_PLAIN, _RUN_DURABLE = int(ContainerKind.RUN), int(ContainerKind.RUN_DURABLE)
_OUTCOME = Struct("<QIBI")
_LOG = Struct("<QB")
_ITEMS = Struct("<III")
_TAKEN = Struct("<II")
_ITEM = Struct("<QII")
_BLOB = Struct("<cBQ")


def encode_json(value: dict[str, Any]) -> bytes:
    """Return a message of plain data as bytes."""
    return _json_encoder()(value).encode()


@cache
def _json_encoder() -> Callable[[Any], str]:
    # `dumps` with separators makes a new encoder for every message.
    from json import JSONEncoder

    return JSONEncoder(separators=(",", ":")).encode


def decode_json(body: bytes) -> dict[str, Any]:
    """Return the message that `encode_json` wrote.

    Raises:
        DataLossError: It is no JSON object.
    """
    from json import loads

    try:
        value = loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DataLossError("A message is not a JSON object.")
    return value


class Submit(NamedTuple):
    """Inputs `first` … of a call. `header` opens the call and comes with its first message."""

    #: the client's number for the call on this connection
    ref: int
    first: int
    payloads: Sequence[bytes]
    header: dict[str, Any] | None = None
    #: no input follows these
    sealed: bool = False

    def encode(self) -> bytes:
        """Return the message as bytes."""
        header, flags = b"", _SUBMIT_SEAL if self.sealed else 0
        if self.header is not None:
            # Every `.remote` opens a call, so the usual header has a form without JSON.
            plain = self.header.keys() == _PLAIN_KEYS
            header = _pack_header(self.header) if plain else encode_json(self.header)
            flags |= _SUBMIT_PLAIN if plain else _SUBMIT_OPEN
        count = len(self.payloads)
        head = _SUBMIT.pack(self.ref, self.first, count, flags, len(header))
        lengths = pack(f"<{count}I", *map(len, self.payloads))
        return b"".join((head, header, lengths, *self.payloads))

    @classmethod
    def decode(cls, body: bytes) -> Submit:
        """Return the message that `encode` wrote."""
        ref, first, count, flags, header_size = _read(_SUBMIT, body)
        start = _SUBMIT.size + header_size
        header = None
        if flags & _SUBMIT_PLAIN:
            header = _unpack_header(body[_SUBMIT.size : start])
        elif flags & _SUBMIT_OPEN:
            header = decode_json(body[_SUBMIT.size : start])
        payloads = _cut(body, start, count)
        return cls(ref, first, payloads, header, bool(flags & _SUBMIT_SEAL))


def _pack_header(header: dict[str, Any]) -> bytes:
    call: bytes = header["call"].encode()
    function: bytes = header["function"].encode()
    return _PLAIN_HEADER.pack(header["kind"], header["parent"] or 0, len(call)) + call + function


def _unpack_header(data: bytes) -> dict[str, Any]:
    kind, parent, length = _read(_PLAIN_HEADER, data)
    start = _PLAIN_HEADER.size
    end = start + length
    try:
        call, function = data[start:end].decode(), data[end:].decode()
    except UnicodeDecodeError:
        raise DataLossError("The header of a call is no text.") from None
    return {"call": call, "function": function, "kind": kind, "parent": parent or None}


class Ack(NamedTuple):
    """The engine keeps inputs 0 … `known` − 1 of the call; `refused`: a limit stopped the rest."""

    ref: int
    known: int
    refused: bool = False

    def encode(self) -> bytes:
        """Return the message as bytes."""
        return _ACK.pack(self.ref, self.known, _ACK_REFUSED if self.refused else 0)

    @classmethod
    def decode(cls, body: bytes) -> Ack:
        """Return the message that `encode` wrote."""
        ref, known, flags = _read(_ACK, body)
        return cls(ref, known, bool(flags & _ACK_REFUSED))


class Outcomes(NamedTuple):
    """Outcomes of some inputs of a call, in columns of equal length."""

    ref: int
    indices: Sequence[int]
    statuses: Sequence[int]
    payloads: Sequence[bytes]

    def encode(self) -> bytes:
        """Return the message as bytes."""
        count = len(self.indices)
        columns = pack(f"<{count}I", *self.indices), bytes(self.statuses)
        lengths = pack(f"<{count}I", *map(len, self.payloads))
        return b"".join((_COLUMNS.pack(self.ref, count), *columns, lengths, *self.payloads))

    @classmethod
    def decode(cls, body: bytes) -> Outcomes:
        """Return the message that `encode` wrote."""
        ref, count = _read(_COLUMNS, body)
        start = _COLUMNS.size
        if len(body) < start + 9 * count:
            raise _cut_short()
        indices = unpack_from(f"<{count}I", body, start)
        statuses = body[start + 4 * count : start + 5 * count]
        return cls(ref, indices, statuses, _cut(body, start + 5 * count, count))


class Delivered(NamedTuple):
    """The client has the outcomes of these inputs and needs them no more."""

    ref: int
    indices: Sequence[int]

    def encode(self) -> bytes:
        """Return the message as bytes."""
        count = len(self.indices)
        return _COLUMNS.pack(self.ref, count) + pack(f"<{count}I", *self.indices)

    @classmethod
    def decode(cls, body: bytes) -> Delivered:
        """Return the message that `encode` wrote."""
        ref, count = _read(_COLUMNS, body)
        if len(body) < _COLUMNS.size + 4 * count:
            raise _cut_short()
        return cls(ref, unpack_from(f"<{count}I", body, _COLUMNS.size))


class Run(NamedTuple):
    """Run one input; `seq` and `fence` name the claim and come back with the outcome."""

    seq: int
    fence: int
    payload: bytes
    durable: bool = False

    def encode(self) -> bytes:
        """Return the packet."""
        return encode_run(*self)

    @classmethod
    def decode(cls, packet: bytes) -> Run:
        """Return the message that `encode` wrote."""
        kind, seq, fence = _read(_RUN, packet)
        return cls(seq, fence, packet[_RUN.size :], kind == ContainerKind.RUN_DURABLE)


def encode_run(seq: int, fence: int, payload: bytes, durable: bool) -> bytes:  # noqa: FBT001
    """Return the packet of a `Run` that need not be made for it; there is one for each input."""
    return _RUN.pack(_RUN_DURABLE if durable else _RUN_PLAIN, seq, fence) + payload


class RunBatch(NamedTuple):
    """Run inputs in one call, in columns of equal length; their payloads come in a file."""

    seqs: Sequence[int]
    fences: Sequence[int]
    durable: Sequence[bool]
    #: of the payloads, which lie one after the other
    lengths: Sequence[int]

    def encode(self) -> bytes:
        """Return the packet."""
        count = len(self.seqs)
        head = _RUN.pack(ContainerKind.RUN_BATCH, count, 0)
        return b"".join(
            (
                head,
                pack(f"<{count}Q", *self.seqs),
                pack(f"<{2 * count}I", *self.fences, *self.lengths),
                bytes(self.durable),
            )
        )

    @classmethod
    def decode(cls, packet: bytes) -> RunBatch:
        """Return the message that `encode` wrote."""
        _, count, _ = _read(_RUN, packet)
        start = _RUN.size
        if len(packet) != start + 17 * count:
            raise _cut_short()
        seqs = unpack_from(f"<{count}Q", packet, start)
        numbers = unpack_from(f"<{2 * count}I", packet, start + 8 * count)
        durable = [bool(each) for each in packet[start + 16 * count :]]
        return cls(seqs, numbers[:count], durable, numbers[count:])


def claims_in(packet: bytes) -> Sequence[int]:
    """Return the numbers of the inputs in a packet to a container."""
    if packet[0] == ContainerKind.RUN_BATCH:
        return RunBatch.decode(packet).seqs
    return (Run.decode(packet).seq,)


class Visit(NamedTuple):
    """Answer one request, whose socket comes with the packet; or, without one, end that visit."""

    number: int
    ends: bool = False

    def encode(self) -> bytes:
        """Return the packet."""
        kind = ContainerKind.END_VISIT if self.ends else ContainerKind.VISIT
        return _RUN.pack(kind, self.number, 0)

    @classmethod
    def decode(cls, packet: bytes) -> Visit:
        """Return the message that `encode` wrote."""
        kind, number, _ = _read(_RUN, packet)
        return cls(number, kind == ContainerKind.END_VISIT)


class ContainerOutcome(NamedTuple):
    """How one attempt ended, and how many microseconds it took."""

    seq: int
    fence: int
    status: int
    micros: int
    payload: bytes

    def encode(self) -> bytes:
        """Return the message as bytes."""
        micros = min(self.micros, 0xFFFFFFFF)
        return _OUTCOME.pack(self.seq, self.fence, self.status, micros) + self.payload

    @classmethod
    def decode(cls, data: bytes, start: int = 0, end: int | None = None) -> ContainerOutcome:
        """Return the message that `encode` wrote, from where it lies in `data`."""
        seq, fence, status, micros = _read(_OUTCOME, data, start)
        return cls(seq, fence, status, micros, data[start + _OUTCOME.size : end])


class Log(NamedTuple):
    """Output of a container; `seq` is the input that ran, 0 for none."""

    seq: int
    source: int
    data: bytes

    def encode(self) -> bytes:
        """Return the message as bytes."""
        return _LOG.pack(self.seq, self.source) + self.data

    @classmethod
    def decode(cls, body: bytes) -> Log:
        """Return the message that `encode` wrote."""
        seq, source = _read(_LOG, body)
        return cls(seq, source, body[_LOG.size :])


class Items(NamedTuple):
    """What a generator yielded, from the item at position `first` on, in its order."""

    ref: int
    first: int
    payloads: Sequence[bytes]

    def encode(self) -> bytes:
        """Return the message as bytes."""
        count = len(self.payloads)
        lengths = pack(f"<{count}I", *map(len, self.payloads))
        return b"".join((_ITEMS.pack(self.ref, self.first, count), lengths, *self.payloads))

    @classmethod
    def decode(cls, body: bytes) -> Items:
        """Return the message that `encode` wrote."""
        ref, first, count = _read(_ITEMS, body)
        return cls(ref, first, _cut(body, _ITEMS.size, count))


class Taken(NamedTuple):
    """The client's user has items 0 … `end` − 1 of the call."""

    ref: int
    end: int

    def encode(self) -> bytes:
        """Return the message as bytes."""
        return _TAKEN.pack(self.ref, self.end)

    @classmethod
    def decode(cls, body: bytes) -> Taken:
        """Return the message that `encode` wrote."""
        return cls(*_read(_TAKEN, body))


class ContainerItem(NamedTuple):
    """What a generator yielded in a container: the item at `position`, counted from 0."""

    seq: int
    fence: int
    position: int
    payload: bytes

    def encode(self) -> bytes:
        """Return the message as bytes."""
        return _ITEM.pack(self.seq, self.fence, self.position) + self.payload

    @classmethod
    def decode(cls, body: bytes) -> ContainerItem:
        """Return the message that `encode` wrote."""
        seq, fence, position = _read(_ITEM, body)
        return cls(seq, fence, position, body[_ITEM.size :])


class ContainerTaken(NamedTuple):
    """Items 0 … `end` − 1 of a claim are wanted no more; it travels without a head."""

    seq: int
    fence: int
    end: int

    def encode(self) -> bytes:
        """Return the message as bytes, always `TAKEN_SIZE` of them."""
        return _ITEM.pack(self.seq, self.fence, self.end)

    @classmethod
    def decode(cls, body: bytes) -> ContainerTaken:
        """Return the message that `encode` wrote."""
        return cls(*_read(_ITEM, body))


#: bytes of a ContainerTaken, which is the only message in its direction
TAKEN_SIZE = _ITEM.size


class StreamEnd(NamedTuple):
    """What the input of a generator returns: how many items there were."""

    length: int


class BlobRef(NamedTuple):
    """A payload that lies in a blob: bound to its name and size by the MAC of its frame."""

    name: str
    size: int
    #: whether it survives a power cut; others may live in memory
    durable: bool

    def encode(self) -> bytes:
        """Return the payload that stands for the blob."""
        return _BLOB.pack(BLOB_MARK, self.durable, self.size) + self.name.encode()

    @classmethod
    def decode(cls, payload: bytes) -> BlobRef:
        """Return the reference that a payload starting with `BLOB_MARK` is."""
        _, durable, size = _read(_BLOB, payload)
        try:
            name = payload[_BLOB.size :].decode()
        except UnicodeDecodeError:
            raise DataLossError("The name of a blob is no text.") from None
        return cls(name, size, bool(durable))


def is_blob(payload: bytes) -> bool:
    """Whether the payload only refers to a blob."""
    return payload[:1] == BLOB_MARK


def payload_size(payload: bytes) -> int:
    """Return the bytes that a payload stands for."""
    return BlobRef.decode(payload).size if is_blob(payload) else len(payload)


def _read(form: Struct, body: bytes, start: int = 0) -> tuple[Any, ...]:
    """Return the fields at the start of a message."""
    try:
        return form.unpack_from(body, start)
    except struct_error:
        raise _cut_short() from None


def _cut_short() -> DataLossError:
    return DataLossError("A message is cut short.")


def _cut(body: bytes, start: int, count: int) -> list[bytes]:
    """Return `count` byte strings whose lengths stand as a column at `start`, before them."""
    data = start + 4 * count
    if len(body) < data:
        raise _cut_short()
    if count == 1 and int.from_bytes(body[start:data], "little") == len(body) - data:
        return [body[data:]]
    ends = list(accumulate(unpack_from(f"<{count}I", body, start), initial=data))
    if ends[-1] != len(body):
        raise DataLossError("The lengths in a message do not add up.")
    return [body[begin:end] for begin, end in pairwise(ends)]
