"""Operations on calls: attach, resume, cancel, list, graph."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from functools import cache
from itertools import islice

from cloudfn.control.operations import Fields, Group
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.past import PastCall
from cloudfn.daemon.session import Session
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model import ids
from cloudfn.providers.ledger import CallRecord, DeadLetter
from cloudfn.wire.messages import INLINE_LIMIT

#: a call graph ends with the call that reaches so many inputs
_GRAPH_NODES = 10_000
#: calls, or dead letters, that a listing looks through
_MOST_LISTED = 10_000


class CallOperations(Group):
    """Operations on calls."""

    for_containers = frozenset(
        {
            "call_attach",
            "call_cancel",
            "call_graph",
            "call_info",
            "call_name",
            "call_release",
            "call_resume",
            "input_current",
        }
    )

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def op_call_attach(self, session: Session, fields: Fields) -> Fields:
        return self._engine.calls.attach(
            session,
            fields["ref"],
            fields["call"],
            fields.get("start") or 0,
            fields.get("end"),
            bare=bool(fields.get("bare")),
        )

    def op_call_resume(self, session: Session, fields: Fields) -> Fields:
        told = self._engine.calls.resume(
            session,
            fields["ref"],
            fields["call"],
            fields.get("have") or [],
            fields.get("done") or [],
            int(fields.get("confirmed") or 0),
        )
        if fields.get("items"):
            have, taken = fields["items"]
            self._engine.streams.resume(session, fields["ref"], have, taken)
        return told

    def op_call_name(self, _session: Session, fields: Fields) -> Fields:
        return self._engine.calls.named.look_up(fields["function_id"], fields["name"])

    def op_call_drop(self, _session: Session, fields: Fields) -> Fields:
        wanted = fields["call"]
        if wanted.startswith("in-"):
            self._engine.dead.drop(*ids.parse_input_id(wanted))
            return {"call": wanted}
        return {"call": self._engine.calls.drop(self._call_id(wanted))}

    def op_call_dead(self, _session: Session, fields: Fields) -> Fields:
        limit = int(fields.get("limit") or 100)
        dead = map(self._dead, self._engine.ledger.dead_letters(limit=_MOST_LISTED))
        wanted = [
            each
            for each in dead
            if fields.get("app") in (None, each["app_name"])
            and fields.get("function") in (None, each["function_name"])
        ]
        return {"dead": wanted[:limit]}

    def op_call_retry(self, _session: Session, fields: Fields) -> Fields:
        call_id = self._call_id(fields["call"])
        new, count = self._engine.dead.retry(call_id, fields.get("inputs"))
        return {"call": new, "inputs": count}

    def _dead(self, letter: DeadLetter) -> Fields:
        function = self._engine.catalog.function(letter.call.function_id)
        return {
            "input": ids.input_id(letter.call.call_id, letter.index),
            "call": letter.call.call_id,
            "index": letter.index,
            "app_name": self._app_name(letter.call.function_id),
            "function_name": function.name if function else "",
            "status": letter.status.name,
            "created": letter.call.created,
            "outcome": b64encode(letter.outcome[:INLINE_LIMIT]).decode("ascii"),
        }

    def _call_id(self, wanted: str) -> str:
        """Return the id of a call that is meant by id, by full name or by the end of a name."""
        if wanted.startswith("fc-"):
            return wanted
        names = self._engine.ledger.names()
        found = [n for n in names if n == wanted] or [n for n in names if _ends(n, wanted)]
        if not found:
            raise NotFoundError(
                f"There is no call named {wanted!r}.", hint="See `cloudfn call list`."
            )
        if len(found) > 1:
            raise InvalidError(
                f"Several calls are named {wanted!r}.", hint=f"Say which: {', '.join(found)}."
            )
        return names[found[0]]

    def op_call_release(self, session: Session, fields: Fields) -> Fields:
        self._engine.calls.release(session, fields["ref"])
        self._engine.output.unsubscribe(session, fields["ref"])
        self._engine.images.unwatch(session, fields["ref"])
        return {}

    def op_call_cancel(self, _session: Session, fields: Fields) -> Fields:
        self._record(fields["call"])
        self._engine.calls.cancel(fields["call"], terminate=bool(fields.get("terminate")))
        return {}

    def op_call_info(self, _session: Session, fields: Fields) -> Fields:
        return self._call(self._record(fields["call"]), statuses=True)

    def op_call_list(self, _session: Session, fields: Fields) -> Fields:
        limit = int(fields.get("limit") or 100)
        wanted = fields.get("function_id")
        if fields.get("function"):
            wanted = self._engine.directory.lookup(fields["app"], fields["function"])["function_id"]
        functions = None if wanted is None else [wanted]
        if functions and fields.get("variants"):
            functions += [each.function_id for each in self._engine.apps.variants(functions[0])]
        app = fields.get("app") if wanted is None else None
        records = self._engine.ledger.calls(
            limit=limit if app is None else _MOST_LISTED,
            functions=functions,
            since=fields.get("since"),
            until=fields.get("until"),
        )
        name_of = cache(self._app_name)
        chosen = (r for r in records if app in (None, name_of(r.spec.function_id)))
        return {"calls": [self._call(each, statuses=False) for each in islice(chosen, limit)]}

    def _app_name(self, function_id: str) -> str:
        function = self._engine.catalog.function(function_id)
        app = self._engine.catalog.app(function.app_id) if function else None
        return app.name if app else ""

    def op_input_current(self, session: Session, fields: Fields) -> Fields:
        seq = int(fields["seq"])
        claim = self._engine.agent.running(seq)
        if claim is None or not self._engine.holds(session.container_id, seq):
            raise NotFoundError("No container holds that input any more.")
        return {
            "call": claim.call_id,
            "index": claim.index,
            "input_id": ids.input_id(claim.call_id, claim.index),
            "attempt": claim.counters.attempt,
        }

    def _record(self, call_id: str) -> CallRecord:
        record = self._engine.ledger.call(call_id)
        if record is None:
            raise NotFoundError(f"There is no call {call_id}.", hint="See `cloudfn call list`.")
        return record

    def _call(self, record: CallRecord, *, statuses: bool) -> Fields:
        function = self._engine.catalog.function(record.spec.function_id)
        fields: Fields = {
            "call": record.spec.call_id,
            "known": record.known,
            "sealed": record.sealed,
            "finished": record.finished,
            "failed": record.failed,
            "cancelled": record.cancelled,
            "kind": record.spec.kind.name.lower(),
            "function_id": record.spec.function_id,
            "function_name": function.shown if function else "",
            "app_name": self._app_name(record.spec.function_id),
            "created": record.spec.created,
            "name": record.spec.name,
            "origin": record.spec.origin,
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
                "function_name": function.shown if function else "",
                "module_name": pool.spec.function.module if pool else "",
                "container": running.get((record.spec.call_id, index), ""),
                "parent": ids.input_id(*parent) if parent else None,
            }
            for index, status in enumerate(record.statuses)
        ]


def _ends(name: str, wanted: str) -> bool:
    return name.endswith(f"/{wanted}")
