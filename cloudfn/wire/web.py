"""ASGI events as frames, between the gateway and a container: one private socket per request.

A frame is a head (which field is raw bytes, sizes), the event as JSON, and the raw field. Bytes
within the JSON, as in headers, stand as `{"b": latin-1 text}`. Pure but for `read_event`, which
awaits the bytes. Nothing here is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import TYPE_CHECKING, Any

from cloudfn.errors import DataLossError

if TYPE_CHECKING:
    from asyncio import StreamReader

Event = dict[str, Any]

_HEAD = Struct("<BII")
#: fields of events that travel as they are
_RAW = ("", "body", "bytes", "text")
#: the longest JSON and the longest raw field of one event, in bytes
_MAX_JSON = 1 << 20
MAX_RAW = 16 << 20
#: bodies travel in pieces of this size, so that neither side holds more than a few of them
PIECE = 64 << 10


def encode_event(event: Mapping[str, Any]) -> bytes:
    """Return an event as a frame.

    Raises:
        InvalidError: It holds something that is neither plain data nor bytes, or too much.
    """
    from json import dumps

    from cloudfn.errors import InvalidError

    raw, field = b"", 0
    for index, name in enumerate(_RAW):
        value = event.get(name)
        if isinstance(value, bytes | bytearray | memoryview):
            raw, field = bytes(value), index
        elif name == "text" and isinstance(value, str):
            raw, field = value.encode(), index
    rest = {name: value for name, value in event.items() if name != _RAW[field]}
    try:
        text = dumps(rest, default=_plain, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidError(f"The ASGI event {event.get('type')} cannot be sent: {error}.") from None
    if len(text) > _MAX_JSON or len(raw) > MAX_RAW:
        raise InvalidError(
            f"The ASGI event {event.get('type')} is too large.",
            hint=f"Headers may take {_MAX_JSON >> 20} MiB, one message {MAX_RAW >> 20} MiB.",
        )
    return b"".join((_HEAD.pack(field, len(text), len(raw)), text, raw))


async def read_event(reader: StreamReader) -> Event | None:
    """Return the next event; None when the other side has closed or broken off.

    Raises:
        DataLossError: What came is no event.
    """
    from asyncio import IncompleteReadError

    try:
        field, size, raw_size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if size > _MAX_JSON or raw_size > MAX_RAW or field >= len(_RAW):
            raise DataLossError("A web event is damaged.")
        text = await reader.readexactly(size)
        raw = await reader.readexactly(raw_size)
    except (IncompleteReadError, OSError):
        return None
    return _decoded(text, _RAW[field], raw)


def _decoded(text: bytes, field: str, raw: bytes) -> Event:
    from json import loads

    try:
        event = loads(text, object_hook=_with_bytes)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise DataLossError("A web event is damaged.")
    if field == "text":
        event[field] = raw.decode(errors="replace")
    elif field:
        event[field] = raw
    return event


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"b": bytes(value).decode("latin-1")}
    if isinstance(value, set | frozenset):
        return sorted(value)
    # Frameworks hand over lazy sequences of headers.
    if hasattr(value, "__iter__"):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not plain data")


def _with_bytes(value: dict[str, Any]) -> Any:
    if len(value) == 1 and isinstance(text := value.get("b"), str):
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(text) from None
    return value
