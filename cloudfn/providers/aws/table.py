"""One DynamoDB table with the string keys pk and sk, in plain values. Thin I/O; thread-safe.

Writes are values, so that one can be sent alone or as a part of a transaction. Names of attributes
are written `#name` everywhere, since many words are reserved.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal
from uuid import uuid4

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError, ResourceExhaustedError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed, Where, explained
from cloudfn.providers.aws.retries import conflicts, to_the_last

#: attributes by name: str, int, float, bool, bytes, None, lists and dicts of these, and sets of str
#: or of int that are not empty
Item = dict[str, Any]

_NAME = re.compile(r"#(\w+)")
_MOST_WRITES = 25
_MOST_READS = 100


@dataclass(frozen=True, slots=True)
class Write:
    """One write of one item; made by the functions below."""

    kind: Literal["Put", "Update", "Delete", "ConditionCheck"]
    pk: str
    sk: str
    #: an update expression
    change: str = ""
    #: a condition expression; empty: always
    when: str = ""
    #: what `:name` stands for
    values: Mapping[str, Any] = field(default_factory=dict)
    #: of a put, with its keys
    item: Mapping[str, Any] = field(default_factory=dict)


def put(item: Mapping[str, Any], when: str = "", **values: Any) -> Write:
    """Return the write that puts an item, keys and all, in place of what is there."""
    return Write("Put", item["pk"], item["sk"], "", when, values, item)


def update(pk: str, sk: str, change: str, when: str = "", **values: Any) -> Write:
    """Return the write that changes an item, which is made where there is none."""
    return Write("Update", pk, sk, change, when, values)


def delete(pk: str, sk: str, when: str = "", **values: Any) -> Write:
    """Return the write that deletes an item."""
    return Write("Delete", pk, sk, "", when, values)


def check(pk: str, sk: str, when: str, **values: Any) -> Write:
    """Return the part of a transaction that only looks."""
    return Write("ConditionCheck", pk, sk, "", when, values)


class Table:
    """A table. Every read sees all writes before it.

    Requests that met another one, and what a batch left undone, are sent again.

    Args:
        clients: Where the client of DynamoDB comes from.
        name: Of the table.
        clock: Waits between two tries.
    """

    def __init__(self, clients: ClientSource, name: str, clock: Clock) -> None:
        self._clients = clients
        self._name = name
        self._clock = clock

    def get(self, pk: str, sk: str) -> Item | None:
        """Return an item."""
        answer = self._ask("GetItem", "get_item", Key=_key(pk, sk), ConsistentRead=True)
        return _plain(answer["Item"]) if "Item" in answer else None

    def get_all(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Item]:
        """Return items by their keys, those that are there."""
        found: dict[tuple[str, str], Item] = {}

        def ask(wanted: Sequence[Item]) -> list[Item]:
            request = {self._name: {"Keys": list(wanted), "ConsistentRead": True}}
            answer = self._ask_for("BatchGetItem", "batch_get_item", RequestItems=request)
            for item in map(_plain, answer["Responses"].get(self._name, ())):
                found[item["pk"], item["sk"]] = item
            left: list[Item] = answer["UnprocessedKeys"].get(self._name, {}).get("Keys", [])
            return left

        wanted = [_key(*key) for key in dict.fromkeys(keys)]
        for start in range(0, len(wanted), _MOST_READS):
            self._to_the_last(ask, wanted[start : start + _MOST_READS], "BatchGetItem")
        return found

    def query(
        self,
        pk: str,
        *,
        begins: str = "",
        after: str = "",
        forward: bool = True,
        limit: int | None = None,
    ) -> Iterator[Item]:
        """Return the items of a partition in the order of their sort keys, page by page.

        Args:
            pk: The partition.
            begins: How sort keys begin; empty for all.
            after: The sort key before the first one, when there is no `begins`.
            forward: From the lowest sort key on.
            limit: How many are read at once, at most.
        """
        values = {":pk": {"S": pk}}
        condition = "pk = :pk"
        if begins:
            condition, values[":sk"] = f"{condition} AND begins_with(sk, :sk)", {"S": begins}
        elif after:
            condition, values[":sk"] = f"{condition} AND sk > :sk", {"S": after}
        params: Item = {
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": forward,
            "ConsistentRead": True,
        }
        if limit is not None:
            params["Limit"] = limit
        while True:
            answer = self._ask("Query", "query", **params)
            yield from map(_plain, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            params["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def write(self, write: Write, returns: str = "NONE") -> Item:
        """Write one item; return what `returns` asks for: ALL_OLD, or ALL_NEW of an update.

        Raises:
            ConditionFailed: Its condition did not hold; `items` says what is there.
        """
        params = _params(write)
        if returns != "NONE":
            params["ReturnValues"] = returns
        answer = self._ask(f"{write.kind}Item", f"{write.kind.lower()}_item", **params)
        return _plain(answer.get("Attributes", {}))

    def transact(self, writes: Sequence[Write]) -> None:
        """Write up to 100 items at once, or none of them.

        Raises:
            ConditionFailed: Conditions did not hold; `held` and `items` are in the same order.
        """
        entries = [{each.kind: {"TableName": self._name, **_params(each)}} for each in writes]
        self._ask_for(
            "TransactWriteItems",
            "transact_write_items",
            TransactItems=entries,
            # Sent again after an answer was lost, it is done once.
            ClientRequestToken=uuid4().hex,
        )

    def write_all(self, writes: Sequence[Write]) -> None:
        """Put and delete any number of items, without conditions, in any order.

        Not at once: whoever reads meanwhile sees some of it. No two may be of one item.
        """

        def send(wanted: Sequence[Item]) -> list[Item]:
            answer = self._ask_for(
                "BatchWriteItem", "batch_write_item", RequestItems={self._name: list(wanted)}
            )
            left: list[Item] = answer["UnprocessedItems"].get(self._name, [])
            return left

        entries = [{f"{each.kind}Request": _params(each)} for each in writes]
        for start in range(0, len(entries), _MOST_WRITES):
            self._to_the_last(send, entries[start : start + _MOST_WRITES], "BatchWriteItem")

    def _to_the_last(self, send: Any, entries: list[Item], operation: str) -> None:
        where = Where("dynamodb", operation, f"table {self._name}")
        to_the_last(send, entries, where, self._clock, Random())

    def _ask(self, operation: str, method: str, **params: Any) -> Item:
        return self._ask_for(operation, method, TableName=self._name, **params)

    def _ask_for(self, operation: str, method: str, **params: Any) -> Item:
        call = getattr(self._clients.of("dynamodb"), method)
        try:
            with explained("dynamodb", operation, f"table {self._name}"):
                answer: Item = conflicts(self._clock)(call, **params)
                return answer
        except ConditionFailed as failed:
            items = tuple(None if each is None else _plain(each) for each in failed.items)
            raise ConditionFailed(failed.held, items) from failed
        except ConflictError as error:
            # Nothing is wrong with the request: it met others each time.
            raise ResourceExhaustedError(error.message, hint="Try again in a moment.") from error


def _params(write: Write) -> Item:
    """Return a request's parameters, but for the table's name."""
    if write.kind == "Put":
        params: Item = {"Item": _attributes(write.item)}
    else:
        params = {"Key": _key(write.pk, write.sk)}
    if write.change:
        params["UpdateExpression"] = write.change
    if write.when:
        params["ConditionExpression"] = write.when
        params["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    if names := set(_NAME.findall(f"{write.change} {write.when}")):
        params["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
    if write.values:
        values = _attributes(write.values)
        params["ExpressionAttributeValues"] = {f":{name}": each for name, each in values.items()}
    return params


def _key(pk: str, sk: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _attributes(item: Mapping[str, Any]) -> Item:
    return {name: _attribute(value) for name, value in item.items()}


def _attribute(value: Any) -> Item:
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | float():
            return {"N": repr(value)}
        case bytes():
            return {"B": value}
        case None:
            return {"NULL": True}
        case set() | frozenset():
            kind = "SS" if isinstance(next(iter(value)), str) else "NS"
            return {kind: [str(each) for each in sorted(value)]}
        case list() | tuple():
            return {"L": [_attribute(each) for each in value]}
        case dict():
            return {"M": _attributes(value)}
        case _:
            raise TypeError(f"no attribute of an item: {value!r}")


def _plain(item: Mapping[str, Any]) -> Item:
    """Return an item in plain values: numbers without a fraction are ints."""
    return {name: _value(*next(iter(each.items()))) for name, each in item.items()}


def _value(kind: str, value: Any) -> Any:
    match kind:
        case "N":
            return int(value) if value.lstrip("-").isdigit() else float(value)
        case "NULL":
            return None
        case "SS":
            return frozenset(value)
        case "NS":
            return frozenset(map(int, value))
        case "L":
            return [_value(*next(iter(each.items()))) for each in value]
        case "M":
            return _plain(value)
        case _:
            return value
