"""Apps of the environment: their revisions, their pools, and the settings in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from cloudfn.agent.agent import Agent
from cloudfn.agent.pool import Pool, PoolSpec
from cloudfn.clock import Clock
from cloudfn.control.deploy.apply import DeployResult, apply, close, observe
from cloudfn.control.deploy.directory import Directory, version_of
from cloudfn.control.deploy.foresight import plan_json
from cloudfn.control.deploy.overrides import update_override, updated_json
from cloudfn.control.deploy.plan import DeployRequest, Request, keeps_overrides, plan
from cloudfn.control.schedules.foresight import foresee
from cloudfn.control.schedules.plan import Live, check_schedules
from cloudfn.daemon.runtimes import Runtimes
from cloudfn.daemon.schedules import Scheduler
from cloudfn.daemon.specs import pool_spec
from cloudfn.daemon.web.doors import Doors
from cloudfn.errors import NotFoundError
from cloudfn.model import ids
from cloudfn.model.call import ContainerLost
from cloudfn.model.function import FunctionSpec
from cloudfn.model.variant import base_id, default_variant
from cloudfn.providers.catalog import (
    AppRecord,
    Catalog,
    FunctionRecord,
    RevisionRecord,
    RevisionSpec,
    effective,
)

#: seconds after which the pool of a variant that nobody uses is forgotten, until it is used again
_VARIANT_IDLE = 60.0


class Apps:
    """Knows which pools exist and why. Single-threaded."""

    def __init__(  # noqa: PLR0913, PLR0917 - one for each that has a part in it
        self,
        catalog: Catalog,
        directory: Directory,
        runtimes: Runtimes,
        agent: Agent,
        clock: Clock,
        bundles: str,
        names: dict[str, str],
        poke: Callable[[], None],
        end_inputs: Callable[[str], None],
        schedules: Scheduler,
        doors: Doors,
    ) -> None:
        self._catalog = catalog
        self._directory = directory
        self._runtimes = runtimes
        self._agent = agent
        self._clock = clock
        self._bundles = bundles
        self._names = names
        self._poke = poke
        self._end_inputs = end_inputs
        self._schedules = schedules
        self._doors = doors
        #: function id → pool that new calls go to
        self._current: dict[str, str] = {}
        #: variants that requests alone have named; they go with their pools, and are not written
        self._visited: dict[str, FunctionRecord] = {}
        #: pools of retired revisions, kept while they have inputs
        self._retired: set[str] = set()

    # Lookup

    def pool_for(self, function_id: str) -> str:
        """Return the pool that new calls of a function go to."""
        if function_id in self._visited:
            self._keep(self._visited[function_id])
        return self._pool(function_id)

    def pool_of(self, function_id: str) -> Pool:
        """Return the pool that requests of a function go to.

        Raises:
            NotFoundError: The function is gone.
        """
        pool = self._agent.pool(self._pool(function_id))
        if pool is None:
            raise _gone(function_id)
        return pool

    def _pool(self, function_id: str) -> str:
        pool = self._current.get(function_id) or self._open_variant(function_id)
        if pool is None:
            raise _gone(function_id)
        return pool

    def instance(
        self,
        function_id: str,
        parameters: dict[str, Any],
        check: Callable[[Iterable[FunctionSpec]], None],
    ) -> str:
        """Return the function id of the instance of a class that a request names.

        Anybody may name any number of them, so it is only known as long as it has a pool, unless
        it is bound as well.

        Raises:
            InvalidError: A parameter is missing, unknown or of another type, or `check` says so.
        """
        function = self._variant(function_id, parameters, {}, check)
        known = function.function_id in self._current
        if not known and self._catalog.function(function.function_id) is None:
            self._visited[function.function_id] = function
        return function.function_id

    def bind(
        self,
        function_id: str,
        parameters: dict[str, Any],
        options: dict[str, Any],
        check: Callable[[Iterable[FunctionSpec]], None],
    ) -> FunctionRecord:
        """Register a variant of a function, whose pool is opened when it is first used.

        Raises:
            InvalidError: A parameter is missing, unknown or of another type, or an option makes no
                sense, or `check` says so.
        """
        return self._keep(self._variant(function_id, parameters, options, check))

    def variants(self, function_id: str) -> list[FunctionRecord]:
        """Return the variants of a function: those that were bound, then those only visited."""
        visited = [v for v in self._visited.values() if base_id(v.function_id) == function_id]
        return self._directory.variants(function_id) + visited

    def _variant(
        self,
        function_id: str,
        parameters: dict[str, Any],
        options: dict[str, Any],
        check: Callable[[Iterable[FunctionSpec]], None],
    ) -> FunctionRecord:
        function, spec = self._directory.varied(function_id, parameters, options)
        check([spec])
        return function

    def _keep(self, function: FunctionRecord) -> FunctionRecord:
        assert function.variant is not None
        self._visited.pop(function.function_id, None)
        return self._catalog.bind(base_id(function.function_id), function.variant)

    # Opening and closing

    def carry_out(self, request: Request) -> DeployResult:
        """Deploy, roll back or stop an app, or open an ephemeral one."""
        current = observe(self._catalog, request)
        now, todo = self._clock.wall(), plan(request, current)
        self._doors.check(todo, current.app if current else None)
        if isinstance(request, DeployRequest):
            check_schedules(request.spec.functions, now)
        if current is not None and todo.changed and not keeps_overrides(request):
            # First, as overrides are dropped first: a deploy that is tried again changes nothing.
            self._schedules.drop_dynamic(current.app.app_id)
        return apply(todo, self._catalog, self, now)

    def foreseen(self, request: Request) -> RevisionSpec | None:
        """Return the revision that a request would make live; None where it adds none."""
        return plan(request, observe(self._catalog, request)).revision

    def forecast(self, request: DeployRequest) -> dict[str, Any]:
        """Return what a deploy would do, as plain data; touches nothing."""
        current, now = observe(self._catalog, request), self._clock.wall()
        todo, functions = plan(request, current), request.spec.functions
        self._doors.check(todo, current.app if current else None)
        check_schedules(functions, now)
        app_id = "" if current is None else current.app.app_id
        schedules = foresee(
            app_id,
            functions,
            {each.name: each.function_id for each in self._catalog.functions(app_id)},
            self._schedules.agenda.records(),
            now,
            lambda _rule: "the daemon",
            keeps_dynamic=request.keep_overrides,
        )
        return {**plan_json(todo), "queues": [], "schedules": schedules if todo.changed else []}

    def close(self, app_id: str) -> None:
        """Stop an ephemeral app and forget it. Idempotent."""
        close(app_id, self._catalog, self, self._clock.wall())

    # Pools (the port that deploy's steps act through)

    def switch(self, app_id: str, revision: int, strategy: str) -> None:
        """Send new calls of an app to the pools of a revision; older pools serve what they have."""
        record = self._catalog.app(app_id)
        live = self._catalog.revision(app_id, revision)
        if record is None or live is None:
            raise NotFoundError(
                f"App {app_id} has no version {revision}.",
                hint="See `cloudfn app list` and `cloudfn app history APP`.",
            )
        self._names[app_id] = record.name
        specs = {spec.name: spec for spec in live.spec.functions}
        present = []
        for function in self._catalog.functions(app_id):
            spec = specs.get(function.name)
            if spec is not None:
                self._open_pool(function, live)
                self._open_default(function, live, spec)
                present.append((function.function_id, spec))
        for variant in self._catalog.variants(app_id):
            if self._catalog.override(variant.function_id) is not None:
                self._open_variant(variant.function_id)
        self._doors.install(record, present)
        for pool in self._agent.pools():
            old = pool.spec
            if old.app_id == app_id and old.revision != revision and not old.pinned:
                self._retire(old, strategy)
        ours = [function_id for function_id, _ in present]
        overridden = frozenset(each for each in ours if self._catalog.override(each) is not None)
        self._schedules.revise(Live(app_id, live.created, present, overridden))
        self._poke()

    def stop(self, app_id: str) -> None:
        """End an app's pools; unfinished inputs are cancelled."""
        self._schedules.drop(app_id)
        self._doors.remove(app_id)
        for pool in self._agent.pools():
            if pool.spec.app_id == app_id:
                self._current.pop(pool.spec.function_id, None)
                self._visited.pop(pool.spec.function_id, None)
                self._end_inputs(pool.spec.function_id)
                self._retired.discard(pool.spec.pool)
                self._agent.drop_pool(pool.spec.pool)
        self._names.pop(app_id, None)
        self._poke()

    def _open_variant(self, function_id: str) -> str | None:
        """Open the pool of a variant that is used for the first time in this revision."""
        function = self._visited.get(function_id) or self._catalog.function(function_id)
        app = self._catalog.app(function.app_id) if function else None
        if function is None or function.variant is None or app is None or app.state == "stopped":
            return None
        revision = self._catalog.revision(app.app_id, version_of(function, app))
        if revision is None or revision.spec.function(function.name) is None:
            return None
        return self._open_pool(function, revision)

    def _open_default(
        self, function: FunctionRecord, revision: RevisionRecord, spec: FunctionSpec
    ) -> None:
        """Keep the containers of a class warm that are for the instance without parameters."""
        variant = default_variant(spec)
        if variant is not None and spec.autoscaler.min_containers:
            self._open_pool(self._catalog.bind(function.function_id, variant), revision)

    def _open_pool(self, function: FunctionRecord, revision: RevisionRecord) -> str:
        name = ids.pool_name(function.function_id, revision.number)
        self._current[function.function_id] = name
        self._retired.discard(name)
        spec = self._pool_spec(function, revision)
        settings = effective(spec.function, self._catalog.override(function.function_id))
        self._agent.add_pool(spec, settings, live=True)
        return name

    def _pool_spec(self, function: FunctionRecord, revision: RevisionRecord) -> PoolSpec:
        return pool_spec(
            function,
            revision,
            self._runtimes.of(revision.spec, function.name),
            self._bundles,
            self._names.get(function.app_id, ""),
        )

    def renew_runtimes(self) -> None:
        """Have new containers made of the images as they are: some were built anew, or removed."""
        for pool in self._agent.pools():
            old = pool.spec
            revision = self._catalog.revision(old.app_id, old.revision)
            if revision is None:
                continue
            runtime = self._runtimes.of(revision.spec, old.function.name)
            if runtime != old.program.runtime:
                program = replace(old.program, runtime=runtime)
                self._agent.renew(pool, replace(old, program=program))
        self._poke()

    def _retire(self, spec: PoolSpec, strategy: str) -> None:
        pool = self._agent.pool(spec.pool)
        assert pool is not None
        pool.live = False
        self._retired.add(spec.pool)
        if self._current.get(spec.function_id) == spec.pool:
            self._current.pop(spec.function_id)
        if pool.visitors:
            new = self._current.get(spec.function_id) or self._open_variant(spec.function_id)
            self._agent.visits.redirect(pool, new)
        if spec.function_id not in self._current:
            self._visited.pop(spec.function_id, None)
        if strategy == "recreate":
            for container in list(pool.containers.values()):
                why = ContainerLost("its app was deployed anew", counted=False)
                self._agent.interrupt(container, why)

    def drop_finished(self, unfinished: set[str]) -> None:
        """Forget pools of retired revisions that have neither inputs nor containers.

        Those of variants as well, when nobody has used them for a while.
        """
        self._drop_idle_variants(unfinished)
        for name in [name for name in self._retired if name not in unfinished]:
            pool = self._agent.pool(name)
            if pool is None or not pool.containers:
                self._retired.discard(name)
                self._agent.drop_pool(name)

    def _drop_idle_variants(self, unfinished: set[str]) -> None:
        now = self._clock.monotonic()
        for pool in self._agent.pools():
            spec = pool.spec
            if (
                spec.function_id == base_id(spec.function_id)
                or pool.containers
                or pool.visitors
                or spec.pool in unfinished
                or pool.settings.min_containers
                or now - pool.last_active < _VARIANT_IDLE
                or self._current.get(spec.function_id) != spec.pool
            ):
                continue
            app = self._catalog.app(spec.app_id)
            if app is not None and app.state == "deployed":  # others count what their pools did
                del self._current[spec.function_id]
                self._visited.pop(spec.function_id, None)
                self._agent.drop_pool(spec.pool)

    def restore(self, unfinished: list[str]) -> list[AppRecord]:
        """After a start: open the pools of live apps, and of revisions that have inputs left.

        Returns:
            The ephemeral apps, whose clients may come back.
        """
        ephemeral = []
        for record in self._catalog.apps():
            self.switch(record.app_id, record.revision, "rolling")
            if record.state == "ephemeral":
                ephemeral.append(record)
        for name in unfinished:
            if self._agent.pool(name) is None:
                self._restore_retired(name)
        return ephemeral

    def _restore_retired(self, name: str) -> None:
        function_id, _, number = name.rpartition("@")
        function = self._catalog.function(function_id)
        revision = None
        if function is not None:
            revision = self._catalog.revision(function.app_id, int(number))
        app = self._catalog.app(function.app_id) if function is not None else None
        stopped = app is None or app.state == "stopped"
        if (
            stopped
            or function is None
            or revision is None
            or revision.spec.function(function.name) is None
        ):
            self._end_inputs(function_id)
        elif function.variant is not None and app and revision.number == version_of(function, app):
            self._open_pool(function, revision)
        else:
            spec = self._pool_spec(function, revision)
            self._agent.add_pool(spec, spec.function.autoscaler, live=False)
            self._retired.add(name)

    # Settings

    def settings(self, function_id: str) -> dict[str, Any]:
        """Return the settings in force, and who changed what when."""
        return self.settings_of(self._directory.function(function_id))

    def settings_of(self, function: FunctionRecord) -> dict[str, Any]:
        """Return the same for a function that is known.

        Raises:
            InvalidError: The variant does not fit the revision that serves it.
            NotFoundError: There is no such revision.
        """
        app = self._catalog.app(function.app_id)
        assert app is not None
        return self._directory.settings(app, function)

    def update_settings(
        self, function_id: str, changes: dict[str, int | None], by: str
    ) -> dict[str, Any]:
        """Merge changes onto a function's settings, whole or not at all."""
        declared, now = self._directory.scalable(function_id).autoscaler, self._clock.wall()
        settings, override = update_override(
            self._catalog, function_id, declared, changes, now=now, by=by
        )
        pool = self._agent.pool(self.pool_for(function_id))
        if pool is not None:
            pool.settings = settings
        self._poke()
        return updated_json(settings, override)


def _gone(function_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no function {function_id} in this environment.",
        hint="Its app was stopped or deployed without it; see `cloudfn app list`.",
    )
