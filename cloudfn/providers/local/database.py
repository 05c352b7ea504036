"""One SQLite file with a schema, for one process: private, durable, and its errors explained."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloudfn.errors import (
    DataLossError,
    Error,
    InternalError,
    PermissionDeniedError,
    ResourceExhaustedError,
    VersionError,
)

#: seconds to wait for another process that holds the file
_BUSY = 5.0


class Database:
    """A file and its one connection; used from the thread that opened it.

    Args:
        path: The file; created, readable by its owner only, when absent.
        steps: What makes each schema from the one before it, the first from an empty file:
            statements, each with its semicolon. An older file is brought to the last one.
        power_cut: Whether a write survives a power cut, which takes as long as the disk takes;
            otherwise it survives the death of the process.

    Raises:
        VersionError: A newer cloudfn wrote the file.
        DataLossError: The file is no database.
    """

    def __init__(self, path: Path, steps: Sequence[str], *, power_cut: bool) -> None:
        self._path = path
        _create_private(path)
        self.connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
        try:
            with self._explained():
                self._prepare(steps, "FULL" if power_cut else "NORMAL")
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the file. Idempotent."""
        self.connection.close()

    def rows(self, query: str, *values: object) -> list[Any]:
        """Return the rows of a query."""
        with self._explained():
            return self.connection.execute(query, values).fetchall()

    def execute(self, statement: str, *values: object) -> int:
        """Carry out a statement; return how many rows it changed."""
        with self._explained():
            return self.connection.execute(statement, values).rowcount

    def execute_many(self, statement: str, values: Iterable[tuple[object, ...]]) -> None:
        """Carry out a statement for each tuple of values."""
        with self._explained():
            self.connection.executemany(statement, values)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make what is done inside durable at the end, whole or not at all."""
        with self._explained():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back after some errors, such as a full disk.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _prepare(self, steps: Sequence[str], synchronous: str) -> None:
        found = self._schema()
        if found > len(steps):
            raise VersionError(
                f"{self._path} was written by a newer cloudfn: it has schema {found}, and this "
                f"cloudfn knows {len(steps)}.",
                hint="Upgrade cloudfn, or choose another environment with --env.",
            )
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.connection.execute("PRAGMA journal_size_limit = 1048576")
        if found == len(steps):
            return
        with self.writing():
            # Another process may have been faster: look again.
            for step in steps[self._schema() :]:
                for statement in step.split(";")[:-1]:
                    self.connection.execute(statement)
            self.connection.execute(f"PRAGMA user_version = {len(steps)}")

    def _schema(self) -> int:
        (found,) = self.connection.execute("PRAGMA user_version").fetchone()
        return int(found)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explain(self._path, error) from error


def _create_private(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives its side files the same mode."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, 0o600))
    except OSError as error:
        raise PermissionDeniedError(
            f"The file {path} cannot be opened: {error.strerror}.",
            hint="It must be a file of yours in a directory of yours.",
        ) from error


def _explain(path: Path, error: sqlite3.Error) -> Error:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DataLossError(
            f"{path} is damaged or no database: {error}.", hint="Restore or remove it."
        )
    if code == sqlite3.SQLITE_FULL:
        return ResourceExhaustedError(
            f"The disk of {path} is full.", hint="Make room and try again."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ResourceExhaustedError(f"{path} is locked by another process.", hint="Try again.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return PermissionDeniedError(f"{path} cannot be written: {error}.")
    return InternalError(f"{path}: {error}.")
