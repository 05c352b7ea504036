"""Operations on apps: open, close, list, history, rollback."""

from __future__ import annotations

from collections.abc import Iterable

from cloudfn.control.deploy.plan import DeployRequest, RollbackRequest, RolloverRequest, StopRequest
from cloudfn.control.deploy.request import parse_request, parse_tags
from cloudfn.control.deploy.shown import app_json, history_json
from cloudfn.control.operations import Fields, Group
from cloudfn.control.stores.later import Later
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session
from cloudfn.errors import Error, InvalidError, NotFoundError
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.catalog import AppRecord, RevisionSpec
from cloudfn.wire.replies import error_json


def check_runtime(spec: RevisionSpec, *, interactive: bool) -> None:
    """Raise InvalidError where an app asks for what its runtime cannot do."""
    if interactive and spec.runtime == "docker":
        raise InvalidError(
            "Containers of Docker do not see your terminal, so that a run in them cannot be "
            "interactive.",
            hint="Leave either `-i` or `--runtime docker` away.",
        )
    for function in spec.functions:
        if function.block_network and spec.runtime == "process":
            raise InvalidError(
                f"The function {function.name!r} asks for containers without a network, and "
                "processes of this machine have its network.",
                hint="Run it with `--runtime docker`, or leave `block_network` away.",
            )


