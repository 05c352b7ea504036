"""Payloads that stores take in: small ones as they are, big ones as blobs of the object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cloudfn.errors import InvalidError, RequestSizeError
from cloudfn.wire.messages import BlobRef, is_blob

#: bytes of payloads in one answer, well below the size of a frame
ANSWER_SIZE = 16 << 20


class StoreBlobs(Protocol):
    """What stores need of blobs; see `Blobs`."""

    def adopt(self, ref: BlobRef, call_id: str, *, durable: bool) -> BlobRef:
        """Make a client's payload one of an object's; return its new reference."""
        ...

    def delete(self, ref: BlobRef) -> None:
        """Delete a payload. Idempotent."""
        ...

    def delete_call(self, call_id: str) -> None:
        """Delete all payloads of an object. Idempotent."""
        ...


class Intake:
    """Brings payloads of clients into the possession of an object.

    Args:
        blobs: Where big ones lie.
        limit: Bytes that one may have.
        what: What one is, for the text of an error.
        hint: What to do about one that is larger.
    """

    def __init__(self, blobs: StoreBlobs, limit: int, what: str, hint: str) -> None:
        self._blobs = blobs
        self._limit = limit
        self._what = what
        self._hint = hint

    def take_in(self, object_id: str, payloads: Iterable[bytes]) -> list[bytes]:
        """Return the payloads as they are to be stored. Idempotent.

        Raises:
            RequestSizeError: One is too large.
            DataLossError: The blob of one is not there.
        """
        payloads = list(payloads)
        for payload in payloads:
            size = BlobRef.decode(payload).size if is_blob(payload) else len(payload)
            if size > self._limit:
                raise RequestSizeError(
                    f"{self._what} takes {size} bytes as a pickle; {self._limit} are allowed.",
                    hint=self._hint,
                )
        return [self._adopted(object_id, payload) for payload in payloads]

    def delete(self, payloads: Iterable[bytes]) -> None:
        """Delete the blobs of payloads that are not stored after all, or no more. Idempotent."""
        for payload in payloads:
            if is_blob(payload):
                self._blobs.delete(BlobRef.decode(payload))

    def _adopted(self, object_id: str, payload: bytes) -> bytes:
        if not is_blob(payload):
            return payload
        ref = BlobRef.decode(payload)
        if not ref.durable:
            raise InvalidError("What a store keeps cannot lie in memory.")
        # Like the rest of the store it survives this process; a power cut takes what is not synced.
        return self._blobs.adopt(ref, object_id, durable=False).encode()
