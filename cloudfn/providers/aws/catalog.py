"""The catalog in DynamoDB: apps, revisions, functions, variants. Thin I/O; thread-safe.

Where what is:

- `CAT`/`APP#<app>`: an app; `CAT`/`NAME#<name>`: which app is deployed under that name.
- `APP#<app>`/`REV#<number>`: a revision, compressed; `VA#<variant>`: a variant; `OV#…`: overrides.
- `FN#<function>`/`FN`: to which app a function or variant belongs, and which one it is.

The id of a function follows from its app and its name, so that it is the same in every revision.
Revisions and functions never change: a process keeps what it has read of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import count
from json import dumps
from typing import Generic, TypeVar

from cloudfn.clock import Clock
from cloudfn.model.ids import mint
from cloudfn.model.variant import Variant
from cloudfn.providers.aws.catalog_records import (
    app_of,
    function_id_of,
    function_item,
    function_of,
    revision_item,
    revision_of,
    revision_sort,
)
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.overrides import Overrides
from cloudfn.providers.aws.retries import too_busy, tries
from cloudfn.providers.aws.table import Item, Table, Write, delete, put, update
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
    unforgettable,
)

_CAT = "CAT"
#: overrides that go with their functions in the same transaction, which may have 100 parts
_MOST_DROPPED = 90
#: revisions, and functions, that a process keeps
_KEPT = 2_000

V = TypeVar("V")


class DynamoCatalog:
    """The `Catalog` port on a table.

    Args:
        clients: Where the clients of DynamoDB and Parameter Store come from.
        table: The name of the environment's table.
        pools: The path of the copies of overrides, such as "/cloudfn/main/pools".
        clock: Waits between two tries.
        shows: Writes copies of overrides; else others do, who read them.
    """

    def __init__(
        self, clients: ClientSource, table: str, pools: str, clock: Clock, *, shows: bool = True
    ) -> None:
        self._table = Table(clients, table, clock)
        self._clock = clock
        self._overrides = Overrides(clients, self._table, pools, clock, shows=shows)
        self._revisions: _Kept[RevisionRecord] = _Kept()
        self._functions: _Kept[FunctionRecord] = _Kept()
        #: tells apps of the same moment apart, in their order
        self._order = count(1)

    def create_app(self, name: str, state: str, spec: RevisionSpec, now: float) -> AppRecord:
        check_state(state)
        app = AppRecord(mint("ap"), name, state, 1, now)
        adding: Item = {
            "pk": _CAT,
            "sk": f"APP#{app.app_id}",
            "name": name,
            "state": state,
            "was_deployed": state == "deployed",
            "revision": 1,
            "created": now,
            "order": next(self._order),
        }
        writes = [put(adding), put(revision_item(RevisionRecord(app.app_id, 1, spec, now)))]
        if state == "deployed":
            writes.append(_taking(name, app.app_id))
        self._write_functions(app.app_id, spec)
        try:
            self._table.transact(writes)
        except ConditionFailed as failed:
            raise already_deployed(name) from failed
        return app

    def add_revision(
        self,
        app_id: str,
        spec: RevisionSpec,
        now: float,
        *,
        rollback_of: int | None = None,
        number: int | None = None,
    ) -> RevisionRecord:
        names = {function.name for function in spec.functions}
        for _ in tries(self._clock):
            app = self._live_app(app_id)
            self._write_functions(app_id, spec)
            record = RevisionRecord(app_id, next_number(app, number), spec, now, rollback_of)
            # A function that vanishes takes its override along, and so do its variants.
            gone = [
                function_id
                for function_id in self._overrides.in_force(app_id)
                if (known := self.function(function_id)) is None or known.name not in names
            ]
            switching = update(
                _CAT,
                f"APP#{app_id}",
                "SET #revision = :number",
                "#revision = :last AND #state <> :stopped",
                number=record.number,
                last=app.revision,
                stopped="stopped",
            )
            dropping = [self._overrides.dropping(app_id, each) for each in gone[:_MOST_DROPPED]]
            try:
                self._table.transact([switching, put(revision_item(record)), *dropping])
            except ConditionFailed:
                continue
            self._drop(app_id, gone[_MOST_DROPPED:])
            for function_id in gone[:_MOST_DROPPED]:
                self._overrides.hide(app_id, function_id)
            return record
        raise too_busy(f"app {app_id}")

    def stop_app(self, app_id: str, now: float) -> None:
        for _ in tries(self._clock):
            item = self._table.get(_CAT, f"APP#{app_id}")
            if item is None or item["state"] == "stopped":
                return
            stopping = update(
                _CAT,
                f"APP#{app_id}",
                "SET #state = :stopped, #stopped = :now",
                "#state = :state",
                stopped="stopped",
                now=now,
                state=item["state"],
            )
            if self._change(stopping, _leaving(app_of(item))):
                return
        raise too_busy(f"app {app_id}")

    def set_state(self, app_id: str, state: str) -> None:
        check_state(state)
        for _ in tries(self._clock):
            app = self._live_app(app_id)
            if app.state == state:
                return
            more = "" if state != "deployed" else ", #was_deployed = :deployed"
            changing = update(
                _CAT,
                f"APP#{app_id}",
                f"SET #state = :state{more}",
                "#state = :last",
                **({"deployed": True} if more else {}),
                state=state,
                last=app.state,
            )
            name = [_taking(app.name, app_id)] if more else _leaving(app)
            if self._change(changing, name):
                return
            if more and self.deployed(app.name) is not None:
                raise already_deployed(app.name)
        raise too_busy(f"app {app_id}")

    def set_tags(self, app_id: str, tags: Mapping[str, str]) -> None:
        self._live_app(app_id)
        tagging = update(
            _CAT,
            f"APP#{app_id}",
            "SET #tags = :tags",
            "attribute_exists(pk) AND #state <> :stopped",
            tags=dumps(dict(tags), sort_keys=True),
            stopped="stopped",
        )
        try:
            self._table.write(tagging)
        except ConditionFailed:
            # It is stopped, or gone, since it was looked at.
            self._live_app(app_id)
            raise

    def forget_app(self, app_id: str) -> None:
        item = self._table.get(_CAT, f"APP#{app_id}")
        if item is None:
            return
        if item["state"] != "stopped" or item["was_deployed"]:
            raise unforgettable(item["name"])
        self.clear_overrides(app_id)
        functions = [each.function_id for each in self.everything(app_id)]
        parts = list(self._table.query(f"APP#{app_id}"))
        self._table.write_all(
            [
                *(delete(each["pk"], each["sk"]) for each in parts),
                *(delete(f"FN#{function_id}", "FN") for function_id in functions),
            ]
        )
        # Last, so that who dies before this can be followed by somebody else.
        self._table.write(delete(_CAT, f"APP#{app_id}"))
        self._functions.forget(functions)
        self._revisions.forget((each["pk"], each["sk"]) for each in parts)

    def app(self, app_id: str) -> AppRecord | None:
        item = self._table.get(_CAT, f"APP#{app_id}")
        return None if item is None else app_of(item)

    def deployed(self, name: str) -> AppRecord | None:
        holder = self._table.get(_CAT, f"NAME#{name}")
        app = None if holder is None else self.app(holder["app_id"])
        return app if app is not None and app.state == "deployed" else None

    def apps(self, *, stopped: bool = False) -> list[AppRecord]:
        items = list(self._table.query(_CAT, begins="APP#"))
        items.sort(key=lambda item: (-item["created"], -item["order"]))
        return [app_of(item) for item in items if stopped or item["state"] != "stopped"]

    def revisions(self, app_id: str) -> list[RevisionRecord]:
        return [revision_of(item) for item in self._table.query(f"APP#{app_id}", begins="REV#")]

    def revision(self, app_id: str, number: int) -> RevisionRecord | None:
        key = f"APP#{app_id}", revision_sort(number)
        known = self._revisions.get(key)
        if known is None and (item := self._table.get(*key)) is not None:
            known = self._revisions.keep(key, revision_of(item))
        return known

    def functions(self, app_id: str) -> list[FunctionRecord]:
        return [
            FunctionRecord(function_id_of(app_id, name), app_id, name)
            for name in self._live_names(app_id)
        ]

    def function(self, function_id: str) -> FunctionRecord | None:
        known = self._functions.get(function_id)
        if known is None and (item := self._table.get(f"FN#{function_id}", "FN")) is not None:
            known = self._functions.keep(function_id, function_of(item))
        return known

    def bind(self, function_id: str, variant: Variant) -> FunctionRecord:
        variant_id = variant.id_for(function_id)
        if (known := self.function(variant_id)) is not None:
            return known
        base = self.function(function_id)
        if base is None or base.variant is not None:
            raise no_function(function_id)
        item = function_item(FunctionRecord(variant_id, base.app_id, base.name, variant))
        listed = item | {"pk": f"APP#{base.app_id}", "sk": f"VA#{variant_id}"}
        self._table.transact([put(item), put(listed)])
        return self._functions.keep(variant_id, function_of(item))

    def variants(self, app_id: str) -> list[FunctionRecord]:
        live = set(self._live_names(app_id))
        return [each for each in self._all_variants(app_id) if each.name in live]

    def everything(self, app_id: str) -> list[FunctionRecord]:
        specs = [each.spec for each in self.revisions(app_id)]
        names = {function.name for spec in specs for function in spec.functions}
        functions = [FunctionRecord(function_id_of(app_id, name), app_id, name) for name in names]
        return [*functions, *self._all_variants(app_id)]

    def override(self, function_id: str) -> Override | None:
        known = self.function(function_id)
        return None if known is None else self._overrides.get(known.app_id, function_id)

    def overrides(self, functions: Mapping[str, str]) -> dict[str, Override]:
        return self._overrides.get_all(functions)

    def set_override(
        self,
        function_id: str,
        changes: dict[str, int | None],
        *,
        expected: int,
        now: float,
        by: str,
    ) -> Override:
        known = self.function(function_id)
        if known is None:
            raise no_function(function_id)
        return self._overrides.set(
            known.app_id, function_id, changes, expected=expected, now=now, by=by
        )

    def clear_overrides(self, app_id: str) -> None:
        self._drop(app_id, self._overrides.in_force(app_id))

    def close(self) -> None:
        """See the port; connections belong to the clients."""

    # How

    def _live_app(self, app_id: str) -> AppRecord:
        app = self.app(app_id)
        if app is None:
            raise no_app(app_id)
        if app.state == "stopped":
            raise app_is_stopped(app.name)
        return app

    def _live_names(self, app_id: str) -> list[str]:
        """Return the names of the functions of an app's live revision, in their order."""
        app = self.app(app_id)
        record = None if app is None else self.revision(app_id, app.revision)
        return [] if record is None else [function.name for function in record.spec.functions]

    def _all_variants(self, app_id: str) -> list[FunctionRecord]:
        return [function_of(item) for item in self._table.query(f"APP#{app_id}", begins="VA#")]

    def _write_functions(self, app_id: str, spec: RevisionSpec) -> None:
        """Write what leads from functions to their app; of no meaning without a revision."""
        records = [
            FunctionRecord(function_id_of(app_id, each.name), app_id, each.name)
            for each in spec.functions
        ]
        new = [each for each in records if self._functions.get(each.function_id) is None]
        self._table.write_all([put(function_item(each)) for each in new])
        for each in new:
            self._functions.keep(each.function_id, each)

    def _change(self, changing: Write, more: list[Write]) -> bool:
        """Change an app and who has its name, if the app is as it was read."""
        try:
            self._table.transact([changing, *more])
        except ConditionFailed:
            return False
        return True

    def _drop(self, app_id: str, functions: Iterable[str]) -> None:
        for function_id in functions:
            self._table.write(self._overrides.dropping(app_id, function_id))
            self._overrides.hide(app_id, function_id)


class _Kept(Generic[V]):
    """What was read and never changes. Of threads that read the same, each may keep it."""

    def __init__(self) -> None:
        self._values: dict[Hashable, V] = {}

    def get(self, key: Hashable) -> V | None:
        return self._values.get(key)

    def keep(self, key: Hashable, value: V) -> V:
        if len(self._values) >= _KEPT:
            self._values.clear()
        self._values[key] = value
        return value

    def forget(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self._values.pop(key, None)


def _taking(name: str, app_id: str) -> Write:
    """Return the write by which an app takes a name, if no other one has it."""
    item = {"pk": _CAT, "sk": f"NAME#{name}", "app_id": app_id}
    return put(item, "attribute_not_exists(pk)")


def _leaving(app: AppRecord) -> list[Write]:
    """Return the write by which a deployed app gives its name back."""
    return [delete(_CAT, f"NAME#{app.name}")] if app.state == "deployed" else []
