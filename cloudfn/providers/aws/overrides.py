"""Overrides: the truth in DynamoDB, a copy for people in Parameter Store, and what schedules wrote.

An override is one item of its app's partition, changed by compare-and-set on `version`. The copy is
the parameter `<pools>/<function>`, written afterwards; then the item says which version is `shown`.
Who finds an item whose version is not shown shows it: a writer died between the two, or Parameter
Store refused. A writer whose version was overtaken while it showed it shows the newer one as well,
so that the copy of the last one stays. Nobody decides by the copy.

The other way round it is Parameter Store that is asked: an EventBridge schedule can write
`<pools>/<function>/scheduled` by itself, without any code.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from json import dumps, loads
from typing import Any

from cloudfn.clock import Clock
from cloudfn.errors import Error, NotFoundError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed, explained
from cloudfn.providers.aws.retries import conflicts, tries
from cloudfn.providers.aws.table import Item, Table, Write, update
from cloudfn.providers.catalog import Override, settings_changed
from cloudfn.providers.scheduled import Scheduled, scheduled

_SORT = "OV#"
#: times that a copy is written anew because its original changed meanwhile
_TRIES = 5


class Overrides:
    """The overrides of an environment. Thread-safe.

    Args:
        clients: Where clients come from.
        table: The environment's table.
        pools: The path of the parameters, such as "/cloudfn/main/pools".
        clock: Waits between two tries.
        shows: Writes copies. Machines do not: all of an account share 40 requests a second.
    """

    def __init__(
        self, clients: ClientSource, table: Table, pools: str, clock: Clock, *, shows: bool = True
    ) -> None:
        self._clients = clients
        self._table = table
        self._pools = pools
        self._clock = clock
        self._shows = shows
        #: versions that this process has tried to show: one try is enough for a mere copy
        self._tried: set[tuple[str, int]] = set()

    def get(self, app_id: str, function_id: str) -> Override | None:
        """Return the override in force, and have it shown if it is not."""
        item = self._table.get(_pk(app_id), _SORT + function_id)
        if item is None:
            return None
        if item.get("shown") != item["version"]:
            self._try_to_show(app_id, function_id, item["version"])
        return _override(item)

    def get_all(self, functions: Mapping[str, str]) -> dict[str, Override]:
        """Return overrides by function, as `get` does; functions come with their apps."""
        keys = {(_pk(app_id), _SORT + name): name for name, app_id in functions.items()}
        found: dict[str, Override] = {}
        for key, item in self._table.get_all(keys).items():
            name = keys[key]
            if item.get("shown") != item["version"]:
                self._try_to_show(functions[name], name, item["version"])
            if (override := _override(item)) is not None:
                found[name] = override
        return found

    def set(
        self,
        app_id: str,
        function_id: str,
        changes: Mapping[str, int | None],
        *,
        expected: int,
        now: float,
        by: str,
    ) -> Override:
        """Replace the override if its version is `expected`; raises ConflictError."""
        item = self._table.get(_pk(app_id), _SORT + function_id) or {"version": 0}
        last = item["version"]
        if expected != (last if "changes" in item else 0):
            raise settings_changed(function_id)
        override = Override(tuple(sorted(changes.items())), last + 1, now, by)
        setting = update(
            _pk(app_id),
            _SORT + function_id,
            "SET #version = :next, #changes = :changes, #updated = :now, #by = :by",
            "#version = :last" if last else "attribute_not_exists(pk)",
            **({"last": last} if last else {}),
            next=last + 1,
            changes=dumps(dict(override.changes)),
            now=now,
            by=by,
        )
        try:
            self._table.write(setting)
        except ConditionFailed as failed:
            # Unless it was this very write, whose answer was lost.
            if failed.items[0] is None or _override(failed.items[0]) != override:
                raise settings_changed(function_id) from failed
        self._try_to_show(app_id, function_id, override.version)
        return override

    def in_force(self, app_id: str) -> dict[str, Override]:
        """Return the overrides of an app's functions by their ids."""
        items = self._table.query(_pk(app_id), begins=_SORT)
        found = {item["sk"].removeprefix(_SORT): _override(item) for item in items}
        return {function_id: each for function_id, each in found.items() if each is not None}

    def dropping(self, app_id: str, function_id: str) -> Write:
        """Return the write that drops an override; `hide` is to follow. Versions never repeat."""
        return update(
            _pk(app_id),
            _SORT + function_id,
            "SET #version = #version + :one REMOVE #changes",
            "attribute_exists(pk)",
            one=1,
        )

    def hide(self, app_id: str, function_id: str) -> None:
        """Have the copy of a dropped override deleted."""
        with suppress(Error):
            self._show(app_id, function_id)

    def _try_to_show(self, app_id: str, function_id: str, version: int) -> None:
        if not self._shows or (function_id, version) in self._tried:
            return
        self._tried.add((function_id, version))
        # The override is in force, whether people can see a copy of it or not.
        with suppress(Error):
            self._show(app_id, function_id)

    def _show(self, app_id: str, function_id: str) -> None:
        for _ in tries(self._clock, _TRIES):
            item = self._table.get(_pk(app_id), _SORT + function_id)
            if item is None or item.get("shown") == item["version"]:
                return
            self._write_copy(function_id, item)
            shown = update(
                _pk(app_id),
                _SORT + function_id,
                "SET #shown = :version",
                "#version = :version",
                version=item["version"],
            )
            with suppress(ConditionFailed):
                self._table.write(shown)
                return

    def _write_copy(self, function_id: str, item: Item) -> None:
        name = parameter_name(self._pools, function_id)
        ssm = self._clients.of("ssm")
        if "changes" not in item:
            with suppress(NotFoundError), explained("ssm", "DeleteParameter", name):
                conflicts(self._clock)(ssm.delete_parameter, Name=name)
            return
        copy = {
            "changes": loads(item["changes"]),
            "by": item["by"],
            "at": datetime.fromtimestamp(item["updated"], UTC).isoformat(timespec="seconds"),
            "version": item["version"],
        }
        with explained("ssm", "PutParameter", name):
            conflicts(self._clock)(
                ssm.put_parameter, Name=name, Value=dumps(copy), Type="String", Overwrite=True
            )


