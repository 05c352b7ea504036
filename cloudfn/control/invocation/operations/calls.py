"""Operations on calls: cancel, list, graph, names, dead letters."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.dead import drop_letter, retry_letters
from cloudfn.control.operations import Fields, Group
from cloudfn.errors import ConflictError, InvalidError, NotFoundError
from cloudfn.model import ids
from cloudfn.providers.ledger import CallRecord, DeadLetter
from cloudfn.wire.messages import INLINE_LIMIT

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front

#: a call graph ends with the call that reaches so many inputs
_GRAPH_NODES = 10_000
#: calls, or dead letters, that a listing looks through
_MOST_LISTED = 10_000


class CallOperations(Group):
    """Operations on calls."""

    for_containers = frozenset({"call_cancel", "call_graph", "call_info", "call_name"})

    def __init__(self, front: Front) -> None:
        self._front = front
        self._ledger = front.cloud.ledger
        self._catalog = front.cloud.catalog

    def op_call_name(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._front.calls.named.look_up(fields["function_id"], fields["name"])

    def op_call_cancel(self, _conversation: Conversation, fields: Fields) -> Fields:
        self._front.calls.record(fields["call"])
        self._front.calls.cancel(fields["call"])
        return {}

    def op_call_info(self, _conversation: Conversation, fields: Fields) -> Fields:
        record = self._front.calls.record(fields["call"])
        counts: dict[str, int] = {}
        for status in self._ledger.statuses(record.spec.call_id):
            counts[status.name] = counts.get(status.name, 0) + 1
        return {**self._call(record), "statuses": counts}

    def op_call_list(self, _conversation: Conversation, fields: Fields) -> Fields:
        limit = int(fields.get("limit") or 100)
        wanted = fields.get("function_id")
        if fields.get("function"):
            found = self._front.directory.lookup(fields["app"], fields["function"])
            wanted = found["function_id"]
        functions = None if wanted is None else [wanted]
        if functions and fields.get("variants"):
            functions += [each.function_id for each in self._front.directory.variants(functions[0])]
        app = fields.get("app") if wanted is None else None
        records = self._ledger.calls(
            limit=limit if app is None else _MOST_LISTED,
            functions=functions,
            since=fields.get("since"),
            until=fields.get("until"),
        )
        name_of = cache(self._front.directory.app_name)
        chosen = (r for r in records if app in (None, name_of(r.spec.function_id)))
        return {"calls": [self._call(each) for each in islice(chosen, limit)]}

    def op_call_drop(self, _conversation: Conversation, fields: Fields) -> Fields:
        wanted = fields["call"]
        if wanted.startswith("in-"):
            drop_letter(self._front.cloud, *ids.parse_input_id(wanted))
            return {"call": wanted}
        call_id = self._call_id(wanted)
        record = self._front.calls.record(call_id)
        if self._front.calls.is_taken(call_id):
            raise ConflictError(
                f"The client of call {call_id} is there.",
                hint="End it first, or `cloudfn call cancel` the call.",
            )
        self._front.calls.cancel(record.spec.call_id)
        self._ledger.forget(call_id)
        return {"call": call_id}

    def op_call_dead(self, _conversation: Conversation, fields: Fields) -> Fields:
        limit = int(fields.get("limit") or 100)
        wanted = [
            each
            for each in map(self._dead, self._ledger.dead_letters(limit=_MOST_LISTED))
            if fields.get("app") in (None, each["app_name"])
            and fields.get("function") in (None, each["function_name"])
        ]
        return {"dead": wanted[:limit]}

    def op_call_retry(self, _conversation: Conversation, fields: Fields) -> Fields:
        call_id = self._call_id(fields["call"])
        function_id = self._front.calls.record(call_id).spec.function_id
        pool, now = self._front.pools.pool_for(function_id), self._front.clock.wall()
        new, count = retry_letters(self._front.cloud, call_id, fields.get("inputs"), pool, now)
        self._front.calls.alarm.ring()
        return {"call": new, "inputs": count}

    def op_call_graph(self, _conversation: Conversation, fields: Fields) -> Fields:
        nodes: list[Fields] = []
        queue = deque([self._front.calls.record(fields["call"])])
        while queue and len(nodes) < _GRAPH_NODES:
            record = queue.popleft()
            nodes += self._nodes(record)
            queue += sorted(
                self._ledger.children(record.spec.call_id), key=lambda each: each.spec.created
            )
        return {"nodes": nodes}

    def _nodes(self, record: CallRecord) -> list[Fields]:
        call_id, parent = record.spec.call_id, record.spec.parent
        function = self._catalog.function(record.spec.function_id)
        holders = {each.index: each.holder for each in self._ledger.held(call_id)}
        return [
            {
                "call": call_id,
                "index": index,
                "input_id": ids.input_id(call_id, index),
                "status": status.name,
                "function_name": function.shown if function else "",
                "module_name": "",
                "container": holders.get(index, ""),
                "parent": ids.input_id(*parent) if parent else None,
            }
            for index, status in enumerate(self._ledger.statuses(call_id))
        ]

    def _dead(self, letter: DeadLetter) -> Fields:
        function = self._catalog.function(letter.call.function_id)
        return {
            "input": ids.input_id(letter.call.call_id, letter.index),
            "call": letter.call.call_id,
            "index": letter.index,
            "app_name": self._front.directory.app_name(letter.call.function_id),
            "function_name": function.name if function else "",
            "status": letter.status.name,
            "created": letter.call.created,
            "outcome": b64encode(letter.outcome[:INLINE_LIMIT]).decode("ascii"),
        }

    def _call_id(self, wanted: str) -> str:
        """Return the id of a call that is meant by id, by full name or by the end of a name."""
        if wanted.startswith("fc-"):
            return wanted
        names = self._ledger.names()
        found = [n for n in names if n == wanted] or [n for n in names if n.endswith(f"/{wanted}")]
        if not found:
            raise NotFoundError(
                f"There is no call named {wanted!r}.", hint="See `cloudfn call list`."
            )
        if len(found) > 1:
            raise InvalidError(
                f"Several calls are named {wanted!r}.", hint=f"Say which: {', '.join(found)}."
            )
        return names[found[0]]

    def _call(self, record: CallRecord) -> Fields:
        function = self._catalog.function(record.spec.function_id)
        return {
            "call": record.spec.call_id,
            "known": record.known,
            "sealed": record.sealed,
            "finished": record.finished,
            "failed": record.failed,
            "cancelled": record.cancelled,
            "kind": record.spec.kind.name.lower(),
            "function_id": record.spec.function_id,
            "function_name": function.shown if function else "",
            "app_name": self._front.directory.app_name(record.spec.function_id),
            "created": record.spec.created,
            "name": record.spec.name,
            "origin": record.spec.origin,
        }
