"""Named objects in DynamoDB. Thin I/O; thread-safe.

`OBJ#<kind>`/`ID#<object>` is an object, and `OBJ#<kind>`/`NAME#<name>` says which one has a name.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from cloudfn.clock import Clock
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.retries import too_busy, tries
from cloudfn.providers.aws.table import Table, Write, delete, put, update
from cloudfn.providers.objects import ObjectKind, ObjectRecord, no_object, taken


class DynamoObjects:
    """The `Objects` port on a table.

    Args:
        clients: Where the client of DynamoDB comes from.
        table: The name of the environment's table.
        clock: Waits between two tries.
    """

    def __init__(self, clients: ClientSource, table: str, clock: Clock) -> None:
        self._table = Table(clients, table, clock)
        self._clock = clock

    def create(self, record: ObjectRecord) -> None:
        adding = put({**_item(record), "sk": f"ID#{record.object_id}"}, "attribute_not_exists(pk)")
        try:
            self._table.transact([adding, *_naming(record)])
        except ConditionFailed as failed:
            if failed.held[0]:
                raise taken(record.kind, record.name) from failed

    def get(self, object_id: str) -> ObjectRecord | None:
        kind = object_id.partition("-")[0]
        item = self._table.get(f"OBJ#{kind}", f"ID#{object_id}")
        return None if item is None else _record(item)

    def find(self, kind: ObjectKind, name: str) -> ObjectRecord | None:
        item = self._table.get(_pk(kind), f"NAME#{name}")
        return None if item is None else _record(item)

    def list(self, kind: ObjectKind) -> builtins.list[ObjectRecord]:
        records = map(_record, self._table.query(_pk(kind), begins="ID#"))
        return sorted(records, key=lambda record: (record.created, record.object_id), reverse=True)

    def rename(self, object_id: str, name: str) -> None:
        for _ in tries(self._clock):
            record = self.get(object_id)
            if record is None:
                raise no_object(object_id)
            if record.name == name:
                return
            renamed = ObjectRecord(object_id, record.kind, name, record.created)
            changing = update(
                _pk(record.kind),
                f"ID#{object_id}",
                "SET #name = :name",
                "#name = :old",
                name=name,
                old=record.name,
            )
            try:
                self._table.transact([changing, *_naming(renamed), *_unnaming(record)])
            except ConditionFailed as failed:
                if failed.held[0]:
                    raise taken(record.kind, name) from failed
        raise too_busy(object_id)

    def delete(self, object_id: str) -> None:
        for _ in tries(self._clock):
            record = self.get(object_id)
            if record is None:
                return
            going = delete(
                _pk(record.kind),
                f"ID#{object_id}",
                "attribute_not_exists(pk) OR #name = :name",
                name=record.name,
            )
            try:
                self._table.transact([going, *_unnaming(record)])
            except ConditionFailed:
                continue
            return
        raise too_busy(object_id)

    def close(self) -> None:
        """See the port; connections belong to the clients."""


def _pk(kind: ObjectKind) -> str:
    return f"OBJ#{kind.value}"


def _item(record: ObjectRecord) -> dict[str, Any]:
    return {
        "pk": _pk(record.kind),
        "object_id": record.object_id,
        "name": record.name,
        "created": record.created,
    }


def _record(item: Mapping[str, Any]) -> ObjectRecord:
    kind = ObjectKind(item["pk"].removeprefix("OBJ#"))
    return ObjectRecord(item["object_id"], kind, item["name"], float(item["created"]))


def _naming(record: ObjectRecord) -> builtins.list[Write]:
    """Return the write that takes an object's name, where it has one."""
    item = {**_item(record), "sk": f"NAME#{record.name}"}
    return [put(item, "attribute_not_exists(pk)")] if record.name else []


def _unnaming(record: ObjectRecord) -> builtins.list[Write]:
    return [delete(_pk(record.kind), f"NAME#{record.name}")] if record.name else []
