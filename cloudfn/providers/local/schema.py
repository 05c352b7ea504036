"""The ledger's file: its tables, how it is opened and checked, what its errors mean.

Does I/O. The file is held exclusively by one process for as long as it is open: no reader can keep
the write-ahead log from being checkpointed, and no lock is taken per transaction.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from cloudfn.errors import (
    DataLossError,
    Error,
    ExecutionError,
    ResourceExhaustedError,
    VersionError,
)

#: tells our files from other SQLite files
APPLICATION = 0x63_6C_66_6E
#: seconds to wait for another process that has the file
PATIENCE = 5.0
#: a file up to this size is checked whole when it is opened; a larger one as it is read
CHECKED_SIZE = 64 << 20
#: pages in the write-ahead log from which a commit copies them into the file: some 16 MiB
CHECKPOINT_PAGES = 4_000

# call.statuses holds the status bytes of inputs 0 … 1023, so that a call of one input is one row;
# block holds those that follow, 1024 each. A payload row is one submission: it goes when all of
# its inputs are finished, so that "has payloads" means "is unfinished". An outcome row is what one
# commit recorded for one call. A scar is an input that is not as it was submitted.
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lane (
    number INTEGER PRIMARY KEY, function TEXT NOT NULL, pool TEXT NOT NULL, spawn INTEGER NOT NULL
);
CREATE TABLE call (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, lane INTEGER NOT NULL,
    kind INTEGER NOT NULL, durable INTEGER NOT NULL, created REAL NOT NULL,
    parent_call TEXT, parent_index INTEGER,
    first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    sealed INTEGER NOT NULL, cancelled INTEGER NOT NULL,
    known INTEGER NOT NULL, finished INTEGER NOT NULL, failed INTEGER NOT NULL,
    running INTEGER NOT NULL, ended REAL, expired INTEGER NOT NULL, statuses BLOB NOT NULL
);
CREATE INDEX call_parent ON call(parent_call) WHERE parent_call IS NOT NULL;
CREATE INDEX call_ended ON call(expired, ended) WHERE ended IS NOT NULL;
CREATE TABLE block (
    call INTEGER NOT NULL, number INTEGER NOT NULL, statuses BLOB NOT NULL,
    PRIMARY KEY (call, number)
) WITHOUT ROWID;
CREATE TABLE payload (
    seq INTEGER PRIMARY KEY, call INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    lengths BLOB NOT NULL, data BLOB NOT NULL
);
CREATE TABLE outcome (
    call INTEGER NOT NULL, number INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    indices BLOB NOT NULL, lengths BLOB NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (call, number)
) WITHOUT ROWID;
CREATE TABLE scar (
    seq INTEGER PRIMARY KEY, call INTEGER NOT NULL, failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL, losses INTEGER NOT NULL, not_before REAL NOT NULL,
    alone INTEGER NOT NULL
);
INSERT INTO meta VALUES ('epoch', 0);
"""
# extra holds what few calls have.
_TERMS = """
ALTER TABLE lane ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE scar ADD COLUMN deadline REAL;
CREATE TABLE extra (call INTEGER PRIMARY KEY, not_before REAL NOT NULL, deadline REAL);
"""
# A digest row holds those of 1024 inputs; `settled` the statuses that inputs had before their call
# was reopened.
_NAMES = """
ALTER TABLE extra ADD COLUMN name TEXT;
ALTER TABLE extra ADD COLUMN settled BLOB;
ALTER TABLE extra ADD COLUMN total INTEGER;
CREATE UNIQUE INDEX extra_name ON extra(name) WHERE name IS NOT NULL;
CREATE TABLE digest (
    call INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (call, number)
) WITHOUT ROWID;
"""
# A dead row keeps the payload of an input that failed for good, for those who run it once more.
_DEAD = """
ALTER TABLE extra ADD COLUMN origin TEXT;
CREATE TABLE dead (
    call INTEGER NOT NULL, position INTEGER NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (call, position)
) WITHOUT ROWID;
"""
#: what brings a ledger from one schema to the next, the first from an empty file
_STEPS = (_TABLES, _TERMS, _NAMES, _DEAD)
#: grows with every change that an older cloudfn would misread
SCHEMA = len(_STEPS)


