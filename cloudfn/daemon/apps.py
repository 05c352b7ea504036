"""Apps of the environment: their revisions, their pools, and the settings in force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cloudfn.agent.agent import Agent
from cloudfn.agent.pool import Pool, PoolSpec
from cloudfn.agent.zygotes import Program, Runtime
from cloudfn.clock import Clock
from cloudfn.control.deploy.apply import DeployResult, apply, observe, observe_app
from cloudfn.control.deploy.plan import DeployedApp, DeployRequest, Request, RolloverRequest, plan
from cloudfn.control.schedules.plan import Live, check_schedules
from cloudfn.daemon.schedules import Scheduler
from cloudfn.daemon.web.doors import Doors
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model import ids
from cloudfn.model.call import ContainerLost
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.base import (
    AppRecord,
    Catalog,
    FunctionRecord,
    Override,
    RevisionRecord,
    RevisionSpec,
    effective,
)


class Apps:
    """Knows which pools exist and why. Single-threaded."""

    def __init__(  # noqa: PLR0913, PLR0917 - one for each that has a part in it
        self,
        catalog: Catalog,
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
        #: pools of retired revisions, kept while they have inputs
        self._retired: set[str] = set()

    # Lookup

    def pool_for(self, function_id: str) -> str:
        """Return the pool that new calls of a function go to."""
        pool = self._current.get(function_id)
        if pool is None:
            raise NotFoundError(
                f"There is no function {function_id} in this environment.",
                hint="Its app was stopped or deployed without it; see `cloudfn app list`.",
            )
        return pool

    def pool_of(self, function_id: str) -> Pool:
        """Return the pool that new calls and requests of a function go to.

        Raises:
            NotFoundError: The function is gone.
        """
        pool = self._agent.pool(self.pool_for(function_id))
        if pool is None:
            raise NotFoundError(f"There is no function {function_id} in this environment.")
        return pool

    def lookup(self, app: str, name: str) -> dict[str, Any]:
        """Return a function of a deployed app (by name), or of any app by its id."""
        record = self._catalog.app(app) if app.startswith("ap-") else self._catalog.deployed(app)
        if record is None or record.state == "stopped":
            raise NotFoundError(
                "there is no deployed app of that name.",
                hint="Deploy it with `cloudfn deploy FILE`, or see `cloudfn app list`.",
            )
        functions = self._catalog.functions(record.app_id)
        found = next((f for f in functions if f.name == name), None)
        if found is None:
            known = ", ".join(sorted(f.name for f in functions)) or "none"
            raise NotFoundError(
                "it has no such function.",
                hint=f"Its functions are: {known}.",
            )
        return self._description(found, record)

    def describe(self, function_id: str) -> dict[str, Any]:
        """Return the same for a function by its id."""
        function = self.function(function_id)
        app = self._catalog.app(function.app_id)
        if app is None or app.state == "stopped":
            raise NotFoundError(f"The app of {function.name} is stopped.")
        return self._description(function, app)

    def _description(self, function: FunctionRecord, app: AppRecord) -> dict[str, Any]:
        return {
            "function_id": function.function_id,
            "name": function.name,
            "app_id": app.app_id,
            "app_name": app.name,
            "revision": app.revision,
            "spec": self._function_spec(app, function.name).to_json(),
        }

    def named(self, name: str) -> AppRecord:
        """Return the live deployed app of that name, or any app by id."""
        record = self._catalog.app(name) if name.startswith("ap-") else self._catalog.deployed(name)
        if record is None:
            raise NotFoundError(
                f"There is no deployed app named '{name}'.", hint="See `cloudfn app list`."
            )
        return record

    def function(self, function_id: str) -> FunctionRecord:
        """Return a function by id."""
        record = self._catalog.function(function_id)
        if record is None:
            raise NotFoundError(f"There is no function {function_id}.")
        return record

    # Opening and closing

    def carry_out(self, request: Request) -> DeployResult:
        """Deploy, roll back or stop an app, or open an ephemeral one."""
        current = self._current_app(request)
        now, todo = self._clock.wall(), plan(request, current)
        self._doors.check(todo, current.app if current else None)
        if isinstance(request, DeployRequest):
            check_schedules(request.spec.functions, now)
        if current is not None and todo.changed and not _keeps_overrides(request):
            # First, as overrides are dropped first: a deploy that is tried again changes nothing.
            self._schedules.drop_dynamic(current.app.app_id)
        return apply(todo, self._catalog, self, now)

    def _current_app(self, request: Request) -> DeployedApp | None:
        if not isinstance(request, DeployRequest) or request.state == "deployed":
            return observe(self._catalog, request.name)
        if request.app_id is None:
            return None
        app = self._catalog.app(request.app_id)
        if app is None or app.state in ("deployed", "stopped"):
            raise NotFoundError(f"The app {request.app_id} does not run any more.")
        return observe_app(self._catalog, app)

    def close(self, app_id: str) -> None:
        """Stop an ephemeral app and forget it. Idempotent."""
        record = self._catalog.app(app_id)
        if record is None or record.state in ("deployed", "stopped"):
            return
        self.stop(app_id)
        self._catalog.stop_app(app_id, self._clock.wall())
        self._catalog.forget_app(app_id)

    # Pools (the port that deploy's steps act through)

    def switch(self, app_id: str, revision: int, strategy: str) -> None:
        """Send new calls of an app to the pools of a revision; older pools serve what they have."""
        record = self._catalog.app(app_id)
        live = self._catalog.revision(app_id, revision)
        if record is None or live is None:
            raise NotFoundError(f"App {app_id} has no version {revision}.")
        self._names[app_id] = record.name
        specs = {spec.name: spec for spec in live.spec.functions}
        wanted = set()
        present = []
        for function in self._catalog.functions(app_id):
            spec = specs.get(function.name)
            if spec is not None:
                wanted.add(self._open_pool(function, live, spec))
                present.append((function.function_id, spec))
        self._doors.install(record, present)
        for pool in self._agent.pools():
            if pool.spec.app_id == app_id and pool.spec.pool not in wanted:
                self._retire(pool.spec, strategy)
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
                self._end_inputs(pool.spec.function_id)
                self._retired.discard(pool.spec.pool)
                self._agent.drop_pool(pool.spec.pool)
        self._names.pop(app_id, None)
        self._poke()

    def _open_pool(
        self, function: FunctionRecord, revision: RevisionRecord, spec: FunctionSpec
    ) -> str:
        name = ids.pool_name(function.function_id, revision.number)
        self._current[function.function_id] = name
        self._retired.discard(name)
        settings = effective(spec, self._catalog.override(function.function_id))
        self._agent.add_pool(self._pool_spec(function, revision, spec), settings, live=True)
        return name

    def _pool_spec(
        self, function: FunctionRecord, revision: RevisionRecord, spec: FunctionSpec
    ) -> PoolSpec:
        source = revision.spec
        program = Program(
            Runtime(source.interpreter, source.import_paths),
            f"{self._bundles}/{source.bundle}",
            source.module,
            tuple(each.to_json() for each in source.functions),
            spec.fork,
        )
        name = ids.pool_name(function.function_id, revision.number)
        return PoolSpec(name, function.app_id, function.function_id, revision.number, spec, program)

    def _retire(self, spec: PoolSpec, strategy: str) -> None:
        pool = self._agent.pool(spec.pool)
        assert pool is not None
        pool.live = False
        self._retired.add(spec.pool)
        current = self._current.get(spec.function_id)
        self._agent.visits.redirect(pool, current if current != spec.pool else None)
        if self._current.get(spec.function_id) == spec.pool:
            self._current.pop(spec.function_id)
        if strategy == "recreate":
            for container in list(pool.containers.values()):
                why = ContainerLost("its app was deployed anew", counted=False)
                self._agent.stop(container, why)

    def drop_finished(self, unfinished: set[str]) -> None:
        """Forget pools of retired revisions that have neither inputs nor containers."""
        for name in [name for name in self._retired if name not in unfinished]:
            pool = self._agent.pool(name)
            if pool is None or not pool.containers:
                self._retired.discard(name)
                self._agent.drop_pool(name)

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
        if function is None or revision is None or app is None or app.state == "stopped":
            self._end_inputs(function_id)
            return
        spec = next((s for s in revision.spec.functions if s.name == function.name), None)
        if spec is None:
            self._end_inputs(function_id)
            return
        self._agent.add_pool(self._pool_spec(function, revision, spec), spec.autoscaler, live=False)
        self._retired.add(name)

    # Settings

    def settings(self, function_id: str) -> dict[str, Any]:
        """Return the settings in force, and who changed what when."""
        function = self.function(function_id)
        override = self._catalog.override(function_id)
        app = self._catalog.app(function.app_id)
        assert app is not None
        settings = effective(self._function_spec(app, function.name), override)
        return {
            "settings": asdict(settings),
            "overrides": dict(override.changes) if override else {},
            "updated": override.updated if override else None,
            "updated_by": override.updated_by if override else None,
        }

    def check_settings(self, function_id: str, changes: dict[str, int | None]) -> None:
        """Raise InvalidError unless changes fit the settings that a function declares."""
        function = self.function(function_id)
        app = self._catalog.app(function.app_id)
        assert app is not None
        self._function_spec(app, function.name).autoscaler.merged(changes)

    def update_settings(
        self, function_id: str, changes: dict[str, int | None], by: str
    ) -> dict[str, Any]:
        """Merge changes onto a function's settings, whole or not at all."""
        function = self.function(function_id)
        app = self._catalog.app(function.app_id)
        if app is None or app.state == "stopped":
            raise NotFoundError(f"The app of {function.name} is stopped.")
        spec = self._function_spec(app, function.name)
        present = self._catalog.override(function_id)
        merged = {**(dict(present.changes) if present else {}), **changes}
        settings = spec.autoscaler.merged(merged)
        override: Override = self._catalog.set_override(
            function_id,
            merged,
            expected=present.version if present else 0,
            now=self._clock.wall(),
            by=by,
        )
        pool = self._agent.pool(self.pool_for(function_id))
        if pool is not None:
            pool.settings = settings
        self._poke()
        return {"settings": asdict(settings), "version": override.version}

    def _function_spec(self, app: AppRecord, name: str) -> FunctionSpec:
        revision = self._catalog.revision(app.app_id, app.revision)
        specs = revision.spec.functions if revision else ()
        found = next((spec for spec in specs if spec.name == name), None)
        if found is None:
            raise NotFoundError(f"App {app.name} has no function {name}.")
        return found


def _keeps_overrides(request: Request) -> bool:
    if isinstance(request, DeployRequest):
        return request.keep_overrides
    return isinstance(request, RolloverRequest)


def parse_request(fields: dict[str, Any]) -> DeployRequest:
    """Return what an `app_open` asks for; raises InvalidError for what makes no sense."""
    state = fields.get("state", "ephemeral")
    if state not in ("ephemeral", "detached", "deployed"):
        raise InvalidError(f"An app cannot be opened as {state!r}.")
    return DeployRequest(
        name=fields["name"],
        state=state,
        spec=RevisionSpec.from_json(fields["revision"]),
        strategy=fields.get("strategy") or "rolling",
        keep_overrides=bool(fields.get("keep_overrides")),
        app_id=fields.get("app_id"),
    )
