"""Apps of a cloud: what a deploy, a stop and a change of settings do beyond the catalog."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from cloudfn.clock import Clock
from cloudfn.control.deploy.apply import DeployResult, apply, close, observe
from cloudfn.control.deploy.directory import Directory
from cloudfn.control.deploy.foresight import plan_json
from cloudfn.control.deploy.overrides import update_override, updated_json
from cloudfn.control.deploy.plan import DeployRequest, Request, keeps_overrides, plan
from cloudfn.control.invocation.ending import end_function
from cloudfn.control.invocation.fleet import function_of
from cloudfn.control.schedules.agenda import Agenda
from cloudfn.control.schedules.foresight import foresee, foresee_rest
from cloudfn.control.schedules.plan import Live, check_schedules
from cloudfn.errors import InvalidError, NotFoundError, UnimplementedError
from cloudfn.model.cls import shown_name
from cloudfn.model.ids import pool_name
from cloudfn.model.variant import base_id, default_variant
from cloudfn.providers.base import Cloud
from cloudfn.providers.catalog import AppRecord, FunctionRecord, RevisionSpec
from cloudfn.providers.machines import Stop


class Apps:
    """Deploys, stops and changes apps. Safe to share between threads.

    Args:
        cloud: Where they are.
        directory: Finds them.
        clock: The time.
        changed: Is called when pools are others than before.
    """

    def __init__(
        self, cloud: Cloud, directory: Directory, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self._cloud = cloud
        self._catalog = cloud.catalog
        self._directory = directory
        self._clock = clock
        self._changed = changed

    def carry_out(self, request: Request) -> DeployResult:
        """Deploy, roll back or stop an app, or open an ephemeral one."""
        current, now = observe(self._catalog, request), self._clock.wall()
        todo = plan(request, current)
        if isinstance(request, DeployRequest):
            check_schedules(request.spec.functions, now)
        if current is not None and todo.changed and not keeps_overrides(request):
            # First, as overrides are dropped first: a deploy that is tried again changes nothing.
            Agenda(self._cloud.schedules).drop_dynamic(current.app.app_id)
        result = apply(todo, self._catalog, self, now)
        if current is not None and isinstance(request, DeployRequest) and not todo.changed:
            self._complete(current.app)
        self._changed()
        return result

    def _complete(self, app: AppRecord) -> None:
        """Do what is left of a deploy that ended when its revision was live, and no more."""
        live = self._live(app.app_id, app.revision)
        self._open(live, self._cloud.doorbells.functions())
        Agenda(self._cloud.schedules).complete(live)

    def foreseen(self, request: Request) -> RevisionSpec | None:
        """Return the revision that a request would make live; None where it adds none."""
        return plan(request, observe(self._catalog, request)).revision

    def forecast(self, request: DeployRequest) -> dict[str, Any]:
        """Return what a deploy would do, as plain data; touches nothing."""
        current, now = observe(self._catalog, request), self._clock.wall()
        todo, functions = plan(request, current), request.spec.functions
        check_schedules(functions, now)
        app_id = "" if current is None else current.app.app_id
        known = {each.name: each.function_id for each in self._catalog.functions(app_id)}
        there = set(self._cloud.doorbells.functions())
        queues = [
            {"action": "open", "function_name": shown_name(spec.name)}
            for spec in functions
            if known.get(spec.name) not in there
        ]
        present, fired_by = self._cloud.schedules.schedules(), self._cloud.schedules.fired_by
        if current is None or todo.changed:
            keeps = request.keep_overrides
            told = foresee(app_id, functions, known, present, now, fired_by, keeps_dynamic=keeps)
            return {**plan_json(todo), "queues": queues, "schedules": told}
        # What `carry_out` completes.
        live = self._live(app_id, current.app.revision)
        rest = foresee_rest(live, known, present, fired_by)
        cut_short = current.app.revision if queues or rest else None
        return {**plan_json(todo, cut_short), "queues": queues, "schedules": rest}

    def close(self, app_id: str) -> None:
        """Stop an app that is not deployed, and forget it. Idempotent."""
        close_app(self._cloud, app_id, self._clock.wall())
        self._changed()

    # Pools (the port that deploy's steps act through)

    def switch(
        self,
        app_id: str,
        revision: int,
        strategy: str,
    ) -> None:
        """Have doorbells and schedules as a revision wants them; the planner does the rest.

        It lets old containers finish what they have; machines are told where they are not to.
        """
        live = self._live(app_id, revision)
        self._open(live)
        if any(spec.schedule or spec.scaling for _, spec in live.functions) or revision > 1:
            Agenda(self._cloud.schedules).revise(live)
        if strategy == "recreate" and revision > 1:
            self._end_containers(app_id, revision)

    def _live(self, app_id: str, revision: int) -> Live:
        record = self._catalog.revision(app_id, revision)
        if record is None:
            raise NotFoundError(
                f"App {app_id} has no version {revision}.",
                hint="See `cloudfn app list` and `cloudfn app history APP`.",
            )
        specs = {spec.name: spec for spec in record.spec.functions}
        present = [
            (each.function_id, specs[each.name])
            for each in self._catalog.functions(app_id)
            if each.name in specs
        ]
        overridden = frozenset(f for f, _ in present if self._catalog.override(f) is not None)
        return Live(app_id, record.created, present, overridden)

    def _open(self, live: Live, there: Collection[str] = ()) -> None:
        """Open the doorbells of functions, but for those that are there."""
        for function_id, spec in live.functions:
            if function_id not in there:
                self._cloud.doorbells.open(function_id)
            variant = default_variant(spec)
            if variant is not None and spec.autoscaler.min_containers:
                self._catalog.bind(function_id, variant)

    def _end_containers(self, app_id: str, revision: int) -> None:
        """Have the containers of all other revisions end at once; their inputs run again."""
        functions = [*self._catalog.functions(app_id), *self._catalog.variants(app_id)]
        staying = {
            each.function_id
            for each in functions
            if each.variant is not None and each.variant.version is not None
        }
        ours = {each.function_id for each in functions} - staying
        for row in self._cloud.machines.list():
            stops = [
                Stop(pool)
                for pool in row.report.pools
                if function_of(pool) in ours and pool != pool_name(function_of(pool), revision)
            ]
            if stops:
                self._cloud.machines.stop(row.report.machine_id, stops)

    def stop(self, app_id: str) -> None:
        """End an app's calls, doorbells and schedules."""
        stop_pools(self._cloud, app_id)

    # Functions

    def bind(
        self, function_id: str, parameters: dict[str, Any], options: dict[str, Any]
    ) -> FunctionRecord:
        """Register a variant of a function.

        Raises:
            InvalidError: A parameter is missing, unknown or of another type, or an option makes no
                sense.
        """
        bound, _ = self._directory.varied(function_id, parameters, options)
        assert bound.variant is not None
        return self._catalog.bind(base_id(function_id), bound.variant)

    def settings_of(self, function: FunctionRecord) -> dict[str, Any]:
        """Return the settings in force, and who changed what when."""
        return self._directory.settings(self._directory.live_app(function), function)

    def update_settings(
        self, function_id: str, changes: dict[str, int | None], by: str
    ) -> dict[str, Any]:
        """Merge changes onto a function's settings, whole or not at all."""
        declared = self._directory.scalable(function_id).autoscaler
        settings, override = update_override(
            self._catalog, function_id, declared, changes, now=self._clock.wall(), by=by
        )
        self._changed()
        return updated_json(settings, override)


