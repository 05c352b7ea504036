"""What clients may ask for: one method per operation of `docs/protocol.md`, nothing else."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from cloudfn.control.deploy.plan import RollbackRequest, StopRequest
from cloudfn.daemon.apps import parse_request
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.output import Subscription
from cloudfn.daemon.past import PastCall
from cloudfn.daemon.session import Session
from cloudfn.errors import InvalidError, NotFoundError, PermissionDeniedError
from cloudfn.model import ids
from cloudfn.model.call import ContainerLost, Status
from cloudfn.model.log import LogQuery
from cloudfn.providers.base import CallRecord

Fields = dict[str, Any]

#: what user code in containers may ask for: look up, call and rescale functions
_FOR_CONTAINERS = frozenset(
    {
        "call_attach",
        "call_cancel",
        "call_graph",
        "call_info",
        "call_release",
        "call_resume",
        "function_lookup",
        "input_current",
        "settings_get",
        "settings_update",
        "stats",
    }
)

#: a call graph ends with the call that reaches so many inputs
_GRAPH_NODES = 10_000


class Operations:
    """Answers requests. Every method returns the fields of the reply, or raises an Error."""

    def __init__(
        self, engine: Engine, facts: Callable[[], Fields], shut_down: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._facts = facts
        self._shut_down = shut_down
        #: ephemeral app → the client that it lives with
        self.owners: dict[str, Session | None] = {}
        self._table: dict[str, Callable[[Session, Fields], Fields]] = {
            name.removeprefix("op_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("op_")
        }

    def answer(self, session: Session, fields: Fields) -> Fields:
        """Carry out one request."""
        operation = self._table.get(str(fields.get("op")))
        if operation is None:
            raise InvalidError(
                f"The daemon knows no operation {fields.get('op')!r}.",
                hint="Client and daemon have different versions; run `cloudfn daemon stop`.",
            )
        if session.container_id is not None and fields["op"] not in _FOR_CONTAINERS:
            raise PermissionDeniedError(
                f"User code in a container may not ask for {fields['op']}.",
                hint="Do it from outside: with the command line or a script of your own.",
            )
        try:
            return operation(session, fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidError(f"Request {fields.get('op')} is malformed: {error!r}") from error

    # Apps

    def op_app_open(self, session: Session, fields: Fields) -> Fields:
        request = parse_request(fields)
        result = self._engine.apps.carry_out(request)
        app = result.app
        if app.state == "ephemeral":
            self.owners[app.app_id] = session
        functions = self._engine.catalog.functions(app.app_id)
        return {
            "app_id": app.app_id,
            "revision": app.revision,
            "changed": result.changed,
            "functions": {function.name: function.function_id for function in functions},
            "warnings": self._engine.clipped(request.spec.functions),
        }

    def op_app_detach(self, _session: Session, fields: Fields) -> Fields:
        self._engine.catalog.set_state(fields["app_id"], "detached")
        self.owners.pop(fields["app_id"], None)
        return {}

    def op_app_reattach(self, session: Session, fields: Fields) -> Fields:
        record = self._engine.catalog.app(fields["app_id"])
        if record is None or record.state == "stopped":
            raise NotFoundError("The app of this run was stopped.")
        if record.state == "ephemeral":
            self.owners[record.app_id] = session
        return {}

    def op_app_close(self, _session: Session, fields: Fields) -> Fields:
        app_id = fields["app_id"]
        summary = self._engine.progress(app_id)
        self.owners.pop(app_id, None)
        self._engine.apps.close(app_id)
        return {
            "containers_peak": summary["peak"],
            "done": summary["done"],
            "failed": summary["failed"],
        }

    def op_app_stop(self, _session: Session, fields: Fields) -> Fields:
        name = fields["name"]
        if name.startswith("ap-"):  # an App that was deployed or runs knows its id
            record = self._engine.apps.named(name)
            if record.state != "deployed":
                self._engine.apps.close(record.app_id)
                return {"app_id": record.app_id}
            name = record.name
        result = self._engine.apps.carry_out(StopRequest(name))
        return {"app_id": result.app.app_id}

    def op_app_list(self, _session: Session, fields: Fields) -> Fields:
        apps = self._engine.catalog.apps(stopped=bool(fields.get("all")))
        return {"apps": [self._app(app) for app in apps]}

    def _app(self, app: Any) -> Fields:
        pools = [p for p in self._engine.agent.pools() if p.spec.app_id == app.app_id]
        return {
            "app_id": app.app_id,
            "name": app.name,
            "state": app.state,
            "revision": app.revision,
            "created": app.created,
            "stopped": app.stopped,
            "containers": sum(len(pool.containers) for pool in pools),
            "functions": [f.name for f in self._engine.catalog.functions(app.app_id)],
        }

    def op_app_history(self, _session: Session, fields: Fields) -> Fields:
        record = self._engine.apps.named(fields["name"])
        return {
            "revisions": [
                {
                    "number": revision.number,
                    "created": revision.created,
                    "live": revision.number == record.revision,
                    "rollback_of": revision.rollback_of,
                    "labels": dict(revision.spec.labels),
                }
                for revision in self._engine.catalog.revisions(record.app_id)
            ]
        }

    def op_app_rollback(self, _session: Session, fields: Fields) -> Fields:
        request = RollbackRequest(
            fields["name"], fields.get("number"), fields.get("strategy") or "rolling"
        )
        result = self._engine.apps.carry_out(request)
        return {"revision": result.app.revision}

    # Functions

    def op_function_lookup(self, _session: Session, fields: Fields) -> Fields:
        app, name = fields["app"], fields["name"]
        try:
            return self._engine.apps.lookup(app, name)
        except NotFoundError as error:
            raise NotFoundError(
                f"Lookup failed for Function '{name}' from the '{app}' app (in the "
                f"'{self._engine.settings.environment}' environment): {error.message}",
                hint=error.hint,
            ) from None

    def op_settings_get(self, _session: Session, fields: Fields) -> Fields:
        return self._engine.apps.settings(fields["function_id"])

    def op_settings_update(self, session: Session, fields: Fields) -> Fields:
        by = session.container_id or f"pid {session.client_pid}"
        changes = {str(name): value for name, value in fields["changes"].items()}
        return self._engine.apps.update_settings(fields["function_id"], changes, by)

    def op_stats(self, _session: Session, fields: Fields) -> Fields:
        function_id = self._engine.apps.function(fields["function_id"]).function_id
        stats = dict.fromkeys(
            ("backlog", "num_total_runners", "num_running_inputs", "input_headroom"), 0
        )
        for pool in self._engine.agent.pools():
            if pool.spec.function_id != function_id:
                continue
            counts = self._engine.ledger.counts(pool.spec.pool)
            serving = [c for c in pool.containers.values() if not c.draining]
            busy = sum(c.busy for c in serving)
            stats["backlog"] += counts.pending + counts.delayed
            stats["num_total_runners"] += len(serving)
            stats["num_running_inputs"] += counts.running
            stats["input_headroom"] += sum(c.ready for c in serving) - busy
        stats["input_headroom"] = max(0, stats["input_headroom"])
        return dict(stats)

    def op_decisions(self, _session: Session, fields: Fields) -> Fields:
        function_id = fields["function_id"]
        chapters = [
            chapter
            for chapter in self._engine.planner.story
            if chapter.did.pool.partition("@")[0] == function_id
        ]
        return {
            "decisions": [
                {
                    "at": chapter.at,
                    "pool": chapter.did.pool,
                    "from": chapter.did.current,
                    "to": chapter.did.desired,
                    "limiting": chapter.did.limiting,
                    "reason": chapter.did.reason,
                }
                for chapter in chapters[-int(fields.get("limit") or 100) :]
            ]
        }

    # Calls

    def op_call_attach(self, session: Session, fields: Fields) -> Fields:
        return self._engine.calls.attach(
            session, fields["ref"], fields["call"], fields.get("start") or 0, fields.get("end")
        )

    def op_call_resume(self, session: Session, fields: Fields) -> Fields:
        return self._engine.calls.resume(
            session,
            fields["ref"],
            fields["call"],
            fields.get("have") or [],
            fields.get("done") or [],
        )

    def op_call_release(self, session: Session, fields: Fields) -> Fields:
        self._engine.calls.release(session, fields["ref"])
        return {}

    def op_call_cancel(self, _session: Session, fields: Fields) -> Fields:
        self._record(fields["call"])
        self._engine.calls.cancel(fields["call"], terminate=bool(fields.get("terminate")))
        return {}

    def op_call_info(self, _session: Session, fields: Fields) -> Fields:
        return self._call(self._record(fields["call"]), statuses=True)

    def op_call_list(self, _session: Session, fields: Fields) -> Fields:
        limit = int(fields.get("limit") or 100)
        wanted = None
        if fields.get("function"):
            wanted = self._engine.apps.lookup(fields["app"], fields["function"])["function_id"]
        records = self._engine.ledger.calls(limit=limit, function_id=wanted)
        calls = [self._call(record, statuses=False) for record in records]
        if fields.get("app") and wanted is None:
            calls = [call for call in calls if call["app_name"] == fields["app"]]
        return {"calls": calls}

    def op_input_current(self, _session: Session, fields: Fields) -> Fields:
        found = self._engine.running(int(fields["seq"]))
        if found is None:
            raise NotFoundError("No container holds that input any more.")
        call_id, index = found
        return {"call": call_id, "index": index, "input_id": ids.input_id(call_id, index)}

    def _record(self, call_id: str) -> CallRecord:
        record = self._engine.ledger.call(call_id)
        if record is None:
            raise NotFoundError(f"There is no call {call_id}.", hint="See `cloudfn call list`.")
        return record

    def _call(self, record: CallRecord, *, statuses: bool) -> Fields:
        function = self._engine.catalog.function(record.spec.function_id)
        app = self._engine.catalog.app(function.app_id) if function else None
        fields: Fields = {
            "call": record.spec.call_id,
            "known": record.known,
            "sealed": record.sealed,
            "finished": record.finished,
            "failed": record.failed,
            "cancelled": record.cancelled,
            "kind": record.spec.kind.name.lower(),
            "function_id": record.spec.function_id,
            "function_name": function.name if function else "",
            "app_name": app.name if app else "",
            "created": record.spec.created,
        }
        if statuses:
            counts: dict[str, int] = {}
            for status in self._engine.ledger.statuses(record.spec.call_id):
                counts[status.name] = counts.get(status.name, 0) + 1
            fields["statuses"] = counts
        return fields

    def op_call_graph(self, _session: Session, fields: Fields) -> Fields:
        nodes: list[Fields] = []
        record = self._record(fields["call"])
        queue = deque([PastCall(record.spec, self._engine.ledger.statuses(record.spec.call_id))])
        while queue and len(nodes) < _GRAPH_NODES:
            call = queue.popleft()
            nodes += self._nodes(call)
            queue += self._children(call.spec.call_id)
        return {"nodes": nodes}

    def _children(self, call_id: str) -> list[PastCall]:
        """Return the calls that a call's inputs made: those of the ledger, and recent ones."""
        ledger = self._engine.ledger
        known = [
            PastCall(child.spec, ledger.statuses(child.spec.call_id))
            for child in ledger.children(call_id)
        ]
        found = known + self._engine.calls.past.children(call_id)
        return sorted(found, key=lambda call: call.spec.created)

    def _nodes(self, record: PastCall) -> list[Fields]:
        function = self._engine.catalog.function(record.spec.function_id)
        pool = self._engine.agent.pool(record.spec.pool)
        parent = record.spec.parent
        running = {
            (claim.call_id, claim.index): container.container_id
            for container in (pool.containers.values() if pool else ())
            for claim in container.held
        }
        return [
            {
                "call": record.spec.call_id,
                "index": index,
                "input_id": ids.input_id(record.spec.call_id, index),
                "status": status.name,
                "function_name": function.name if function else "",
                "module_name": pool.spec.function.module if pool else "",
                "container": running.get((record.spec.call_id, index), ""),
                "parent": ids.input_id(*parent) if parent else None,
            }
            for index, status in enumerate(record.statuses)
        ]

    # Containers

    def op_container_list(self, _session: Session, fields: Fields) -> Fields:
        app = fields.get("app")
        return {
            "containers": [
                container
                for container in map(self._container, self._engine.agent.containers())
                if app in (None, container["app_name"], container["app_id"])
            ]
        }

    def _container(self, container: Any) -> Fields:
        pool = self._engine.agent.pool(container.pool)
        now_wall, now = self._engine.clock.wall(), self._engine.clock.monotonic()
        state = "starting"
        if container.draining:
            state = "draining"
        elif container.ready:
            state = "busy" if container.busy else "idle"
        idle = state == "idle"
        return {
            "container_id": container.container_id,
            "app_id": pool.spec.app_id if pool else "",
            "app_name": self._engine.app_names.get(pool.spec.app_id, "") if pool else "",
            "function_name": pool.spec.function.name if pool else "",
            "revision": pool.spec.revision if pool else 0,
            "pid": container.pid,
            "state": state,
            "started": now_wall - (now - container.started),
            "inputs_done": container.inputs_done,
            "idle_since": now_wall - (now - container.last_used) if idle else None,
        }

    def op_container_stop(self, _session: Session, fields: Fields) -> Fields:
        container = self._find_container(fields["container_id"])
        self._engine.agent.stop(container, ContainerLost("it was stopped by hand"))
        return {}

    def op_container_exec(self, _session: Session, fields: Fields) -> Fields:
        container = self._find_container(fields["container_id"])
        pool = self._engine.agent.pool(container.pool)
        if pool is None or not container.pid:
            raise NotFoundError(f"Container {container.container_id} is not running yet.")
        return {
            "environ": self._engine.agent.container_environ(pool, container.container_id),
            "cwd": pool.spec.program.bundle,
        }

    def _find_container(self, container_id: str) -> Any:
        container = self._engine.agent.container(container_id)
        if container is None:
            raise NotFoundError(
                f"There is no container {container_id}.", hint="See `cloudfn container list`."
            )
        return container

    # Output

    def op_logs(self, session: Session, fields: Fields) -> Fields:
        app_id = None
        if fields.get("app"):
            app_id = self._engine.apps.named(fields["app"]).app_id
        follow = None
        if fields.get("follow"):
            follow = Subscription(
                session,
                fields["ref"],
                app_id,
                fields.get("function"),
                fields.get("container"),
                fields.get("call"),
                fields.get("source"),
            )
        query = LogQuery(
            app_id=app_id,
            function=fields.get("function"),
            container_id=fields.get("container"),
            call_id=fields.get("call"),
            source=fields.get("source"),
            since=fields.get("since"),
            until=fields.get("until"),
            search=fields.get("search"),
            tail=fields.get("tail"),
        )
        self._engine.output.send_past(session, fields["ref"], query, follow)
        return {}

    def op_events(self, session: Session, fields: Fields) -> Fields:
        subscription = Subscription(session, fields["ref"], fields["app_id"], progress=True)
        self._engine.output.subscribe(subscription)
        return {}

    # The daemon itself

    def op_status(self, _session: Session, _fields: Fields) -> Fields:
        agent = self._engine.agent
        return {
            **self._facts(),
            "pid": os.getpid(),
            "environment": self._engine.settings.environment,
            "containers": len(agent.containers()),
            "apps": len(self._engine.catalog.apps()),
            "calls": self._engine.calls.active,
            "socket": self._engine.place.socket,
            "state_dir": str(self._engine.place.state_dir),
            "trouble": str(self._engine.journal.trouble or ""),
            "statuses": [status.name for status in Status],
        }

    def op_shutdown(self, _session: Session, fields: Fields) -> Fields:
        mode = fields.get("mode") or "drain"
        if mode not in ("drain", "now"):
            raise InvalidError(f"Unknown mode {mode!r}.", hint="Use drain or now.")
        self._shut_down(mode)
        return {}
