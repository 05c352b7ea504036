"""The port for secrets: variables that nobody sees but the containers that are to have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Secrets(Protocol):
    """Variables by the id of their secret, encrypted wherever they rest.

    Every write survives a power cut when the method returns.
    """

    def write(self, secret_id: str, values: Mapping[str, str], now: float) -> None:
        """Replace the variables of a secret."""
        ...

    def read(self, secret_ids: Sequence[str]) -> list[dict[str, str] | None]:
        """Return the variables of secrets; None for those that are not there.

        Raises:
            DataLossError: What is stored cannot be decrypted with this environment's key.
        """
        ...

    def delete(self, secret_ids: Sequence[str]) -> None:
        """Delete secrets. Idempotent."""
        ...

    def list(self) -> dict[str, float]:
        """Return the ids of all secrets, and when each was written."""
        ...

    def close(self) -> None:
        """Give the store back. Idempotent."""
        ...
