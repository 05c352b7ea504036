"""Queries and scans of the fake DynamoDB: which items, in which order, and where a page ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloudfn.testing.aws import dynamodb_syntax as syntax
from cloudfn.testing.aws import dynamodb_values as values
from cloudfn.testing.aws.dynamodb_expressions import holds
from cloudfn.testing.aws.dynamodb_tables import Record, Schema, Table
from cloudfn.testing.aws.dynamodb_values import Item, invalid

_OF_SORT_KEYS = frozenset({"=", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Page:
    """One page: what was looked at, what of it fits, and where to go on."""

    items: list[Item]
    looked_at: int
    size: int
    last: Item | None


@dataclass(frozen=True, slots=True)
class Range:
    """What a key condition says: one partition, and a condition of the sort key."""

    partition: values.Value
    sort: Any


def key_range(tree: Any, schema: Schema) -> Range:
    """Return what a key condition asks for.

    Raises:
        Refused: It asks for something else than one partition and a range of sort keys.
    """
    terms = list(_terms(tree))
    partition = [each for each in terms if _names(each) == schema.partition]
    sort = [each for each in terms if each not in partition]
    match partition:
        case [syntax.Compare("=", syntax.Path(), syntax.Literal(value))]:
            pass
        case _:
            raise invalid(f"Query condition missed key schema element: {schema.partition}")
    if len(sort) > 1 or any(_names(each) != schema.sort or not _is_range(each) for each in sort):
        raise invalid("Query key condition not supported")
    return Range(value, sort[0] if sort else None)


def _terms(tree: Any) -> Iterator[Any]:
    if isinstance(tree, syntax.And):
        yield from _terms(tree.left)
        yield from _terms(tree.right)
    else:
        yield tree


def _names(term: Any) -> str | None:
    match term:
        case syntax.Compare(_, syntax.Path((str() as name,)), syntax.Literal()):
            return name
        case syntax.Between(syntax.Path((str() as name,)), _, _):
            return name
        case syntax.Function("begins_with", (syntax.Path((str() as name,)), _)):
            return name
        case _:
            return None


def _is_range(term: Any) -> bool:
    return not isinstance(term, syntax.Compare) or term.operator in _OF_SORT_KEYS


def in_range(table: Table, schema: Schema, wanted: Range, *, forward: bool) -> list[Record]:
    """Return the records of a table that a key condition may mean, in order.

    In an index, what an item's key attributes are is only known of one of its versions: all records
    are returned that ever were in the partition.
    """
    part = values.canonical(wanted.partition)
    if schema is table.schema:
        records = table.sorted(part)
    else:
        records = [each for each in table.records() if _was_in(each, schema, part)]
        if (sort := schema.sort) is not None:
            records.sort(key=lambda each: values.order((each.item or {}).get(sort, {"S": ""})))
    return records if forward else records[::-1]


def _was_in(record: Record, schema: Schema, part: Any) -> bool:
    return any(
        item is not None
        and set(schema.names) <= set(item)
        and values.canonical(item[schema.partition]) == part
        for _, item in record.versions
    )


def after(records: Iterable[Record], start: Item | None, schema: Schema) -> list[Record]:
    """Return the records behind the one with which a page before ended."""
    found = list(records)
    if start is None:
        return found
    wanted = {name: values.canonical(value) for name, value in start.items()}
    for index, record in enumerate(found):
        if all(values.canonical(record.key[name]) == wanted.get(name) for name in schema.names):
            return found[index + 1 :]
    raise invalid("The provided starting key is invalid")


def page(
    records: Iterable[Record],
    read: Callable[[Record], Item | None],
    fits: Callable[[Item], bool],
    *,
    limit: int | None,
    largest: int,
) -> Page:
    """Return the first page.

    Args:
        records: In order.
        read: What a reader sees of a record.
        fits: The filter, which costs as much as no filter.
        limit: How many items are looked at, at most.
        largest: Bytes that are looked at, about.
    """
    items: list[Item] = []
    looked_at = size = 0
    last: Item | None = None
    for record in records:
        # A full page names its last key, although nothing may follow.
        if size >= largest or looked_at == limit:
            return Page(items, looked_at, size, last)
        item = read(record)
        if item is None:
            continue
        looked_at += 1
        size += values.item_size(item)
        last = record.key
        if fits(item):
            items.append(item)
    return Page(items, looked_at, size, last if looked_at == limit else None)


def filter_of(text: str | None, names: syntax.Substitutes) -> Callable[[Item], bool]:
    """Return a filter expression as a function."""
    if text is None:
        return lambda _: True
    tree = syntax.condition(text, names, "FilterExpression")
    return lambda item: holds(tree, item)


def shown(item: Item, paths: list[syntax.Path] | None) -> Item:
    """Return what a projection shows of an item."""
    return dict(item) if paths is None else values.projected(item, paths)


def paths_of(params: Mapping[str, Any], names: syntax.Substitutes) -> list[syntax.Path] | None:
    """Return the paths of a request's projection, or None."""
    text = params.get("ProjectionExpression")
    return None if text is None else syntax.projection(text, names)