def _pk(app_id: str) -> str:
    return f"APP#{app_id}"


def _override(item: Mapping[str, Any]) -> Override | None:
    if "changes" not in item:
        return None
    changes = tuple(sorted(loads(item["changes"]).items()))
    return Override(changes, item["version"], float(item["updated"]), item["by"])


# What schedules wrote


def parameter_name(pools: str, function_id: str) -> str:
    """Return the name of a function's parameter, in which the + of a variant is not allowed."""
    return f"{pools}/{function_id.replace('+', '.')}"


class SsmScheduledSettings:
    """The `ScheduledSettings` port on Parameter Store.

    Args:
        clients: Where the client of Parameter Store comes from.
        pools: The path of the parameters, such as "/cloudfn/main/pools".
    """

    def __init__(self, clients: ClientSource, pools: str) -> None:
        self._clients = clients
        self._pools = pools

    def read(self) -> dict[str, Scheduled]:
        # A page has ten parameters, copies of overrides among them, and all machines of an account
        # share 40 requests a second.
        pages = self._clients.of("ssm").get_paginator("get_parameters_by_path")
        found: dict[str, Scheduled] = {}
        with explained("ssm", "GetParametersByPath", self._pools):
            for page in pages.paginate(Path=self._pools, Recursive=True):
                for parameter in page["Parameters"]:
                    name, _, rest = parameter["Name"].removeprefix(f"{self._pools}/").partition("/")
                    if rest == "scheduled":
                        written = parameter["LastModifiedDate"].timestamp()
                        found[name.replace(".", "+")] = scheduled(parameter["Value"], written)
        return found