class AppOperations(Group):
    """Operations on apps."""

    for_containers = frozenset({"app_list", "app_terminal"})
    for_processes = frozenset({"app_terminal"})

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: ephemeral app → the client that it lives with
        self.owners: dict[str, Session | None] = {}
        #: app that runs interactively → path of its client's terminal
        self._terminals: dict[str, str] = {}

    def op_app_open(self, session: Session, fields: Fields) -> Fields:
        request = parse_request(fields)
        self._engine.stores.secrets.check(request.spec.functions)
        self._engine.stores.volumes.check(request.spec.functions)
        self._engine.place.machine.check_gpus(request.spec.functions)
        check_runtime(request.spec, interactive=bool(fields.get("terminal")))
        self._engine.runtimes.check(request.spec)
        self._make_way(request)
        result = self._engine.apps.carry_out(request)
        app = result.app
        if app.state == "ephemeral" and request.app_id is None:
            self.owners[app.app_id] = session
        if fields.get("tags") is not None and dict(app.tags) != fields["tags"]:
            self._engine.catalog.set_tags(app.app_id, parse_tags(fields))
        if fields.get("terminal"):
            self._terminals[app.app_id] = str(fields["terminal"])
        functions = self._engine.catalog.functions(app.app_id)
        return {
            "app_id": app.app_id,
            "revision": app.revision,
            "changed": result.changed,
            "functions": {function.name: function.function_id for function in functions},
            "urls": (urls := self._engine.urls(app.app_id)),
            "warnings": self._warnings(request.spec.functions, web=bool(urls)),
        }

    def op_app_plan(self, _session: Session, fields: Fields) -> Fields:
        request = parse_request(fields)
        self._engine.stores.secrets.check(request.spec.functions, unnamed=False)
        self._engine.place.machine.check_gpus(request.spec.functions)
        check_runtime(request.spec, interactive=False)
        return self._engine.apps.forecast(request)

    def _make_way(self, request: DeployRequest) -> None:
        """End apps whose client is gone, where a new one wants their web labels."""
        deployed = request.state == "deployed"
        for app_id in self._engine.doors.holders(request.name, request.spec, deployed=deployed):
            app = self._engine.catalog.app(app_id)
            is_left = app is not None and app.state == "ephemeral" and not self.owners.get(app_id)
            if is_left and app_id != request.app_id:
                self.close(app_id)

    def _warnings(self, functions: Iterable[FunctionSpec], *, web: bool) -> list[str]:
        notice = self._engine.gateway.notice if web else None
        return self._engine.place.machine.clipped(functions) + ([notice] if notice else [])

    def op_app_detach(self, _session: Session, fields: Fields) -> Fields:
        self._engine.catalog.set_state(fields["app_id"], "detached")
        self.owners.pop(fields["app_id"], None)
        return {}

    def op_app_reattach(self, session: Session, fields: Fields) -> Fields:
        record = self._engine.catalog.app(fields["app_id"])
        if record is None or record.state == "stopped":
            raise NotFoundError("The app of this run was stopped.", hint="Run it again.")
        if record.state == "ephemeral":
            self.owners[record.app_id] = session
        return {}

    def op_app_close(self, _session: Session, fields: Fields) -> Later:
        app_id = fields["app_id"]
        summary = self._engine.progress(app_id)
        self.close(app_id)
        reply = {
            "containers_peak": summary["peak"],
            "done": summary["done"],
            "failed": summary["failed"],
        }
        later = Later()
        patience = float(fields.get("patience") or 0.0)
        self._engine.when_quiet(app_id, patience, lambda: later.give(reply))
        return later

    def op_app_terminal(self, _session: Session, fields: Fields) -> Fields:
        return {"terminal": self._terminals.get(fields["app_id"])}

    def close(self, app_id: str) -> None:
        """Stop an ephemeral app, and forget whose it was."""
        self.owners.pop(app_id, None)
        self._terminals.pop(app_id, None)
        self._engine.apps.close(app_id)

    def op_app_tag(self, _session: Session, fields: Fields) -> Fields:
        self._engine.catalog.set_tags(fields["app_id"], parse_tags(fields))
        return {}

    def op_app_stop(self, _session: Session, fields: Fields) -> Fields:
        record = self._engine.directory.app(fields["name"])
        if record.state == "deployed":
            self._engine.apps.carry_out(StopRequest(record.name))
        else:  # an App that runs knows its id
            self._engine.apps.close(record.app_id)
        return {"app_id": record.app_id}

    def op_app_list(self, _session: Session, fields: Fields) -> Fields:
        apps = self._engine.catalog.apps(stopped=bool(fields.get("all")))
        return {"apps": [self._app(app) for app in apps]}

    def _app(self, app: AppRecord) -> Fields:
        pools = [p for p in self._engine.agent.pools() if p.spec.app_id == app.app_id]
        functions = self._engine.catalog.functions(app.app_id)
        count = sum(len(pool.containers) for pool in pools)
        return app_json(app, functions, count, self._engine.urls(app.app_id))

    def op_app_history(self, _session: Session, fields: Fields) -> Fields:
        record = self._engine.directory.app(fields["name"])
        return history_json(record, self._engine.catalog.revisions(record.app_id))

    def op_app_rollback(self, session: Session, fields: Fields) -> Later:
        return self._revive(
            session,
            RollbackRequest(
                fields["name"], fields.get("number"), fields.get("strategy") or "rolling"
            ),
            fields,
        )

    def op_app_rollover(self, session: Session, fields: Fields) -> Later:
        request = RolloverRequest(fields["name"], fields.get("strategy") or "rolling")
        return self._revive(session, request, fields)

    def _revive(
        self, session: Session, request: RollbackRequest | RolloverRequest, fields: Fields
    ) -> Later:
        """Make a known revision live again; images of it that were removed are built before."""
        revision = self._engine.apps.foreseen(request)
        wanted = [] if revision is None else [spec for _, spec in revision.environments()]
        answer, ready = Later(), Later()
        if revision is None or not wanted:
            ready.give({})
        else:
            environ = dict(fields.get("environ") or {})
            ready = self._engine.images.ensure(session, revision.runtime, wanted, environ)

        def carry_out(told: Fields) -> None:
            if "error" not in told:
                try:
                    told = {"revision": self._engine.apps.carry_out(request).app.revision}
                except Error as error:
                    told = {"error": error_json(error)}
            answer.give(told)

        ready.then(carry_out)
        return answer
