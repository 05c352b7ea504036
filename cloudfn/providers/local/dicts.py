"""What dicts hold, in an SQLite file of their own. Thin I/O."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloudfn.providers.dicts import DictEntry
from cloudfn.providers.local.database import Database
from cloudfn.wire.messages import is_blob

_TABLES = """
CREATE TABLE entries (
    position INTEGER PRIMARY KEY AUTOINCREMENT, dict TEXT NOT NULL, key BLOB NOT NULL,
    value BLOB NOT NULL, until REAL NOT NULL, UNIQUE (dict, key)
);
CREATE INDEX by_time ON entries (until);
CREATE TABLE answers (
    request TEXT NOT NULL, number INTEGER NOT NULL, value BLOB, at REAL NOT NULL,
    PRIMARY KEY (request, number)
) WITHOUT ROWID;
CREATE INDEX answers_by_time ON answers (at);
CREATE TABLE blobs (value BLOB NOT NULL, at REAL NOT NULL);
"""
#: a read moves the end of an entry's life by no less than this part of it: most reads write nothing
_GRAIN = 0.01
_YES, _NO = b"\1", b"\0"


class SqliteDicts:
    """The `Dicts` port on one file.

    Args:
        path: The file.
        ttl: Seconds that an entry is kept after it was last read or written.
    """

    def __init__(self, path: Path, ttl: float) -> None:
        self._db = Database(path, (_TABLES,), power_cut=False)
        self._ttl = ttl

    def get(self, dict_id: str, keys: Sequence[bytes], now: float) -> list[bytes | None]:
        values: list[bytes | None] = []
        read: list[tuple[float, int]] = []
        for key in keys:
            rows = self._db.rows(
                "SELECT value, position, until FROM entries "
                "WHERE dict = ? AND key = ? AND until > ?",
                dict_id,
                key,
                now,
            )
            values.append(rows[0][0] if rows else None)
            if rows and now + self._ttl - rows[0][2] > self._ttl * _GRAIN:
                read.append((now + self._ttl, rows[0][1]))
        if read:
            with self._db.writing():
                self._db.execute_many("UPDATE entries SET until = ? WHERE position = ?", read)
        return values

    def put(
        self,
        dict_id: str,
        entries: Sequence[tuple[bytes, bytes]],
        *,
        skip_existing: bool,
        request: str,
        now: float,
    ) -> list[bool]:
        with self._db.writing():
            known = self._answer(request)
            if known is not None:
                return [value == _YES for value in known]
            written = [
                self._put(dict_id, key, value, skip_existing=skip_existing, now=now)
                for key, value in entries
            ]
            self._remember(request, [_YES if each else _NO for each in written], now)
        return written

    def pop(
        self, dict_id: str, keys: Sequence[bytes] | None, *, request: str, now: float
    ) -> list[bytes | None]:
        with self._db.writing():
            known = self._answer(request)
            if known is not None:
                return known if keys is not None else []
            if keys is None:
                self._drop("dict = ?", dict_id, now=now)
                self._remember(request, [None], now)
                return []
            values = [self._pop(dict_id, key, now) for key in keys]
            self._remember(request, values, now)
        return values

    def scan(self, dict_id: str, after: int, limit: int, size: int, now: float) -> list[DictEntry]:
        rows = self._db.rows(
            "SELECT position, key, value FROM entries "
            "WHERE dict = ? AND position > ? AND until > ? ORDER BY position LIMIT ?",
            dict_id,
            after,
            now,
            limit,
        )
        found: list[DictEntry] = []
        for position, key, value in rows:
            size -= len(key) + len(value)
            if found and size < 0:
                break
            found.append(DictEntry(position, key, value))
        return found

    def count(self, dict_id: str, now: float) -> int:
        query = "SELECT COUNT(*) FROM entries WHERE dict = ? AND until > ?"
        return int(self._db.rows(query, dict_id, now)[0][0])

    def expire(self, now: float, patience: float) -> list[bytes]:
        with self._db.writing():
            self._drop("until <= ?", now, now=now)
            self._db.execute("DELETE FROM answers WHERE at <= ?", now - patience)
            blobs = self._db.rows("SELECT value FROM blobs WHERE at <= ?", now - patience)
            self._db.execute("DELETE FROM blobs WHERE at <= ?", now - patience)
        return [value for (value,) in blobs]

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()

    # How

    def _put(
        self, dict_id: str, key: bytes, value: bytes, *, skip_existing: bool, now: float
    ) -> bool:
        query = "SELECT position, value, until FROM entries WHERE dict = ? AND key = ?"
        rows = self._db.rows(query, dict_id, key)
        until = now + self._ttl
        if not rows:
            self._db.execute(
                "INSERT INTO entries (dict, key, value, until) VALUES (?, ?, ?, ?)",
                dict_id,
                key,
                value,
                until,
            )
            return True
        position, old, old_until = rows[0]
        if skip_existing and old_until > now:
            return False
        self._discard(old, now)
        self._db.execute(
            "UPDATE entries SET value = ?, until = ? WHERE position = ?", value, until, position
        )
        return True

    def _pop(self, dict_id: str, key: bytes, now: float) -> bytes | None:
        query = "SELECT value, until FROM entries WHERE dict = ? AND key = ?"
        rows = self._db.rows(query, dict_id, key)
        if not rows:
            return None
        value, until = rows[0]
        self._drop("dict = ? AND key = ?", dict_id, key, now=now)
        return bytes(value) if until > now else None

    def _drop(self, which: str, *values: object, now: float) -> None:
        for (value,) in self._db.rows(
            f"DELETE FROM entries WHERE {which} RETURNING value", *values
        ):
            self._discard(value, now)

    def _discard(self, value: bytes, now: float) -> None:
        """Nobody can find the value any more; who found it just now may still read its blob."""
        if is_blob(value):
            self._db.execute("INSERT INTO blobs VALUES (?, ?)", value, now)

    def _answer(self, request: str) -> list[bytes | None] | None:
        query = "SELECT value FROM answers WHERE request = ? ORDER BY number"
        return [value for (value,) in self._db.rows(query, request)] or None

    def _remember(self, request: str, answer: Sequence[bytes | None], now: float) -> None:
        self._db.execute_many(
            "INSERT INTO answers VALUES (?, ?, ?, ?)",
            [(request, number, value, now) for number, value in enumerate(answer)],
        )
