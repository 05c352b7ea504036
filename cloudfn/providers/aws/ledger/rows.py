"""The index of pages with unfinished inputs, by pool and age. Pure.

It is spread over partitions by the name of the pool, as every page enters and leaves it, and every
machine looks into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

from cloudfn.providers.aws.ledger.pages import Page, name_of
from cloudfn.providers.aws.table import Item, Write, delete, put

#: its partitions, all of which are asked for where all pools are meant
OPEN = tuple(f"L#OPEN{number:x}" for number in range(8))


class Row(NamedTuple):
    """What the index says of an open page."""

    #: its sort key
    place: str
    pool: str
    number: int
    function_id: str
    deadline: float | None


def partition(pool: str) -> str:
    """Return the partition that a pool's rows are in."""
    return OPEN[crc32(pool.encode()) % len(OPEN)]


def add(page: Page) -> Write:
    """Return the write that puts a page into the index."""
    item: Item = {"pk": partition(page.pool), "sk": _place(page), "fn": page.function_id}
    if page.deadline is not None:
        item["dl"] = page.deadline
    return put(item)


def remove(page: Page) -> Write:
    """Return the write that takes a page out of the index."""
    return delete(partition(page.pool), _place(page))


def drop(row: Row) -> Write:
    """Return the write that removes a row whose page is gone."""
    return delete(partition(row.pool), row.place)


def from_item(item: Mapping[str, Any]) -> Row:
    """Return the row that an item holds."""
    name, _, number = item["sk"].rpartition("#")
    return Row(item["sk"], name.rpartition("#")[0], int(number, 16), item["fn"], item.get("dl"))


def _place(page: Page) -> str:
    return f"{page.pool}#{page.created:017.6f}#{name_of(page.number)}"
