"""Named objects in an SQLite file of their own. Thin I/O."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cloudfn.providers.local.database import Database
from cloudfn.providers.objects import ObjectKind, ObjectRecord, no_object, taken

_TABLES = """
CREATE TABLE objects (
    object_id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL
);
CREATE UNIQUE INDEX by_name ON objects (kind, name) WHERE name != '';
"""
_OBJECT = "SELECT object_id, kind, name, created FROM objects"


class SqliteObjects:
    """The `Objects` port on one file."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, (_TABLES,), power_cut=True)

    def create(self, record: ObjectRecord) -> None:
        with self._db.writing():
            if self.get(record.object_id) is not None:
                return
            if record.name and self.find(record.kind, record.name) is not None:
                raise taken(record.kind, record.name)
            self._db.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?)",
                record.object_id,
                record.kind.value,
                record.name,
                record.created,
            )

    def get(self, object_id: str) -> ObjectRecord | None:
        return _first(self._db.rows(f"{_OBJECT} WHERE object_id = ?", object_id))

    def find(self, kind: ObjectKind, name: str) -> ObjectRecord | None:
        query = f"{_OBJECT} WHERE kind = ? AND name = ? AND name != ''"
        return _first(self._db.rows(query, kind.value, name))

    def list(self, kind: ObjectKind) -> list[ObjectRecord]:
        query = f"{_OBJECT} WHERE kind = ? ORDER BY created DESC, rowid DESC"
        return [_record(row) for row in self._db.rows(query, kind.value)]

    def rename(self, object_id: str, name: str) -> None:
        with self._db.writing():
            record = self.get(object_id)
            if record is None:
                raise no_object(object_id)
            holder = self.find(record.kind, name)
            if holder is not None and holder.object_id != object_id:
                raise taken(record.kind, name)
            self._db.execute("UPDATE objects SET name = ? WHERE object_id = ?", name, object_id)

    def delete(self, object_id: str) -> None:
        self._db.execute("DELETE FROM objects WHERE object_id = ?", object_id)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()


def _first(rows: list[sqlite3.Row]) -> ObjectRecord | None:
    return _record(rows[0]) if rows else None


def _record(row: sqlite3.Row) -> ObjectRecord:
    object_id, kind, name, created = row
    return ObjectRecord(object_id, ObjectKind(kind), name, created)
