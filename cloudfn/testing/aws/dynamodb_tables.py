"""One table of the fake DynamoDB: keys, versions of items, rates of partitions. Not thread-safe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from math import ceil
from typing import Any

from cloudfn.testing.aws import dynamodb_values as values
from cloudfn.testing.aws.dynamodb_values import Item, invalid
from cloudfn.testing.aws.service import Bucket

_LONGEST_KEYS = (2_048, 1_024)


@dataclass(frozen=True, slots=True)
class Schema:
    """The key attributes of a table or an index, partition first, with their types."""

    names: tuple[str, ...]
    types: Mapping[str, str]

    @property
    def partition(self) -> str:
        """The name of the partition key."""
        return self.names[0]

    @property
    def sort(self) -> str | None:
        """The name of the sort key."""
        return self.names[1] if len(self.names) > 1 else None

    def key_of(self, item: Mapping[str, Any]) -> Item:
        """Return the key of an item."""
        return {name: item[name] for name in self.names}

    def check(self, item: Mapping[str, Any], *, alone: bool) -> None:
        """Refuse an item without its key, and a key with more than that if it stands alone."""
        if alone and set(item) != set(self.names):
            raise invalid("The provided key element does not match the schema")
        for name, longest in zip(self.names, _LONGEST_KEYS, strict=False):
            if name not in item:
                raise invalid(
                    f"One or more parameter values were invalid: Missing the key {name} in the item"
                )
            value = values.checked(item[name])
            if values.type_of(value) != self.types[name]:
                raise invalid(
                    "One or more parameter values were invalid: Type mismatch for key"
                    f" {name} expected: {self.types[name]} actual: {values.type_of(value)}"
                )
            if not value[self.types[name]]:
                raise invalid(
                    "One or more parameter values are not valid. The AttributeValue for a key"
                    f" attribute cannot contain an empty string value. Key: {name}"
                )
            if values.size(value) > longest:
                raise invalid(
                    "One or more parameter values were invalid: Size of key attribute exceeded the"
                    f" maximum size limit of {longest} bytes"
                )


@dataclass(slots=True, eq=False)
class Record:
    """One item over time."""

    key: Item
    #: (since, item), the last one is the truth; None: not there
    versions: list[tuple[float, Item | None]] = field(default_factory=list)
    #: when a transaction last touched it
    transacted_at: float = -float("inf")

    @property
    def item(self) -> Item | None:
        """What is there."""
        return self.versions[-1][1] if self.versions else None

    def as_of(self, at: float) -> Item | None:
        """Return what was there at a time."""
        return next((item for since, item in reversed(self.versions) if since <= at), None)

    def put(self, item: Item | None, now: float, lag: float) -> None:
        """Put an item there, and forget what no read can return any more."""
        self.versions.append((now, item))
        while len(self.versions) > 1 and self.versions[1][0] < now - lag:
            del self.versions[0]


@dataclass(slots=True)
class Table:
    """One table.

    Args:
        name: Of the table.
        schema: Its key.
        indexes: Keys of its global secondary indexes.
        description: What DescribeTable says.
        mode: How it is paid.
    """

    name: str
    schema: Schema
    indexes: Mapping[str, Schema]
    description: Item
    mode: str
    expires_by: str | None = None
    #: records by partition key, and then by sort key
    parts: dict[Any, dict[Any, Record]] = field(default_factory=dict)
    _rates: dict[tuple[str, Any], Bucket] = field(default_factory=dict)

    def record(self, key: Mapping[str, Any]) -> Record:
        """Return the record of a key, whether an item is there or not."""
        self.schema.check(key, alone=True)
        part, place = self._place(key)
        records = self.parts.setdefault(part, {})
        if place not in records:
            records[place] = Record({name: values.checked(key[name]) for name in self.schema.names})
        return records[place]

    def records(self) -> Iterator[Record]:
        """Return all records, partition after partition, in the order of a scan."""
        for part in sorted(self.parts, key=_spread):
            yield from self.sorted(part)

    def sorted(self, part: Any) -> list[Record]:
        """Return the records of a partition by their sort keys."""
        records = list(self.parts.get(part, {}).values())
        if (sort := self.schema.sort) is not None:
            records.sort(key=lambda record: values.order(record.key[sort]))
        return records

    def allows(
        self, kind: str, key: Mapping[str, Any], units: float, rate: float, now: float
    ) -> bool:
        """Spend units of a partition key's rate, and say whether there were any."""
        if rate == float("inf"):
            return True
        part = values.canonical(key[self.schema.partition])
        bucket = self._rates.setdefault((kind, part), Bucket(rate))
        return bucket.take(units, now)

    def _place(self, key: Mapping[str, Any]) -> tuple[Any, Any]:
        part = values.canonical(key[self.schema.partition])
        sort = self.schema.sort
        return part, None if sort is None else values.canonical(key[sort])


def _spread(part: Any) -> bytes:
    return md5(repr(part).encode(), usedforsecurity=False).digest()


def schema_of(keys: list[Mapping[str, str]], types: Mapping[str, str]) -> Schema:
    """Return a schema from a request's KeySchema and AttributeDefinitions."""
    by_kind = {each["KeyType"]: each["AttributeName"] for each in keys}
    names = tuple(by_kind[kind] for kind in ("HASH", "RANGE") if kind in by_kind)
    if "HASH" not in by_kind or any(name not in types for name in names):
        raise invalid(
            "One or more parameter values were invalid: Some index key attributes are not defined"
            " in AttributeDefinitions."
        )
    return Schema(names, {name: types[name] for name in names})


def write_units(*items: Item | None) -> float:
    """Return the write units of a write: of the larger of what was and what is there."""
    largest = max((values.item_size(item) for item in items if item), default=1)
    return max(1.0, float(ceil(largest / 1_024)))


def read_units(size: int, *, consistent: bool) -> float:
    """Return the read units of so many bytes."""
    return max(1, ceil(size / 4_096)) * (1.0 if consistent else 0.5)
