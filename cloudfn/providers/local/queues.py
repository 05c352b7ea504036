"""What queues hold, in an SQLite file of their own. Thin I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cloudfn.providers.local.database import Database
from cloudfn.providers.queues import Leftovers, too_many_partitions
from cloudfn.wire.messages import is_blob

# An element keeps its position while it is taken: given back, it is where it was.
_TABLES = """
CREATE TABLE items (
    position INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, part TEXT NOT NULL,
    item BLOB NOT NULL, taken TEXT
);
CREATE INDEX free ON items (queue, part, position) WHERE taken IS NULL;
CREATE INDEX held ON items (taken) WHERE taken IS NOT NULL;
CREATE TABLE parts (
    queue TEXT NOT NULL, part TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (queue, part)
) WITHOUT ROWID;
CREATE TABLE requests (request TEXT PRIMARY KEY, state TEXT NOT NULL, at REAL NOT NULL)
WITHOUT ROWID;
CREATE TABLE blobs (item BLOB NOT NULL, at REAL NOT NULL);
"""
_FREE = "queue = ? AND part = ? AND taken IS NULL"
#: states of requests; a client may ask for long whether what went back is still its own
_PUT, _HELD, _KEPT, _BACK = "put", "held", "kept", "back"
_BACK_PATIENCE = 100


class SqliteQueues:
    """The `Queues` port on one file.

    Args:
        path: The file.
        capacity: Elements that a partition holds.
        partitions: Partitions that a queue may have.
    """

    def __init__(self, path: Path, capacity: int, partitions: int) -> None:
        self._db = Database(path, (_TABLES,), power_cut=False)
        self._capacity = capacity
        self._partitions = partitions

    def put(
        self,
        queue_id: str,
        partition: str,
        items: Sequence[bytes],
        *,
        request: str,
        ttl: float,
        now: float,
    ) -> bool:
        with self._db.writing():
            if self._state(request) == _PUT:
                return True
            self._drop_if_dead(queue_id, partition, now)
            held = self._db.rows(f"SELECT COUNT(*) FROM items WHERE {_FREE}", queue_id, partition)
            if held[0][0] + len(items) > self._capacity:
                return False
            self._touch(queue_id, partition, now + ttl)
            self._db.execute_many(
                "INSERT INTO items (queue, part, item) VALUES (?, ?, ?)",
                [(queue_id, partition, item) for item in items],
            )
            self._note(request, _PUT, now)
        return True

    def take(
        self, queue_id: str, partition: str, limit: int, size: int, *, request: str, now: float
    ) -> list[bytes]:
        with self._db.writing():
            if self._state(request) == _HELD:
                query = "SELECT item FROM items WHERE taken = ? ORDER BY position"
                return [item for (item,) in self._db.rows(query, request)]
            found = self._front(queue_id, partition, 0, limit, size, now)
            if found:
                self._db.execute_many(
                    "UPDATE items SET taken = ? WHERE position = ?",
                    [(request, position) for position, _ in found],
                )
                self._note(request, _HELD, now)
        return [item for _, item in found]

    def settle(self, requests: Sequence[str], *, keep: bool, now: float) -> list[bool]:
        with self._db.writing():
            return [self._settle(request, keep=keep, now=now) for request in requests]

    def peek(
        self, queue_id: str, partition: str, after: int, limit: int, size: int, now: float
    ) -> list[tuple[int, bytes]]:
        return self._front(queue_id, partition, after, limit, size, now)

    def counts(self, queue_id: str, now: float) -> Mapping[str, int]:
        rows = self._db.rows(
            "SELECT part, COUNT(*) FROM items JOIN parts USING (queue, part) "
            "WHERE queue = ? AND taken IS NULL AND until > ? GROUP BY part",
            queue_id,
            now,
        )
        return dict(rows)

    def expire(self, now: float, patience: float) -> Leftovers:
        with self._db.writing():
            for queue_id, partition in self._db.rows(
                "SELECT queue, part FROM parts WHERE until <= ?", now
            ):
                self._drop_if_dead(queue_id, partition, now)
            self._db.execute(
                "DELETE FROM requests WHERE state IN (?, ?) AND at <= ? OR state = ? AND at <= ?",
                _PUT,
                _KEPT,
                now - patience,
                _BACK,
                now - patience * _BACK_PATIENCE,
            )
            gone = self._db.rows("SELECT item FROM blobs WHERE at <= ?", now - patience)
            self._db.execute("DELETE FROM blobs WHERE at <= ?", now - patience)
            unsettled = self._db.rows("SELECT request FROM requests WHERE state = ?", _HELD)
        return Leftovers(tuple(r for (r,) in unsettled), tuple(item for (item,) in gone))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()

    # How

    def _front(
        self, queue_id: str, partition: str, after: int, limit: int, size: int, now: float
    ) -> list[tuple[int, bytes]]:
        if not self._lives(queue_id, partition, now):
            return []
        rows = self._db.rows(
            f"SELECT position, item FROM items WHERE {_FREE} AND position > ? "
            "ORDER BY position LIMIT ?",
            queue_id,
            partition,
            after,
            limit,
        )
        found: list[tuple[int, bytes]] = []
        for position, item in rows:
            size -= len(item)
            if found and size < 0:
                break
            found.append((position, item))
        return found

    def _lives(self, queue_id: str, partition: str, now: float) -> bool:
        query = "SELECT 1 FROM parts WHERE queue = ? AND part = ? AND until > ?"
        return bool(self._db.rows(query, queue_id, partition, now))

    def _touch(self, queue_id: str, partition: str, until: float) -> None:
        changed = self._db.execute(
            "UPDATE parts SET until = ? WHERE queue = ? AND part = ?", until, queue_id, partition
        )
        if changed:
            return
        query = "SELECT COUNT(*) FROM parts WHERE queue = ?"
        if self._db.rows(query, queue_id)[0][0] >= self._partitions:
            raise too_many_partitions(self._partitions)
        self._db.execute("INSERT INTO parts VALUES (?, ?, ?)", queue_id, partition, until)

    def _drop_if_dead(self, queue_id: str, partition: str, now: float) -> None:
        if self._lives(queue_id, partition, now):
            return
        self._drop(_FREE, queue_id, partition, now=now)
        self._db.execute("DELETE FROM parts WHERE queue = ? AND part = ?", queue_id, partition)

    def _settle(self, request: str, *, keep: bool, now: float) -> bool:
        state = self._state(request)
        if state != _HELD:
            # Of a request that is forgotten, the client knows best.
            return state in (None, _KEPT if keep else _BACK)
        if keep:
            self._drop("taken = ?", request, now=now)
        else:
            self._db.execute("UPDATE items SET taken = NULL WHERE taken = ?", request)
        self._note(request, _KEPT if keep else _BACK, now)
        return True

    def _drop(self, which: str, *values: object, now: float) -> None:
        for (item,) in self._db.rows(f"DELETE FROM items WHERE {which} RETURNING item", *values):
            if is_blob(item):
                self._db.execute("INSERT INTO blobs VALUES (?, ?)", item, now)

    def _state(self, request: str) -> str | None:
        rows = self._db.rows("SELECT state FROM requests WHERE request = ?", request)
        return rows[0][0] if rows else None

    def _note(self, request: str, state: str, now: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO requests VALUES (?, ?, ?)", request, state, now)