def open_database(path: Path, now: float, patience: float = PATIENCE) -> sqlite3.Connection:
    """Open the ledger's file, or create it; nobody else can open it from here on.

    Args:
        path: The file; beside it lies its write-ahead log, `<name>-wal`.
        now: Seconds since the epoch, for the name of a damaged file.
        patience: Seconds to wait for another process that has the file.

    Raises:
        VersionError: A newer cloudfn wrote it.
        DataLossError: It is damaged; it was moved aside, untouched.
        ExecutionError: Another process has it, or it cannot be opened.
    """
    try:
        connection = _open(path, patience)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise _set_aside(path, now, str(error)) from error
        raise _cannot_open(path, error) from error
    _sync_directory(path.parent)
    return connection


def log_path(path: Path) -> Path:
    """Return where SQLite keeps the write-ahead log of a file."""
    return path.with_name(path.name + "-wal")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the error means that the bytes on disk are wrong."""
    return _name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def explain(path: Path, error: sqlite3.Error) -> Error:
    """Return our error for one of SQLite's that ended a transaction."""
    name = _name(error)
    if name.startswith("SQLITE_FULL"):
        return ResourceExhaustedError(
            f"The disk is full: the ledger {path} cannot grow.",
            hint="Free some space; cloudfn goes on by itself.",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ResourceExhaustedError(
            f"The ledger {path} is locked by another process.",
            hint=f"Find it with `fuser {path}` and close it; cloudfn goes on by itself.",
        )
    if is_damage(error):
        return DataLossError(
            f"The ledger {path} is damaged: {error}.",
            hint="Restart the daemon: it moves the file aside and says where to.",
        )
    return ExecutionError(
        f"The ledger {path} cannot be read or written: {error} ({name}).",
        hint="Look at the disk: `dmesg` and `df` say what is wrong with it.",
    )


def _open(path: Path, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
    try:
        # Before the first access: the log's index then lives in this process and nobody else's.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        _check_version(path, connection)
        connection.execute("PRAGMA journal_mode=WAL")
        # Committed frames are in the operating system: they outlive this process, and `sync` makes
        # them outlive the power.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={64 << 20}")
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("PRAGMA cache_size=-16384")
        connection.execute("PRAGMA temp_store=MEMORY")
        _create_or_check(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse what we do not understand before anything is written."""
    application = _number(connection, "PRAGMA application_id")
    version = _number(connection, "PRAGMA user_version")
    tables = _number(connection, "SELECT count(*) FROM sqlite_master")
    if application != APPLICATION and tables:
        raise ExecutionError(
            f"{path} is a database, but no ledger of cloudfn.",
            hint="Move it away, or let CLOUDFN_HOME name another directory.",
        )
    if version > SCHEMA:
        raise VersionError(
            f"The ledger {path} was written by a newer cloudfn: it has schema {version}, "
            f"this one knows {SCHEMA}.",
            hint="Upgrade cloudfn, or use another environment (`--env`).",
        )


def _create_or_check(path: Path, connection: sqlite3.Connection) -> None:
    version = _number(connection, "PRAGMA user_version")
    if version == 0:
        _bring_up_to_date(connection, version)
        return
    # Takes the lock for good.
    connection.execute("BEGIN IMMEDIATE").connection.execute("COMMIT")
    if path.stat().st_size <= CHECKED_SIZE:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            damage = sqlite3.DatabaseError(verdict)
            damage.sqlite_errorname = "SQLITE_CORRUPT"
            raise damage
    if version < SCHEMA:
        _bring_up_to_date(connection, version)


def _bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Carry out the steps that a file lacks, all or none."""
    connection.executescript(
        f"BEGIN IMMEDIATE;{''.join(_STEPS[version:])}PRAGMA application_id={APPLICATION};"
        f"PRAGMA user_version={SCHEMA};COMMIT;"
    )


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _name(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def _cannot_open(path: Path, error: sqlite3.Error) -> Error:
    if _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ExecutionError(
            f"Another process has the ledger {path}.",
            hint=f"Find it with `fuser {path}` and stop it.",
        )
    return explain(path, error)


def _set_aside(path: Path, now: float, why: str) -> DataLossError:
    """Rename a damaged file and its log, so that somebody can look at them."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for source, target in ((path, aside), (log_path(path), log_path(aside))):
        if source.exists():
            source.rename(target)
    _sync_directory(path.parent)
    return DataLossError(
        f"The ledger {path} is damaged ({why}). It was moved to {aside}.",
        hint=(
            "Unfinished calls in it are not run. The next start begins an empty ledger; "
            f"`sqlite3 {aside} .recover` may bring rows back."
        ),
    )


def _sync_directory(directory: Path) -> None:
    """Make the names of new files survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
