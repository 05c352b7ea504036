"""MACs of what rests in places that others can write to: nothing is unpickled without one.

Inputs are sealed by clients and results by agents, under keys of their own, so that neither passes
for the other; containers hold none of them.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cloudfn.errors import DataLossError
from cloudfn.wire.frames import derive_key

#: bytes that a seal adds
SEAL = 32


class Seals(Protocol):
    """Seals and opens, under one key."""

    def seal(self, data: bytes, *context: str) -> bytes:
        """Return `data` with a MAC over it and over where it belongs."""
        ...

    def open(self, sealed: bytes, *context: str) -> bytes:
        """Return what was sealed for the same context.

        Raises:
            DataLossError: It was not, or was changed since.
        """
        ...


@dataclass(frozen=True, slots=True, repr=False)
class _Keyed:
    """Seals under a key that is there.

    Args:
        key: 32 bytes; see `input_seals` and `result_seals`.
    """

    key: bytes

    def seal(self, data: bytes, *context: str) -> bytes:
        return self._mac(data, context) + data

    def open(self, sealed: bytes, *context: str) -> bytes:
        mac, data = sealed[:SEAL], sealed[SEAL:]
        if not hmac.compare_digest(mac, self._mac(data, context)):
            where = " ".join(context)
            raise DataLossError(
                f"Stored data is not authentic ({where}).",
                hint="It was changed by somebody who lacks this environment's key.",
            )
        return data

    def _mac(self, data: bytes, context: tuple[str, ...]) -> bytes:
        mac = hmac.new(self.key, digestmod=sha256)
        for part in context:
            encoded = part.encode()
            mac.update(len(encoded).to_bytes(4, "big") + encoded)
        mac.update(data)
        return mac.digest()


def input_seals(environment_key: bytes) -> Seals:
    """Return what clients seal inputs with."""
    return _Keyed(derive_key(environment_key, b"inputs"))


def result_seals(environment_key: bytes) -> Seals:
    """Return what agents seal results with."""
    return _Keyed(derive_key(environment_key, b"results"))


@dataclass(frozen=True, slots=True)
class DeferredSeals:
    """Seals whose key is asked for when something is to be sealed or opened, and not before.

    Args:
        make: Gives the seals; asked each time.
    """

    make: Callable[[], Seals]

    def seal(self, data: bytes, *context: str) -> bytes:
        """See `Seals`."""
        return self.make().seal(data, *context)

    def open(self, sealed: bytes, *context: str) -> bytes:
        """See `Seals`."""
        return self.make().open(sealed, *context)
