"""Length-prefixed, authenticated frames on a byte stream. Pure: bytes in, bytes out.

    u32 length of the rest | u8 kind | 16-byte MAC | body

The MAC is keyed BLAKE2b (RFC 7693) over kind, position in the stream and body; its key belongs to
one session and direction, so that frames can be neither forged, replayed, reordered nor moved to
another session. Streams that never leave a machine's own process tree carry no MAC (`key=None`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from cloudfn.errors import AuthError, RequestSizeError

if TYPE_CHECKING:
    from hashlib import blake2b

MAX_FRAME = 64 << 20
MAC_SIZE = 16
KEY_SIZE = 32
_HEAD = Struct("<IB")
_POSITION = Struct("<QB")


def derive_key(key: bytes, purpose: bytes, *parts: bytes) -> bytes:
    """Return a key for one purpose (at most 16 bytes), derived from `key` and the parts."""
    # Imported here: a program that never connects does not pay for it.
    from hashlib import blake2b

    state = blake2b(key=key, digest_size=KEY_SIZE, person=purpose)
    for part in parts:
        state.update(len(part).to_bytes(4, "big") + part)
    return state.digest()


def _blank_mac(key: bytes) -> blake2b:
    """Return the state that every MAC of a direction begins with; copied, it saves the set-up."""
    from hashlib import blake2b

    return blake2b(key=key, digest_size=MAC_SIZE)


class Encoder:
    """Turns messages of one direction of one session into frames."""

    __slots__ = ("_blank", "_position")

    def __init__(self, key: bytes | None = None) -> None:
        self._blank = None if key is None else _blank_mac(key)
        self._position = 0

    def secure(self, key: bytes) -> None:
        """Authenticate every frame from here on."""
        self._blank = _blank_mac(key)
        self._position = 0

    def frame(self, kind: int, body: bytes) -> bytes:
        """Return the frame of one message.

        Raises:
            RequestSizeError: The body is larger than a frame may be.
        """
        if len(body) > MAX_FRAME:
            raise RequestSizeError(f"A message of {len(body)} bytes is larger than {MAX_FRAME}.")
        if self._blank is None:
            return _HEAD.pack(len(body) + 1, kind) + body
        mac = self._blank.copy()
        mac.update(_POSITION.pack(self._position, kind))
        mac.update(body)
        self._position += 1
        return b"".join((_HEAD.pack(len(body) + 1 + MAC_SIZE, kind), mac.digest(), body))


class Decoder:
    """Cuts the bytes of one direction of one session into messages, and authenticates them."""

    __slots__ = ("_at", "_blank", "_data", "_position", "_same")

    def __init__(self, key: bytes | None = None) -> None:
        from hmac import compare_digest

        self._same = compare_digest
        self._blank = None if key is None else _blank_mac(key)
        self._position = 0
        #: what arrived, and how much of it is cut off already
        self._data: bytes | bytearray = b""
        self._at = 0

    def secure(self, key: bytes) -> None:
        """Expect every frame from here on to be authenticated."""
        self._blank = _blank_mac(key)
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        if self._at == len(self._data):
            # Nearly always: whoever sends, sends whole frames.
            self._data = data
        elif isinstance(self._data, bytearray):
            del self._data[: self._at]
            self._data += data
        else:
            self._data = bytearray(self._data[self._at :]) + data
        self._at = 0

    def pop(self) -> tuple[int, bytes] | None:
        """Return the next (kind, body), or None until more bytes have arrived.

        Raises:
            AuthError: The frame is not authentic or not a frame; the stream must be closed.
        """
        data, at = self._data, self._at
        start = at + _HEAD.size
        if len(data) < start:
            return None
        length, kind = _HEAD.unpack_from(data, at)
        if not 1 <= length <= MAX_FRAME + 1 + MAC_SIZE:
            raise AuthError(f"The stream is damaged: a frame of {length} bytes.")
        end = at + 4 + length
        if len(data) < end:
            return None
        self._at = end
        if self._blank is None:
            return kind, _piece(data, start, end)
        middle = start + MAC_SIZE
        if end < middle:
            raise AuthError("The stream is damaged: a frame without its MAC.")
        body = _piece(data, middle, end)
        mac = self._blank.copy()
        mac.update(_POSITION.pack(self._position, kind))
        mac.update(body)
        self._position += 1
        if not self._same(mac.digest(), data[start:middle]):
            raise AuthError("A message is not authentic.")
        return kind, body


def _piece(data: bytes | bytearray, start: int, end: int) -> bytes:
    """Return a slice as bytes, copied once."""
    return data[start:end] if isinstance(data, bytes) else bytes(memoryview(data)[start:end])
