"""What a map with `resume=` does beyond others: it sends digests, and not what the engine has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cloudfn.errors import ConflictError
from cloudfn.model.names import check_characters, check_name
from cloudfn.sdk.client import Welcome
from cloudfn.wire.messages import DIGEST, BlobRef, is_blob


def check_resume(name: object) -> None:
    """Raise InvalidError unless a map's `resume` is a name, or None."""
    if name is not None:
        check_characters("map", check_name("map", name))


class Stamps:
    """Puts before each payload its digest, and leaves out what the engine has.

    Args:
        name: The name of the map.
        told: What the engine knows of it.
        welcome: Where blobs live.
    """

    def __init__(self, name: str, told: dict[str, Any], welcome: Welcome) -> None:
        self._name = name
        self._settled: list[list[int]] = list(reversed(told["settled"]))
        self._count: int = told["count"]
        self._welcome = welcome

    def stamped(self, first: int, payloads: Sequence[bytes]) -> list[bytes]:
        """Return what is sent for inputs from `first` on; they come in order."""
        return [self._stamp(index, payload) for index, payload in enumerate(payloads, first)]

    def check_end(self, count: int) -> None:
        """Raise ConflictError where the map had more inputs than it has now."""
        if count < self._count:
            raise ConflictError(
                f"The inputs of the map {self._name!r} differ from those that it was begun with: "
                f"there are only {count} now, and there were {self._count}.",
                hint="Give this one another name, or forget the old one: "
                f"`cloudfn call drop {self._name}`.",
            )

    def _stamp(self, index: int, payload: bytes) -> bytes:
        if not is_blob(payload):
            digest = _digest(payload)
            return digest if self._is_settled(index) else digest + payload
        blob = BlobRef.decode(payload)
        top = self._welcome.durable if blob.durable else self._welcome.fast
        path = os.path.join(top, blob.name)
        digest = _digest_of_file(path)
        if self._is_settled(index):
            os.unlink(path)
            return digest
        return digest + payload

    def _is_settled(self, index: int) -> bool:
        while self._settled and self._settled[-1][1] < index:
            self._settled.pop()
        return bool(self._settled) and self._settled[-1][0] <= index


def _digest(data: bytes) -> bytes:
    from hashlib import blake2b

    return blake2b(data, digest_size=DIGEST).digest()


def _digest_of_file(path: str) -> bytes:
    from hashlib import blake2b, file_digest

    with open(path, "rb", buffering=0) as file:
        return file_digest(file, lambda: blake2b(digest_size=DIGEST)).digest()
