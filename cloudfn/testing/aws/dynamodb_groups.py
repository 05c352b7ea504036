"""Fake DynamoDB: batches, which may be done in part, and transactions, which are not.

From "Managing complex workflows with DynamoDB transactions" and the API reference of BatchGetItem,
BatchWriteItem, TransactGetItems and TransactWriteItems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from cloudfn.testing.aws import dynamodb_values as values
from cloudfn.testing.aws.dynamodb import DynamoTables
from cloudfn.testing.aws.dynamodb_pages import paths_of, shown
from cloudfn.testing.aws.dynamodb_tables import Record, Table, read_units, write_units
from cloudfn.testing.aws.dynamodb_values import Item, invalid
from cloudfn.testing.aws.dynamodb_writes import Write, read_write, substitutes_of
from cloudfn.testing.aws.knobs import DynamoKnobs
from cloudfn.testing.aws.service import Answer, Refused, Request
from cloudfn.testing.clock import FakeClock

_MOST_WRITES = 25
_MOST_READS = 100
_MOST_IN_TRANSACTION = 100
_LARGEST_BATCH = 16 * 1024 * 1024
_LARGEST_TRANSACTION = 4 * 1024 * 1024
#: seconds for which a ClientRequestToken is known
_TOKEN = 600.0


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a transaction."""

    table: Table
    record: Record
    write: Write


