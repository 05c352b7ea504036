"""Fake DynamoDB: single items, queries and scans. Batches and transactions: `dynamodb_groups.py`.

From the API reference, "DynamoDB read consistency", "Constraints in Amazon DynamoDB", "Querying
tables in DynamoDB", "Burst and adaptive capacity" and "Using time to live (TTL) in DynamoDB".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from cloudfn.testing.aws import dynamodb_syntax as syntax
from cloudfn.testing.aws import dynamodb_values as values
from cloudfn.testing.aws.dynamodb_expressions import holds
from cloudfn.testing.aws.dynamodb_pages import (
    after,
    filter_of,
    in_range,
    key_range,
    page,
    paths_of,
    shown,
)
from cloudfn.testing.aws.dynamodb_tables import (
    Record,
    Schema,
    Table,
    read_units,
    schema_of,
    write_units,
)
from cloudfn.testing.aws.dynamodb_values import Item, invalid
from cloudfn.testing.aws.dynamodb_writes import Write, read_write, substitutes_of, touched
from cloudfn.testing.aws.knobs import DynamoKnobs
from cloudfn.testing.aws.service import Answer, Refused, Request, Service
from cloudfn.testing.clock import FakeClock

#: seconds after a transaction in which a write may still meet it
_TRANSACTION = 1.0
_DAY = 86_400
_NAME = re.compile(r"[\w.-]{3,255}\Z", re.ASCII)


class DynamoTables(Service):
    """Tables and what is done to one item or one range of them.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
        knobs: How nasty.
    """

    name = "dynamodb"

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: DynamoKnobs
    ) -> None:
        super().__init__(clock, random, region, account)
        self.knobs = knobs
        self._tables: dict[str, Table] = {}
        self._expiries: list[tuple[float, int, Table, Record]] = []
        self._numbers = count()

    def truth(self, table: str) -> list[Item]:
        """Return all items that a table really holds; no client can ask this."""
        with self.changed:
            self.pass_time(self.clock.wall())
            return [record.item for record in self._tables[table].records() if record.item]

    def pass_time(self, now: float) -> None:
        """Delete what has expired, as late as it is drawn."""
        while self._expiries and self._expiries[0][0] <= now:
            _, _, table, record = heappop(self._expiries)
            expiry = _expiry(table, record.item, now)
            if expiry is not None and expiry <= now:
                record.put(None, now, self.knobs.reads_lag)

    # ------------------------------------------------------------------------------------ tables

    def create_table(self, request: Request) -> Answer:
        name = request["TableName"]
        if not _NAME.match(name):
            raise invalid("TableName must be 3 to 255 characters of a-z, A-Z, 0-9, _, - and .")
        if name in self._tables:
            raise Refused("ResourceInUseException", f"Table already exists: {name}")
        attributes = request["AttributeDefinitions"]
        types = {each["AttributeName"]: each["AttributeType"] for each in attributes}
        schema = schema_of(request["KeySchema"], types)
        given = request.get("GlobalSecondaryIndexes", [])
        indexes = {each["IndexName"]: schema_of(each["KeySchema"], types) for each in given}
        mode = request.get("BillingMode", "PROVISIONED")
        description: Item = {
            "TableName": name,
            "TableArn": self.arn(f"table/{name}"),
            "TableStatus": "ACTIVE",
            "KeySchema": request["KeySchema"],
            "AttributeDefinitions": attributes,
            "BillingModeSummary": {"BillingMode": mode},
            "ItemCount": 0,
        }
        self._tables[name] = Table(name, schema, indexes, description, mode)
        return {"TableDescription": description}

    def describe_table(self, request: Request) -> Answer:
        return {"Table": self.table(request["TableName"]).description}

    def delete_table(self, request: Request) -> Answer:
        table = self.table(request["TableName"])
        del self._tables[table.name]
        return {"TableDescription": {**table.description, "TableStatus": "DELETING"}}

    def list_tables(self, request: Request) -> Answer:
        return {"TableNames": sorted(self._tables)}

    def update_time_to_live(self, request: Request) -> Answer:
        wanted = request["TimeToLiveSpecification"]
        table = self.table(request["TableName"])
        table.expires_by = wanted["AttributeName"] if wanted["Enabled"] else None
        for record in table.records():
            self._expire_later(table, record, request.now)
        return {"TimeToLiveSpecification": wanted}

    def describe_time_to_live(self, request: Request) -> Answer:
        name = self.table(request["TableName"]).expires_by
        if name is None:
            return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": name}}

    # ------------------------------------------------------------------------------- single items

    def get_item(self, request: Request) -> Answer:
        table = self.table(request["TableName"])
        names = substitutes_of(request.params)
        paths = paths_of(request.params, names)
        names.finish()
        consistent = request.get("ConsistentRead", False)
        record = table.record(request["Key"])
        item = self.read(record, request.now, consistent=consistent)
        units = read_units(values.item_size(item or {}), consistent=consistent)
        self._spend(table, "read", record.key, units, request.now)
        answer: Answer = {} if item is None else {"Item": shown(item, paths)}
        return answer | _consumed(request, table, units)

    def put_item(self, request: Request) -> Answer:
        return self._write("Put", request)

    def update_item(self, request: Request) -> Answer:
        return self._write("Update", request)

    def delete_item(self, request: Request) -> Answer:
        return self._write("Delete", request)

    def _write(self, kind: str, request: Request) -> Answer:
        table = self.table(request["TableName"])
        write = read_write(kind, request.params, table.schema)
        record = table.record(write.key)
        before = record.item
        units = write_units(before, write.item)
        self._spend(table, "write", write.key, units, request.now)
        if record.transacted_at > request.now - _TRANSACTION and self.chance(self.knobs.conflicts):
            raise Refused("TransactionConflictException", "Transaction is ongoing for the item")
        if not write.allowed(before):
            item = {"Item": before} if write.tells and before is not None else None
            raise Refused(
                "ConditionalCheckFailedException", "The conditional request failed", more=item
            )
        now_there = write.after(before)
        self.put(table, record, now_there, request.now)
        answer = _returned(request.get("ReturnValues", "NONE"), write, before, now_there)
        return answer | _consumed(request, table, write_units(before, now_there))

    # ------------------------------------------------------------------------- queries and scans

    def query(self, request: Request) -> Answer:
        table = self.table(request["TableName"])
        schema = self._index(table, request)
        names = substitutes_of(request.params)
        text = request.get("KeyConditionExpression")
        if text is None:
            raise invalid(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified"
            )
        wanted = key_range(syntax.condition(text, names, "KeyConditionExpression"), schema)
        forward = request.get("ScanIndexForward", True)
        records = in_range(table, schema, wanted, forward=forward)
        start = request.get("ExclusiveStartKey")
        records = after(records, start, table.schema)

        def belongs(item: Item) -> bool:
            return _is_in(item, schema, wanted.partition) and (
                wanted.sort is None or holds(wanted.sort, item)
            )

        return self._page(table, schema, records, request, names, belongs)

    def scan(self, request: Request) -> Answer:
        table = self.table(request["TableName"])
        schema = self._index(table, request)
        names = substitutes_of(request.params)
        records = after(table.records(), request.get("ExclusiveStartKey"), table.schema)
        return self._page(
            table, schema, records, request, names, lambda item: set(schema.names) <= set(item)
        )

    def _page(
        self,
        table: Table,
        schema: Schema,
        records: list[Record],
        request: Request,
        names: syntax.Substitutes,
        belongs: Any,
    ) -> Answer:
        fits = filter_of(request.get("FilterExpression"), names)
        paths = paths_of(request.params, names)
        names.finish()
        consistent = request.get("ConsistentRead", False)

        def read(record: Record) -> Item | None:
            item = self.read(record, request.now, consistent=consistent)
            return item if item is not None and belongs(item) else None

        limit, largest = request.get("Limit"), self.knobs.page
        found = page(records, read, fits, limit=limit, largest=largest)
        units = read_units(found.size, consistent=consistent)
        if found.items:
            self._spend(table, "read", found.items[0], units, request.now)
        answer: Answer = {"Count": len(found.items), "ScannedCount": found.looked_at}
        if request.get("Select") != "COUNT":
            answer["Items"] = [shown(item, paths) for item in found.items]
        if found.last is not None:
            answer["LastEvaluatedKey"] = self._last(table, schema, found.last)
        return answer | _consumed(request, table, units)

    # -------------------------------------------------------------------------------------- parts

    def table(self, name: str) -> Table:
        """Return a table, by its name or its ARN."""
        found = self._tables.get(name.rpartition("/")[2])
        if found is None:
            raise Refused("ResourceNotFoundException", "Requested resource not found")
        return found

    def read(self, record: Record, now: float, *, consistent: bool) -> Item | None:
        """Return what a read sees: the truth, or the past."""
        if consistent or not self.chance(self.knobs.stale):
            return record.item
        return record.as_of(now - self.random.uniform(0, self.knobs.reads_lag))

    def put(self, table: Table, record: Record, item: Item | None, now: float) -> None:
        """Let an item be there from now on."""
        record.put(item, now, self.knobs.reads_lag)
        self._expire_later(table, record, now)

    def _expire_later(self, table: Table, record: Record, now: float) -> None:
        expiry = _expiry(table, record.item, now)
        if expiry is not None:
            late = max(expiry, now) + self.random.uniform(0, self.knobs.expiry_lag)
            heappush(self._expiries, (late, next(self._numbers), table, record))

    def _spend(
        self, table: Table, kind: str, key: Mapping[str, Any], units: float, now: float
    ) -> None:
        if not self.has_units(table, kind, key, units, now):
            on_demand = table.mode == "PAY_PER_REQUEST"
            raise Refused(
                "ThrottlingException" if on_demand else "ProvisionedThroughputExceededException",
                "Throughput exceeds the current capacity of your table or index.",
            )

    def has_units(
        self, table: Table, kind: str, key: Mapping[str, Any], units: float, now: float
    ) -> bool:
        """Spend units of a partition, and say whether there were any."""
        rate = self.knobs.partition_reads if kind == "read" else self.knobs.partition_writes
        return table.allows(kind, key, units, rate, now)

    def _index(self, table: Table, request: Request) -> Schema:
        name = request.get("IndexName")
        if name is None:
            return table.schema
        if name not in table.indexes:
            raise invalid(f"The table does not have the specified index: {name}")
        if request.get("ConsistentRead"):
            raise invalid("Consistent reads are not supported on global secondary indexes")
        return table.indexes[name]

    def _last(self, table: Table, schema: Schema, key: Item) -> Item:
        item = table.record(key).item or {}
        return key | {name: item[name] for name in schema.names if name in item}


def _is_in(item: Item, schema: Schema, partition: values.Value) -> bool:
    return set(schema.names) <= set(item) and values.canonical(
        item[schema.partition]
    ) == values.canonical(partition)


def _expiry(table: Table, item: Item | None, now: float) -> float | None:
    """Return when an item expires; what is more than 5 years old is never deleted."""
    if item is None or table.expires_by is None:
        return None
    value = item.get(table.expires_by, {})
    if "N" not in value:
        return None
    expiry = float(value["N"])
    return None if expiry < now - 5 * 365 * _DAY else expiry


def _returned(what: str, write: Write, before: Item | None, after: Item | None) -> Answer:
    if what not in {"NONE", "ALL_OLD"} and write.kind != "Update":
        raise invalid("Return values set to invalid value")
    match what:
        case "ALL_OLD":
            item = before
        case "ALL_NEW":
            item = after
        case "UPDATED_OLD":
            item = touched(write.actions, before)
        case "UPDATED_NEW":
            item = touched(write.actions, after)
        case _:
            item = None
    return {"Attributes": item} if item else {}


def _consumed(request: Request, table: Table, units: float) -> Answer:
    if request.get("ReturnConsumedCapacity", "NONE") == "NONE":
        return {}
    return {"ConsumedCapacity": {"TableName": table.name, "CapacityUnits": units}}
