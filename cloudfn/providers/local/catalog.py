"""The catalog in an SQLite file: apps, revisions, functions, overrides. Thin I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps, loads
from pathlib import Path
from typing import Any

from cloudfn.model.ids import mint
from cloudfn.model.variant import Variant
from cloudfn.providers.catalog import (
    AppRecord,
    FunctionRecord,
    Override,
    RevisionRecord,
    RevisionSpec,
    already_deployed,
    app_is_stopped,
    check_state,
    next_number,
    no_app,
    no_function,
    settings_changed,
    unforgettable,
    unreadable,
)
from cloudfn.providers.local.database import Database

# Rows of functions and overrides outlive the revision that named them: the id of a function that
# vanishes and comes back is the same, and versions of overrides never repeat.
_TABLES = """
CREATE TABLE apps (
    app_id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, was_deployed INTEGER NOT NULL,
    revision INTEGER NOT NULL, created REAL NOT NULL, stopped REAL
);
CREATE UNIQUE INDEX deployed ON apps (name) WHERE state = 'deployed';
CREATE TABLE revisions (
    app_id TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, number INTEGER NOT NULL,
    spec TEXT NOT NULL, created REAL NOT NULL, rollback_of INTEGER, PRIMARY KEY (app_id, number)
);
CREATE TABLE functions (
    function_id TEXT PRIMARY KEY, app_id TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    name TEXT NOT NULL, revision INTEGER NOT NULL, position INTEGER NOT NULL, UNIQUE (app_id, name)
);
CREATE TABLE overrides (
    function_id TEXT PRIMARY KEY REFERENCES functions ON DELETE CASCADE,
    changes TEXT, version INTEGER NOT NULL, updated REAL NOT NULL, updated_by TEXT NOT NULL
);
"""
_SCHEDULES = """
CREATE TABLE schedules (
    schedule_id TEXT PRIMARY KEY, app_id TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    function_id TEXT NOT NULL, rule TEXT NOT NULL, anchor REAL NOT NULL, cursor REAL NOT NULL,
    paused INTEGER NOT NULL, dynamic INTEGER NOT NULL
);
CREATE TABLE fires (
    schedule_id TEXT NOT NULL REFERENCES schedules ON DELETE CASCADE, due REAL NOT NULL,
    at REAL NOT NULL, call_id TEXT NOT NULL, late INTEGER NOT NULL, manual INTEGER NOT NULL,
    outcome TEXT NOT NULL, PRIMARY KEY (schedule_id, due)
) WITHOUT ROWID;
"""
# A variant has a row among the functions, at a position below 0 and under its own id as its name.
_VARIANTS = """
CREATE TABLE variants (
    variant_id TEXT PRIMARY KEY REFERENCES functions ON DELETE CASCADE, base TEXT NOT NULL,
    spec TEXT NOT NULL
);
"""
_TAGS = "ALTER TABLE apps ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';"
#: what brings a catalog from one schema to the next; an older file is brought to the last one
_STEPS = (_TABLES, _SCHEDULES, _VARIANTS, _TAGS)
SCHEMA = len(_STEPS)
_APP = "SELECT app_id, name, state, revision, created, stopped, tags FROM apps"
_FUNCTION = (
    "SELECT f.function_id, f.app_id, COALESCE(b.name, f.name), v.spec FROM functions f "
    "LEFT JOIN variants v ON v.variant_id = f.function_id "
    "LEFT JOIN functions b ON b.function_id = v.base "
)
_REVISION = "SELECT app_id, number, spec, created, rollback_of FROM revisions"


class SqliteCatalog:
    """The `Catalog` port on one file; used from the thread that opened it.

    Args:
        path: The file; created, readable by its owner only, when absent.

    Raises:
        VersionError: A newer cloudfn wrote the file.
        DataLossError: The file is no catalog.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: other ports of the environment may keep tables in it
        self.file = Database(path, _STEPS, power_cut=True)
        self._db = self.file.connection
        self._rows, self._writing = self.file.rows, self.file.writing

    def close(self) -> None:
        """Close the file. Idempotent."""
        self.file.close()

    def create_app(self, name: str, state: str, spec: RevisionSpec, now: float) -> AppRecord:
        check_state(state)
        app_id = mint("ap")
        with self._writing():
            if state == "deployed":
                self._check_name_is_free(name)
            self._db.execute(
                "INSERT INTO apps VALUES (?, ?, ?, ?, 1, ?, NULL, '{}')",
                (app_id, name, state, state == "deployed", now),
            )
            self._insert_revision(RevisionRecord(app_id, 1, spec, now))
        return AppRecord(app_id, name, state, 1, now)

    def add_revision(
        self,
        app_id: str,
        spec: RevisionSpec,
        now: float,
        *,
        rollback_of: int | None = None,
        number: int | None = None,
    ) -> RevisionRecord:
        with self._writing():
            app = self._live_app(app_id)
            record = RevisionRecord(app_id, next_number(app, number), spec, now, rollback_of)
            self._db.execute(
                "UPDATE apps SET revision = ? WHERE app_id = ?", (record.number, app_id)
            )
            self._insert_revision(record)
            # A function that vanishes takes its override along.
            self._drop_overrides("app_id = ? AND revision < ?", app_id, record.number)
        return record

    def stop_app(self, app_id: str, now: float) -> None:
        with self._writing():
            self._db.execute(
                "UPDATE apps SET state = 'stopped', stopped = ? "
                "WHERE app_id = ? AND state != 'stopped'",
                (now, app_id),
            )

    def set_state(self, app_id: str, state: str) -> None:
        check_state(state)
        with self._writing():
            app = self._live_app(app_id)
            if state == "deployed" != app.state:
                self._check_name_is_free(app.name)
            self._db.execute(
                "UPDATE apps SET state = ?, was_deployed = was_deployed OR ? WHERE app_id = ?",
                (state, state == "deployed", app_id),
            )

    def set_tags(self, app_id: str, tags: Mapping[str, str]) -> None:
        with self._writing():
            self._live_app(app_id)
            self._db.execute(
                "UPDATE apps SET tags = ? WHERE app_id = ?",
                (dumps(dict(tags), sort_keys=True), app_id),
            )

    def forget_app(self, app_id: str) -> None:
        with self._writing():
            query = "SELECT name, state, was_deployed FROM apps WHERE app_id = ?"
            row = self._db.execute(query, (app_id,)).fetchone()
            if row is None:
                return
            name, state, was_deployed = row
            if state != "stopped" or was_deployed:
                raise unforgettable(name)
            self._db.execute("DELETE FROM apps WHERE app_id = ?", (app_id,))

    def app(self, app_id: str) -> AppRecord | None:
        rows = self._rows(f"{_APP} WHERE app_id = ?", app_id)
        return _app(rows[0]) if rows else None

    def deployed(self, name: str) -> AppRecord | None:
        rows = self._rows(f"{_APP} WHERE name = ? AND state = 'deployed'", name)
        return _app(rows[0]) if rows else None

    def apps(self, *, stopped: bool = False) -> list[AppRecord]:
        rows = self._rows(
            f"{_APP} WHERE ? OR state != 'stopped' ORDER BY created DESC, rowid DESC", stopped
        )
        return [_app(row) for row in rows]

    def revisions(self, app_id: str) -> list[RevisionRecord]:
        rows = self._rows(f"{_REVISION} WHERE app_id = ? ORDER BY number", app_id)
        return [self._revision(row) for row in rows]

    def revision(self, app_id: str, number: int) -> RevisionRecord | None:
        rows = self._rows(f"{_REVISION} WHERE app_id = ? AND number = ?", app_id, number)
        return self._revision(rows[0]) if rows else None

    def functions(self, app_id: str) -> list[FunctionRecord]:
        rows = self._rows(
            "SELECT function_id, app_id, f.name FROM functions f JOIN apps a USING (app_id) "
            "WHERE app_id = ? AND f.revision = a.revision AND position >= 0 ORDER BY position",
            app_id,
        )
        return [FunctionRecord(*row) for row in rows]

    def function(self, function_id: str) -> FunctionRecord | None:
        rows = self._rows(f"{_FUNCTION} WHERE f.function_id = ?", function_id)
        return _function(rows[0]) if rows else None

    def bind(self, function_id: str, variant: Variant) -> FunctionRecord:
        variant_id = variant.id_for(function_id)
        known = self.function(variant_id)
        if known is not None:
            return known
        with self._writing():
            added = self._db.execute(
                "INSERT INTO functions SELECT ?, app_id, ?, revision, -1 FROM functions "
                "WHERE function_id = ? AND position >= 0",
                (variant_id, variant_id, function_id),
            )
            if not added.rowcount:
                raise no_function(function_id)
            self._db.execute(
                "INSERT INTO variants VALUES (?, ?, ?)",
                (variant_id, function_id, dumps(variant.to_json())),
            )
        bound = self.function(variant_id)
        assert bound is not None
        return bound

    def variants(self, app_id: str) -> list[FunctionRecord]:
        rows = self._rows(
            f"{_FUNCTION} JOIN apps a ON a.app_id = f.app_id "
            "WHERE f.app_id = ? AND f.revision = a.revision AND f.position < 0 ORDER BY f.rowid",
            app_id,
        )
        return [_function(row) for row in rows]

    def everything(self, app_id: str) -> list[FunctionRecord]:
        return [_function(row) for row in self._rows(f"{_FUNCTION} WHERE f.app_id = ?", app_id)]

    def override(self, function_id: str) -> Override | None:
        rows = self._rows(
            "SELECT changes, version, updated, updated_by FROM overrides "
            "WHERE function_id = ? AND changes IS NOT NULL",
            function_id,
        )
        if not rows:
            return None
        changes, version, updated, by = rows[0]
        return Override(tuple(sorted(loads(changes).items())), version, updated, by)

    def overrides(self, functions: Mapping[str, str]) -> dict[str, Override]:
        found = {function_id: self.override(function_id) for function_id in functions}
        return {function_id: each for function_id, each in found.items() if each is not None}

    def set_override(
        self,
        function_id: str,
        changes: dict[str, int | None],
        *,
        expected: int,
        now: float,
        by: str,
    ) -> Override:
        with self._writing():
            if self.function(function_id) is None:
                raise no_function(function_id)
            query = "SELECT version, changes IS NOT NULL FROM overrides WHERE function_id = ?"
            last, in_force = self._db.execute(query, (function_id,)).fetchone() or (0, False)
            if expected != (last if in_force else 0):
                raise settings_changed(function_id)
            override = Override(tuple(sorted(changes.items())), last + 1, now, by)
            self._db.execute(
                "INSERT OR REPLACE INTO overrides VALUES (?, ?, ?, ?, ?)",
                (function_id, dumps(changes), override.version, now, by),
            )
        return override

    def clear_overrides(self, app_id: str) -> None:
        with self._writing():
            self._drop_overrides("app_id = ?", app_id)

    # How

    def _check_name_is_free(self, name: str) -> None:
        if self.deployed(name) is not None:
            raise already_deployed(name)

    def _live_app(self, app_id: str) -> AppRecord:
        app = self.app(app_id)
        if app is None:
            raise no_app(app_id)
        if app.state == "stopped":
            raise app_is_stopped(app.name)
        return app

    def _insert_revision(self, record: RevisionRecord) -> None:
        spec = dumps(record.spec.to_json(), separators=(",", ":"))
        self._db.execute(
            "INSERT INTO revisions VALUES (?, ?, ?, ?, ?)",
            (record.app_id, record.number, spec, record.created, record.rollback_of),
        )
        self._db.executemany(
            "INSERT INTO functions VALUES (?, ?, ?, ?, ?) ON CONFLICT (app_id, name) "
            "DO UPDATE SET revision = excluded.revision, position = excluded.position",
            [
                (mint("fu"), record.app_id, function.name, record.number, position)
                for position, function in enumerate(record.spec.functions)
            ],
        )
        self._db.execute(
            "UPDATE functions SET revision = ? WHERE function_id IN (SELECT variant_id FROM "
            "variants JOIN functions b ON b.function_id = base "
            "WHERE b.app_id = ? AND b.revision = ?)",
            (record.number, record.app_id, record.number),
        )

    def _drop_overrides(self, functions: str, *values: object) -> None:
        self._db.execute(
            "UPDATE overrides SET changes = NULL WHERE changes IS NOT NULL "
            f"AND function_id IN (SELECT function_id FROM functions WHERE {functions})",
            values,
        )

    def _revision(self, row: tuple[str, int, str, float, int | None]) -> RevisionRecord:
        app_id, number, text, created, rollback_of = row
        try:
            spec = RevisionSpec.from_json(loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise unreadable(number, app_id, str(self._path)) from error
        return RevisionRecord(app_id, number, spec, created, rollback_of)


def _function(row: tuple[str, str, str, str | None]) -> FunctionRecord:
    function_id, app_id, name, variant = row
    return FunctionRecord(
        function_id, app_id, name, Variant.from_json(loads(variant)) if variant else None
    )


def _app(row: Sequence[Any]) -> AppRecord:
    *facts, tags = row
    app_id, name, state, revision, created, stopped = facts
    return AppRecord(app_id, name, state, revision, created, stopped, loads(tags))
