"""Secrets in an SQLite file of their own, encrypted with a key of the environment. Thin I/O."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING

from cloudfn.errors import DataLossError
from cloudfn.providers.local.database import Database
from cloudfn.wire.frames import derive_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_TABLES = """
CREATE TABLE secrets (secret_id TEXT PRIMARY KEY, sealed BLOB NOT NULL, written REAL NOT NULL);
"""
_NONCE = 12


class LocalSecrets:
    """The `Secrets` port on one file. A row is sealed with AES-256-GCM and bound to its id.

    Args:
        path: The file.
        key: The environment's key; whoever has it can read everything.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._db = Database(path, (_TABLES,), power_cut=True)
        self._key = derive_key(key, b"secrets")[:32]

    def write(self, secret_id: str, values: Mapping[str, str], now: float) -> None:
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher().encrypt(
            nonce, dumps(dict(values)).encode(), secret_id.encode()
        )
        self._db.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?, ?)", secret_id, sealed, now)

    def read(self, secret_ids: Sequence[str]) -> list[dict[str, str] | None]:
        return [self._read(secret_id) for secret_id in secret_ids]

    def delete(self, secret_ids: Sequence[str]) -> None:
        with self._db.writing():
            for secret_id in secret_ids:
                self._db.execute("DELETE FROM secrets WHERE secret_id = ?", secret_id)

    def list(self) -> dict[str, float]:
        return dict(self._db.rows("SELECT secret_id, written FROM secrets ORDER BY rowid"))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()

    def _read(self, secret_id: str) -> dict[str, str] | None:
        rows = self._db.rows("SELECT sealed FROM secrets WHERE secret_id = ?", secret_id)
        if not rows:
            return None
        sealed = rows[0][0]
        from cryptography.exceptions import InvalidTag

        try:
            text = self._cipher().decrypt(sealed[:_NONCE], sealed[_NONCE:], secret_id.encode())
        except InvalidTag:
            raise DataLossError(
                f"A secret in {self._path} cannot be decrypted: it is damaged, or the key of the "
                "environment is another one.",
                hint="Put the old file `key` back, or create the secret again.",
            ) from None
        values: dict[str, str] = loads(text)
        return values

    def _cipher(self) -> AESGCM:
        # Imported here: most daemons never see a secret.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)
