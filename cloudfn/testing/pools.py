"""Which functions there are in an offline run, by the same plans as a real deploy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cloudfn.clock import Clock
from cloudfn.control.deploy.apply import DeployResult, apply, close, observe
from cloudfn.control.deploy.overrides import update_override
from cloudfn.control.deploy.plan import DeployRequest, StopRequest, plan
from cloudfn.control.schedules.agenda import Agenda
from cloudfn.control.schedules.plan import Live, check_schedules
from cloudfn.errors import NotFoundError
from cloudfn.model import ids
from cloudfn.model.function import FunctionSpec
from cloudfn.model.variant import Variant, base_id, parameters_of, served
from cloudfn.providers.catalog import AppRecord, Catalog, FunctionRecord, RevisionSpec, effective

#: ids of functions of deployed apps say their names, so that a handle that a program keeps in a
#: global works in each test that deploys the app
_BY_NAME = "fu-by-name"


@dataclass(frozen=True, slots=True)
class Pool:
    """A function at one revision."""

    name: str
    app_id: str
    app_name: str
    function_id: str
    revision: int
    spec: FunctionSpec
    #: the program's module
    module: str
    #: of a class: the values of its parameters, encoded
    parameters: dict[str, Any] = field(default_factory=dict)


class Pools:
    """Apps and functions over a catalog.

    Args:
        catalog: Where they are registered.
        clock: The time.
        end_inputs: Cancels what is unfinished of a function.
        agenda: The schedules of the functions.
    """

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        end_inputs: Callable[[str], None],
        agenda: Agenda,
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._end_inputs = end_inputs
        self._agenda = agenda
        #: every pool that ever was: inputs stay with the revision they were submitted to
        self._pools: dict[str, Pool] = {}
        self._live: dict[str, Pool] = {}

    def __getitem__(self, name: str) -> Pool:
        return self._pools[name]

    def live(self, told_id: str) -> Pool:
        """Return the pool that new calls of a function go to.

        Raises:
            NotFoundError: There is no such function now.
        """
        function_id = self._function_id(told_id)
        pool = self._live.get(function_id) or self._open_variant(function_id)
        if pool is None:
            raise NotFoundError(
                f"There is no function {told_id} in this offline run.",
                hint="Its app was stopped, or not deployed since the run began.",
            )
        return pool

    def open(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Deploy an app, or open an ephemeral one."""
        request = DeployRequest(
            name=fields["name"],
            state=fields["state"],
            spec=RevisionSpec.from_json(fields["revision"]),
            strategy=fields["strategy"],
            keep_overrides=fields["keep_overrides"],
        )
        result = self._carry_out(request)
        app = result.app
        self._catalog.set_tags(app.app_id, fields.get("tags") or {})
        functions = self._catalog.functions(app.app_id)
        return {
            "app_id": app.app_id,
            "revision": app.revision,
            "changed": result.changed,
            "functions": {each.name: _told_id(app, each) for each in functions},
        }

    def close(self, app_id: str) -> None:
        """Stop an ephemeral app and forget it. Idempotent."""
        close(app_id, self._catalog, self, self._clock.wall())

    def end(self, name: str) -> None:
        """Stop a deployed app, by name or id."""
        record = self._catalog.app(name) if name.startswith("ap-") else None
        self._carry_out(StopRequest(record.name if record else name))

    def list(self, *, stopped: bool) -> list[dict[str, Any]]:
        """Return the apps."""
        return [
            {
                "app_id": app.app_id,
                "name": app.name,
                "state": app.state,
                "revision": app.revision,
                "created": app.created,
                "stopped": app.stopped,
                "containers": 0,
                "functions": [each.name for each in self._catalog.functions(app.app_id)],
                "function_ids": [
                    _told_id(app, each) for each in self._catalog.functions(app.app_id)
                ],
                "tags": dict(app.tags),
            }
            for app in self._catalog.apps(stopped=stopped)
        ]

    def set_tags(self, app_id: str, tags: dict[str, str]) -> None:
        """Replace an app's tags."""
        self._catalog.set_tags(app_id, tags)

    def look_up(self, app: str, name: str) -> dict[str, Any]:
        """Return a function of a deployed app, by name, or of any app by its id."""
        what = f"Lookup failed for Function '{name}' from the '{app}' app"
        record = self._catalog.app(app) if app.startswith("ap-") else self._catalog.deployed(app)
        if record is None or record.state == "stopped":
            raise NotFoundError(
                f"{what}: there is no deployed app of that name.",
                hint="Deploy it in the test: `app.deploy()`.",
            )
        functions = {each.name: each for each in self._catalog.functions(record.app_id)}
        if name not in functions:
            known = ", ".join(sorted(functions)) or "none"
            raise NotFoundError(
                f"{what}: it has no such function.", hint=f"Its functions are: {known}."
            )
        pool = self._live[functions[name].function_id]
        return {
            "function_id": _told_id(record, functions[name]),
            "name": name,
            "app_id": record.app_id,
            "app_name": record.name,
            "revision": record.revision,
            "spec": pool.spec.to_json(),
        }

    def describe(self, told_id: str) -> dict[str, Any]:
        """Return the same for a function by its id."""
        function = self._catalog.function(self.live(told_id).function_id)
        assert function is not None
        return self.look_up(function.app_id, function.name)

    def bind(
        self, told_id: str, parameters: dict[str, Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        """Register a variant of a function."""
        base = self.live(base_id(told_id))
        variant = Variant(parameters, options)
        variant = Variant(parameters_of(base.spec, variant), options)
        served(base.spec, variant)
        self._catalog.bind(base.function_id, variant)
        return {"function_id": variant.id_for(base_id(told_id))}

    def _open_variant(self, function_id: str) -> Pool | None:
        function = self._catalog.function(function_id)
        base = self._live.get(base_id(function.function_id)) if function else None
        if function is None or function.variant is None or base is None:
            return None
        pool = replace(
            base,
            name=ids.pool_name(function.function_id, base.revision),
            function_id=function.function_id,
            spec=served(base.spec, function.variant),
            parameters=parameters_of(base.spec, function.variant),
        )
        self._pools[pool.name] = self._live[function.function_id] = pool
        return pool

    def settings(self, told_id: str) -> dict[str, Any]:
        """Return a function's autoscaler settings."""
        pool = self.live(told_id)
        override = self._catalog.override(pool.function_id)
        return {"settings": asdict(effective(pool.spec, override))}

    def update_settings(self, told_id: str, changes: dict[str, int | None]) -> dict[str, Any]:
        """Merge changes onto a function's settings, whole or not at all."""
        pool = self.live(told_id)
        declared, now = pool.spec.autoscaler, self._clock.wall()
        settings, _ = update_override(
            self._catalog, pool.function_id, declared, changes, now=now, by="a test"
        )
        return {"settings": asdict(settings)}

    # What deploy's steps act through

    def switch(self, app_id: str, revision: int, strategy: str) -> None:
        record = self._catalog.app(app_id)
        live = self._catalog.revision(app_id, revision)
        if record is None or live is None:
            raise NotFoundError(f"App {app_id} has no version {revision}.")
        specs = {spec.name: spec for spec in live.spec.functions}
        self._live = {key: pool for key, pool in self._live.items() if pool.app_id != app_id}
        for function in self._catalog.functions(app_id):
            pool = Pool(
                ids.pool_name(function.function_id, revision),
                app_id,
                record.name,
                function.function_id,
                revision,
                specs[function.name],
                live.spec.module,
            )
            self._pools[pool.name] = self._live[function.function_id] = pool
        declared = [(key, pool.spec) for key, pool in self._live.items() if pool.app_id == app_id]
        overridden = frozenset(key for key, _ in declared if self._catalog.override(key))
        self._agenda.revise(Live(app_id, live.created, declared, overridden))

    def stop(self, app_id: str) -> None:
        self._agenda.drop(app_id)
        for pool in list(self._pools.values()):
            if pool.app_id == app_id:
                self._live.pop(pool.function_id, None)
                self._end_inputs(pool.function_id)

    def _carry_out(self, request: DeployRequest | StopRequest) -> DeployResult:
        current = observe(self._catalog, request)
        if isinstance(request, DeployRequest):
            check_schedules(request.spec.functions, self._clock.wall())
        return apply(plan(request, current), self._catalog, self, self._clock.wall())

    def _function_id(self, told_id: str) -> str:
        told_base = base_id(told_id)
        kind, _, rest = told_base.partition(":")
        if kind != _BY_NAME:
            return told_id
        app, _, name = rest.partition(":")
        record = self._catalog.deployed(app)
        functions = self._catalog.functions(record.app_id) if record else []
        found = next((each.function_id for each in functions if each.name == name), told_base)
        return found + told_id.removeprefix(told_base)


def _told_id(app: AppRecord, function: FunctionRecord) -> str:
    if app.state != "deployed":
        return function.function_id
    return f"{_BY_NAME}:{app.name}:{function.name}"