class _Stopping:
    """What ends an app's pools, for `close`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def switch(self, app_id: str, revision: int, strategy: str) -> None:
        """Nothing is switched where apps are only closed."""

    def stop(self, app_id: str) -> None:
        """End an app's calls, doorbells and schedules."""
        stop_pools(self._cloud, app_id)


def close_app(cloud: Cloud, app_id: str, now: float) -> None:
    """Stop an app that is not deployed, and forget it; others are left alone. Idempotent."""
    close(app_id, cloud.catalog, _Stopping(cloud), now)


def stop_pools(cloud: Cloud, app_id: str) -> None:
    """End an app's schedules, and calls and doorbells of all its versions. Idempotent."""
    Agenda(cloud.schedules).drop(app_id)
    functions = cloud.catalog.everything(app_id)
    for each in functions:
        end_function(cloud, each.function_id)
    for function_id in {base_id(each.function_id) for each in functions}:
        cloud.doorbells.remove(function_id)


def check_possible(spec: RevisionSpec, *, interactive: bool) -> None:
    """Raise an Error where an app asks for what there is not on a cloud.

    Raises:
        InvalidError: Its runtime is another than Docker's.
        UnimplementedError: It is interactive, or answers requests.
    """
    if spec.runtime != "docker":
        raise InvalidError(
            f"On a cloud containers are Docker's, not those of the runtime {spec.runtime!r}.",
            hint="Leave `--runtime` and CLOUDFN_RUNTIME away.",
        )
    if interactive:
        raise UnimplementedError(
            "Containers on a cloud do not see your terminal, so that a run there cannot be "
            "interactive.",
            hint="Leave `-i` away, or use `--provider local`.",
        )
    answering = next((each.name for each in spec.functions if each.web), None)
    if answering is not None:
        raise UnimplementedError(
            f"{shown_name(answering)} answers HTTP requests, which functions on a cloud do not "
            "yet.",
            hint="Run web functions with the embedded provider: `--provider local`.",
        )