class Dynamo(DynamoTables):
    """All tables of an account and region; the arguments are those of `DynamoTables`."""

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: DynamoKnobs
    ) -> None:
        super().__init__(clock, random, region, account, knobs)
        self._tokens: dict[str, tuple[float, str]] = {}

    # ------------------------------------------------------------------------------------ batches

    def batch_write_item(self, request: Request) -> Answer:
        entries = [
            (name, entry) for name, each in request["RequestItems"].items() for entry in each
        ]
        writes = [self._batch_write(name, entry) for name, entry in entries]
        _check_number(len(writes), _MOST_WRITES)
        _check_distinct((write.table.name, write.write.key) for write in writes)
        if sum(values.item_size(each.write.item or {}) for each in writes) > _LARGEST_BATCH:
            raise invalid("Item size to put has exceeded the maximum allowed size of the batch")
        left: dict[str, list[Any]] = {}
        for (name, entry), part in zip(entries, writes, strict=True):
            units = write_units(part.record.item, part.write.item)
            has_room = self.has_units(part.table, "write", part.write.key, units, request.now)
            if not has_room or self.chance(self.knobs.unprocessed):
                left.setdefault(name, []).append(entry)
            else:
                after = part.write.after(part.record.item)
                self.put(part.table, part.record, after, request.now)
        self._check_progress(sum(map(len, left.values())), len(writes))
        return {"UnprocessedItems": left}

    def batch_get_item(self, request: Request) -> Answer:
        wanted = request["RequestItems"]
        keys = [(name, key) for name, each in wanted.items() for key in each["Keys"]]
        _check_number(len(keys), _MOST_READS)
        _check_distinct((self.table(name).name, key) for name, key in keys)
        found: dict[str, list[Item]] = {name: [] for name in wanted}
        left: dict[str, Any] = {}
        size = 0
        for name, asked in wanted.items():
            names = substitutes_of(asked)
            paths = paths_of(asked, names)
            names.finish()
            consistent = asked.get("ConsistentRead", False)
            for key in asked["Keys"]:
                record = self.table(name).record(key)
                item = self.read(record, request.now, consistent=consistent)
                size += values.item_size(item or {})
                units = read_units(values.item_size(item or {}), consistent=consistent)
                has_room = self.has_units(self.table(name), "read", key, units, request.now)
                if not has_room or size > _LARGEST_BATCH or self.chance(self.knobs.unprocessed):
                    left.setdefault(name, {**asked, "Keys": []})["Keys"].append(key)
                elif item is not None:
                    found[name].append(shown(item, paths))
        self._check_progress(sum(len(each["Keys"]) for each in left.values()), len(keys))
        return {"Responses": found, "UnprocessedKeys": left}

    def _batch_write(self, name: str, entry: Mapping[str, Any]) -> _Part:
        table = self.table(name)
        if len(entry) != 1:
            raise invalid("Supplied AttributeValue has more than one datatypes set")
        kind, params = next(iter(entry.items()))
        write = read_write(kind.removesuffix("Request"), params, table.schema)
        return _Part(table, table.record(write.key), write)

    def _check_progress(self, undone: int, number: int) -> None:
        """Refuse a batch of many of which nothing at all could be done, as DynamoDB does."""
        if undone == number > 1:
            raise Refused(
                "ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded.",
            )

    # ------------------------------------------------------------------------------- transactions

    def transact_write_items(self, request: Request) -> Answer:
        entries = request["TransactItems"]
        _check_number(len(entries), _MOST_IN_TRANSACTION)
        token = request.get("ClientRequestToken")
        if token is not None and self._was_done(token, repr(entries), request.now):
            return {}
        parts = [self._part(entry) for entry in entries]
        _check_distinct(((part.table.name, part.write.key) for part in parts), what="Transaction")
        if sum(values.item_size(part.write.item or {}) for part in parts) > _LARGEST_TRANSACTION:
            raise invalid("Transaction size has exceeded the maximum allowed size")
        afters = self._decide(parts, request.now)
        for part, item in zip(parts, afters, strict=True):
            part.record.transacted_at = request.now
            if part.write.kind != "ConditionCheck":
                self.put(part.table, part.record, item, request.now)
        if token is not None:
            self._tokens[token] = (request.now + _TOKEN, repr(entries))
        return {}

    def transact_get_items(self, request: Request) -> Answer:
        _check_number(len(request["TransactItems"]), _MOST_IN_TRANSACTION)
        answers: list[Answer] = []
        for entry in request["TransactItems"]:
            asked = entry["Get"]
            names = substitutes_of(asked)
            paths = paths_of(asked, names)
            names.finish()
            item = self.table(asked["TableName"]).record(asked["Key"]).item
            answers.append({} if item is None else {"Item": shown(item, paths)})
        self._maybe_conflict(len(answers))
        return {"Responses": answers}

    def _part(self, entry: Mapping[str, Any]) -> _Part:
        if len(entry) != 1:
            raise invalid("TransactItems can only contain one of Check, Put, Update or Delete")
        kind, params = next(iter(entry.items()))
        table = self.table(params["TableName"])
        write = read_write(kind, params, table.schema)
        return _Part(table, table.record(write.key), write)

    def _decide(self, parts: list[_Part], now: float) -> list[Item | None]:
        """Return what will be at each place, or refuse all of it with a reason for each part."""
        afters: list[Item | None] = []
        reasons: list[Item] = []
        for part in parts:
            before = part.record.item
            units = 2 * write_units(before, part.write.item)
            reason: Item = {"Code": "None"}
            if not self.has_units(part.table, "write", part.write.key, units, now):
                reason = {"Code": "ThrottlingError", "Message": "Throughput exceeds the capacity."}
            elif not part.write.allowed(before):
                reason = {
                    "Code": "ConditionalCheckFailed",
                    "Message": "The conditional request failed",
                    **({"Item": before} if part.write.tells and before else {}),
                }
            else:
                try:
                    afters.append(part.write.after(before))
                except Refused as refused:
                    reason = {"Code": "ValidationError", "Message": refused.message}
            reasons.append(reason)
        if any(each["Code"] != "None" for each in reasons):
            raise _cancelled(reasons)
        self._maybe_conflict(len(parts))
        return afters

    def _maybe_conflict(self, number: int) -> None:
        if self.chance(self.knobs.conflicts):
            reasons: list[Item] = [{"Code": "None"} for _ in range(number)]
            reasons[self.random.randrange(number)] = {
                "Code": "TransactionConflict",
                "Message": "Transaction is ongoing for the item",
            }
            raise _cancelled(reasons)

    def _was_done(self, token: str, entries: str, now: float) -> bool:
        until, known = self._tokens.get(token, (0.0, ""))
        if until <= now:
            return False
        if known != entries:
            raise Refused(
                "IdempotentParameterMismatchException",
                "The request uses the same client token as a previous, but non-identical request.",
            )
        return True


def _cancelled(reasons: list[Item]) -> Refused:
    codes = ", ".join(each["Code"] for each in reasons)
    message = (
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    )
    more = {"CancellationReasons": reasons, "Message": message}
    return Refused("TransactionCanceledException", message, more=more)


def _check_number(number: int, most: int) -> None:
    if not 1 <= number <= most:
        raise invalid(f"1 validation error detected: Member must have length between 1 and {most}")


def _check_distinct(keys: Any, what: str = "") -> None:
    found = [(table, values.canonical({"M": dict(key)})) for table, key in keys]
    if len(set(found)) < len(found):
        if what:
            raise invalid("Transaction request cannot include multiple operations on one item")
        raise invalid("Provided list of item keys contains duplicates")
