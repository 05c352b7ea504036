"""Secrets in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class MemorySecrets:
    """The `Secrets` port as a dictionary."""

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[dict[str, str], float]] = {}

    def write(self, secret_id: str, values: Mapping[str, str], now: float) -> None:
        self._secrets[secret_id] = dict(values), now

    def read(self, secret_ids: Sequence[str]) -> list[dict[str, str] | None]:
        found = [self._secrets.get(secret_id) for secret_id in secret_ids]
        return [None if each is None else dict(each[0]) for each in found]

    def delete(self, secret_ids: Sequence[str]) -> None:
        for secret_id in secret_ids:
            self._secrets.pop(secret_id, None)

    def list(self) -> dict[str, float]:
        return {secret_id: written for secret_id, (_, written) in self._secrets.items()}

    def close(self) -> None:
        """See the port; memory needs none."""
