"""Length-prefixed, authenticated frames on a byte stream. Pure: bytes in, bytes out.

    u32 length of the rest | u8 kind | 16-byte MAC | body

The MAC is keyed BLAKE2b (RFC 7693) over kind, position in the stream and body; its key belongs to
one session and direction, so that frames can be neither forged, replayed, reordered nor moved to
another session. Streams that never leave a machine's own process tree carry no MAC (`key=None`).
"""

from __future__ import annotations

from struct import Struct

from cloudfn.errors import AuthError, RequestSizeError

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


class Encoder:
    """Turns messages of one direction of one session into frames."""

    __slots__ = ("_blake2b", "_key", "_position")

    def __init__(self, key: bytes | None = None) -> None:
        from hashlib import blake2b

        self._blake2b = blake2b
        self._key = key
        self._position = 0

    def secure(self, key: bytes) -> None:
        """Authenticate every frame from here on."""
        self._key = key
        self._position = 0

    def frame(self, kind: int, body: bytes) -> bytes:
        """Return the frame of one message.

        Raises:
            RequestSizeError: The body is larger than a frame may be.
        """
        if len(body) > MAX_FRAME:
            raise RequestSizeError(f"A message of {len(body)} bytes is larger than {MAX_FRAME}.")
        if self._key is None:
            return _HEAD.pack(len(body) + 1, kind) + body
        mac = self._blake2b(
            _POSITION.pack(self._position, kind), key=self._key, digest_size=MAC_SIZE
        )
        mac.update(body)
        self._position += 1
        return b"".join((_HEAD.pack(len(body) + 1 + MAC_SIZE, kind), mac.digest(), body))


class Decoder:
    """Cuts the bytes of one direction of one session into messages, and authenticates them."""

    __slots__ = ("_blake2b", "_buffer", "_key", "_position")

    def __init__(self, key: bytes | None = None) -> None:
        from hashlib import blake2b

        self._blake2b = blake2b
        self._key = key
        self._position = 0
        self._buffer = bytearray()

    def secure(self, key: bytes) -> None:
        """Expect every frame from here on to be authenticated."""
        self._key = key
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def pop(self) -> tuple[int, bytes] | None:
        """Return the next (kind, body), or None until more bytes have arrived.

        Raises:
            AuthError: The frame is not authentic or not a frame; the stream must be closed.
        """
        buffer = self._buffer
        if len(buffer) < _HEAD.size:
            return None
        length, kind = _HEAD.unpack_from(buffer)
        if not 1 <= length <= MAX_FRAME + 1 + MAC_SIZE:
            raise AuthError(f"The stream is damaged: a frame of {length} bytes.")
        end = length + 4
        if len(buffer) < end:
            return None
        start = _HEAD.size
        if self._key is not None:
            start += MAC_SIZE
            if end < start:
                raise AuthError("The stream is damaged: a frame without its MAC.")
        with memoryview(buffer) as view:
            body = bytes(view[start:end])
            mac = bytes(view[_HEAD.size : start])
        del buffer[:end]
        if self._key is not None:
            self._verify(kind, body, mac)
        return kind, body

    def _verify(self, kind: int, body: bytes, mac: bytes) -> None:
        from hmac import compare_digest

        assert self._key is not None
        expected = self._blake2b(
            _POSITION.pack(self._position, kind), key=self._key, digest_size=MAC_SIZE
        )
        expected.update(body)
        self._position += 1
        if not compare_digest(expected.digest(), mac):
            raise AuthError("A message is not authentic.")
