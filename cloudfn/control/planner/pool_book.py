"""What the catalog says of pools, asked anew every few seconds. Thin I/O, one thread."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cloudfn.control.deploy.directory import version_of
from cloudfn.control.planner.fleet_snapshot import PoolView
from cloudfn.errors import Error
from cloudfn.model import ids
from cloudfn.model.function import FunctionSpec
from cloudfn.model.variant import default_variant, served
from cloudfn.providers.catalog import (
    AppRecord,
    Catalog,
    FunctionRecord,
    Override,
    RevisionSpec,
)
from cloudfn.providers.ledger import PoolCounts
from cloudfn.providers.scheduled import Scheduled, ScheduledSettings, in_force

_log = logging.getLogger(__name__)

#: seconds for which apps are taken to be as they were, and the variants of their functions
_APPS_FOR, _FUNCTIONS_FOR = 5.0, 30.0
#: and settings; who changes apps or settings calls the planner, which looks at once then
_SETTINGS_FOR = 15.0
#: and what schedules of the provider wrote
_SCHEDULED_FOR = 30.0
#: apps that are asked for at once
_THREADS = 8
_NOTHING = PoolCounts(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Facts:
    """What runs in a pool."""

    pool: str
    app_id: str
    app_name: str
    function_id: str
    #: as its pool has it, with the options of its variant
    function: FunctionSpec
    #: the name of the function or variant for people
    shown: str
    #: the app lives and this is its live revision
    live: bool

    @property
    def full_name(self) -> str:
        """Its name for people, with its app's."""
        return f"{self.app_name or self.app_id}/{self.shown}"


class PoolBook:
    """Knows what runs in each pool, and its settings.

    Args:
        catalog: The truth.
        scheduled: What schedules of the provider write by themselves; None: they cannot.
    """

    def __init__(self, catalog: Catalog, scheduled: ScheduledSettings | None = None) -> None:
        self._catalog = catalog
        self._scheduled = scheduled
        self._wanted: Mapping[str, Scheduled] = {}
        self._wanted_at = float("-inf")
        self._revisions: dict[tuple[str, int], RevisionSpec | None] = {}
        #: (app, revision) → when its functions and variants were looked at, and what they are
        self._apps: dict[tuple[str, int], tuple[float, tuple[Facts, ...]]] = {}
        self._live: dict[str, Facts] = {}
        self._others: dict[str, Facts | None] = {}
        self._overrides: dict[str, tuple[float, Override | None]] = {}
        self._asked = float("-inf")

    def refresh(self, now: float) -> None:
        """Look at the apps again, if the last look was a while ago."""
        if now - self._asked < _APPS_FOR:
            return
        self._asked = now
        self._others.clear()
        before, never = self._apps, (float("-inf"), ())
        apps = {(app.app_id, app.revision): app for app in self._catalog.apps()}
        self._apps = {key: before.get(key, never) for key in apps}
        late = [key for key, (at, _) in self._apps.items() if now - at >= _FUNCTIONS_FOR]
        if late:
            with ThreadPoolExecutor(min(len(late), _THREADS)) as threads:
                told = list(threads.map(lambda key: tuple(self._of_app(apps[key])), late))
            self._apps |= {key: (now, found) for key, found in zip(late, told, strict=True)}
        found_all = [facts for _, found in self._apps.values() for facts in found]
        self._live = {facts.pool: facts for facts in found_all}
        if self._scheduled is not None and now - self._wanted_at >= _SCHEDULED_FOR:
            self._wanted_at = now
            try:
                self._wanted = self._scheduled.read()
            except Error as error:
                # What was read last counts until they can be read again.
                _log.warning("settings that schedules wrote cannot be read: %s", error.message)

    def outdate(self) -> None:
        """Take nothing of apps and settings to be as it was."""
        never = self._asked = float("-inf")
        self._overrides = {name: (never, known) for name, (_, known) in self._overrides.items()}

    def live(self) -> list[str]:
        """Return the pools of the live revisions of all apps."""
        return list(self._live)

    def facts(self, pool: str) -> Facts | None:
        """Return what runs in a pool, of whatever revision; None: nobody knows it any more."""
        if pool in self._live:
            return self._live[pool]
        if pool not in self._others:
            self._others[pool] = self._look_up(pool)
        return self._others[pool]

    def refresh_settings(self, pools: Iterable[str], now: float) -> None:
        """Look at the settings of pools again, of all whose last look was a while ago at once."""
        due: dict[str, str] = {}
        for facts in filter(None, map(self.facts, pools)):
            at, _ = self._overrides.get(facts.function_id, (float("-inf"), None))
            if now - at >= _SETTINGS_FOR:
                due[facts.function_id] = facts.app_id
        found = self._catalog.overrides(due) if due else {}
        self._overrides |= {each: (now, found.get(each)) for each in due}

    def view(self, pool: str, counts: PoolCounts | None, now: float) -> PoolView | None:
        """Return a pool as decisions see it, with the settings of the last look.

        Args:
            pool: Its name.
            counts: Its inputs; None: it has none.
            now: Seconds since the epoch.
        """
        facts = self.facts(pool)
        if facts is None:
            return None
        spec = facts.function
        _, override = self._overrides.get(facts.function_id, (now, None))
        wanted = self._wanted.get(facts.function_id)
        settings, remark = in_force(spec.autoscaler, override, wanted)
        pending, delayed, running = counts or _NOTHING
        return PoolView(
            pool,
            settings,
            facts.live,
            pending,
            delayed,
            running,
            spec.resources.cpu,
            spec.resources.memory,
            spec.gpu,
            spec.gpu_memory,
            spec.target_slots,
            spec.single_use,
            spec.platform,
            facts.full_name,
            remark,
        )

    def _of_app(self, app: AppRecord) -> list[Facts]:
        found: list[Facts] = []
        for function in self._catalog.functions(app.app_id):
            found += filter(None, [self._facts(function, app, app.revision)])
            spec = self._declared(app, function, app.revision)
            default = default_variant(spec) if spec is not None else None
            if default is not None and spec is not None and spec.autoscaler.min_containers:
                # Its containers are kept warm before anybody asks for it.
                self._catalog.bind(function.function_id, default)
        for variant in self._catalog.variants(app.app_id):
            found += filter(None, [self._facts(variant, app, version_of(variant, app))])
        return found

    def _look_up(self, pool: str) -> Facts | None:
        function_id, _, number = pool.rpartition("@")
        function = self._catalog.function(function_id)
        app = self._catalog.app(function.app_id) if function is not None else None
        if function is None or app is None or not number.isdecimal():
            return None
        return self._facts(function, app, int(number))

    def _facts(self, function: FunctionRecord, app: AppRecord, number: int) -> Facts | None:
        declared = self._declared(app, function, number)
        if declared is None:
            return None
        try:
            spec = served(declared, function.variant)
        except Error:
            return None  # the variant does not fit this revision
        live = app.state != "stopped" and number == version_of(function, app)
        pool = ids.pool_name(function.function_id, number)
        name = function.function_id
        return Facts(pool, app.app_id, app.name, name, spec, function.shown, live)

    def _declared(
        self, app: AppRecord, function: FunctionRecord, number: int
    ) -> FunctionSpec | None:
        key = app.app_id, number
        if self._revisions.get(key) is None:
            record = self._catalog.revision(*key)
            self._revisions[key] = record.spec if record is not None else None
        revision = self._revisions[key]
        return revision.function(function.name) if revision is not None else None
