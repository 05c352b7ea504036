"""Finds calls in the ledger, and shows them as clients see them: plain data. Only reads."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from cloudfn.control.deploy.directory import Directory
from cloudfn.control.operations import Fields
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model import ids
from cloudfn.model.call import Status
from cloudfn.providers.catalog import Catalog, FunctionRecord
from cloudfn.providers.ledger import CallRecord, CallSpec, DeadLetter, Ledger
from cloudfn.wire.messages import INLINE_LIMIT

_LIST = "See `cloudfn call list`."
#: a call graph ends with the call that reaches so many inputs
_GRAPH_NODES = 10_000
#: calls, or dead letters, that a listing looks through
_MOST_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class PastCall:
    """A call that the ledger has let go, and how each of its inputs stood."""

    spec: CallSpec
    statuses: Sequence[Status]


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a call's inputs run."""

    #: the user's module; empty where it is not known
    module: str
    #: of inputs that run, by index: their containers
    containers: Mapping[int, str]


def find_call(ledger: Ledger, call_id: str) -> CallRecord:
    """Return what is known of a call; raises NotFoundError."""
    record = ledger.call(call_id)
    if record is None:
        raise NotFoundError(f"There is no call {call_id}.", hint=_LIST)
    return record


class CallDirectory:
    """The calls of an environment.

    Args:
        ledger: Has them.
        catalog: Has their functions.
        directory: Finds those.
    """

    def __init__(self, ledger: Ledger, catalog: Catalog, directory: Directory) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._directory = directory

    def id_of(self, wanted: str) -> str:
        """Return the id of a call that is meant by id, by full name or by the end of a name.

        Raises:
            InvalidError: Several have such a name.
            NotFoundError: None has.
        """
        if wanted.startswith("fc-"):
            return wanted
        names = self._ledger.names()
        found = [n for n in names if n == wanted] or [n for n in names if n.endswith(f"/{wanted}")]
        if not found:
            raise NotFoundError(f"There is no call named {wanted!r}.", hint=_LIST)
        if len(found) > 1:
            raise InvalidError(
                f"Several calls are named {wanted!r}.", hint=f"Say which: {', '.join(found)}."
            )
        return names[found[0]]

    def info(self, call_id: str) -> Fields:
        """Return a call, with how many of its inputs have which status; raises NotFoundError."""
        record = find_call(self._ledger, call_id)
        statuses = Counter(status.name for status in self._ledger.statuses(call_id))
        return {**self._call(record), "statuses": dict(statuses)}

    def listing(
        self, fields: Fields, variants: Callable[[str], Iterable[FunctionRecord]]
    ) -> Fields:
        """Return the latest calls that a request asks for, the newest first.

        Args:
            fields: Of the request.
            variants: Returns those of a function, by its id.

        Raises:
            NotFoundError: There is no such function.
        """
        limit = int(fields.get("limit") or 100)
        wanted = fields.get("function_id")
        if fields.get("function"):
            wanted = self._directory.lookup(fields["app"], fields["function"])["function_id"]
        functions = None if wanted is None else [wanted]
        if functions and fields.get("variants"):
            functions += [each.function_id for each in variants(functions[0])]
        app = fields.get("app") if wanted is None else None
        records = self._ledger.calls(
            limit=limit if app is None else _MOST_LISTED,
            functions=functions,
            since=fields.get("since"),
            until=fields.get("until"),
        )
        name_of = cache(self._directory.app_name)
        chosen = (r for r in records if app in (None, name_of(r.spec.function_id)))
        return {"calls": [self._call(each) for each in islice(chosen, limit)]}

    def dead(self, fields: Fields) -> Fields:
        """Return the latest dead letters that a request asks for."""
        limit = int(fields.get("limit") or 100)
        wanted = [
            each
            for each in map(self._dead, self._ledger.dead_letters(limit=_MOST_LISTED))
            if fields.get("app") in (None, each["app_name"])
            and fields.get("function") in (None, each["function_name"])
        ]
        return {"dead": wanted[:limit]}

    def graph(
        self,
        call_id: str,
        find: Callable[[CallSpec], Whereabouts],
        past: Callable[[str], Iterable[PastCall]] = lambda _: (),
    ) -> Fields:
        """Return the inputs of a call, and of the calls that they made.

        Args:
            call_id: The call.
            find: Says where a call's inputs run.
            past: Returns the calls that a call's inputs made and that the ledger has let go.

        Raises:
            NotFoundError: There is no such call.
        """
        nodes: list[Fields] = []
        queue = deque[CallRecord | PastCall]([find_call(self._ledger, call_id)])
        while queue and len(nodes) < _GRAPH_NODES:
            call = queue.popleft()
            if isinstance(call, PastCall):
                statuses = call.statuses
            else:
                statuses = self._ledger.statuses(call.spec.call_id)
            nodes += self._nodes(call.spec, statuses, find(call.spec))
            made: list[CallRecord | PastCall] = [
                *self._ledger.children(call.spec.call_id),
                *past(call.spec.call_id),
            ]
            queue += sorted(made, key=lambda each: each.spec.created)
        return {"nodes": nodes}

    def _nodes(
        self, spec: CallSpec, statuses: Iterable[Status], where: Whereabouts
    ) -> list[Fields]:
        function = self._catalog.function(spec.function_id)
        return [
            {
                "call": spec.call_id,
                "index": index,
                "input_id": ids.input_id(spec.call_id, index),
                "status": status.name,
                "function_name": function.shown if function else "",
                "module_name": where.module,
                "container": where.containers.get(index, ""),
                "parent": ids.input_id(*spec.parent) if spec.parent else None,
            }
            for index, status in enumerate(statuses)
        ]

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
            "app_name": self._directory.app_name(record.spec.function_id),
            "created": record.spec.created,
            "name": record.spec.name,
            "origin": record.spec.origin,
        }

    def _dead(self, letter: DeadLetter) -> Fields:
        function = self._catalog.function(letter.call.function_id)
        return {
            "input": ids.input_id(letter.call.call_id, letter.index),
            "call": letter.call.call_id,
            "index": letter.index,
            "app_name": self._directory.app_name(letter.call.function_id),
            "function_name": function.name if function else "",
            "status": letter.status.name,
            "created": letter.call.created,
            "outcome": b64encode(letter.outcome[:INLINE_LIMIT]).decode("ascii"),
        }
