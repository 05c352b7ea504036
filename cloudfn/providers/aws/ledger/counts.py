"""How many inputs wait and run: exact counts of pools, and the counters that limits are held to.

A function's counters never say less than is true: they grow in the transaction that admits inputs,
and shrink by what a page says of itself, in a transaction with the page. So they may lag behind;
who is refused brings them up to date before it is told so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.ledger import changes, pages, rows
from cloudfn.providers.aws.ledger.pages import WAITS, Page
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.aws.table import Item, Write, update
from cloudfn.providers.ledger import CallSpec, PoolCounts
from cloudfn.providers.shared_ledger import Overview

COUNTERS = "COUNT"
#: pages that are folded in one transaction, with two writes each to close them
_TOGETHER = 40
_TRIES = 4


def counters_key(function_id: str) -> str:
    """Return where a function's counters are."""
    return f"F#{function_id}"


def reserve(spec: CallSpec, number: int, limits: tuple[int, int]) -> Write:
    """Return the write that admits inputs if the limits allow; see `limits_of`."""
    pending, total = limits
    names = ("spawned", "") if spec.kind.durable else ("pending", "total")
    values: dict[str, Any] = {"more": number, "pending": pending - number}
    change, when = f"ADD #{names[0]} :more", f"{_below(names[0])}:pending)"
    if names[1]:
        values["total"] = total - number
        change, when = f"{change},#{names[1]} :more", f"{when} AND {_below(names[1])}:total)"
    return update(counters_key(spec.function_id), COUNTERS, change, when, **values)


def _below(name: str) -> str:
    return f"(attribute_not_exists(#{name}) OR #{name}<="


def settle_counters(function_id: str, found: Sequence[Page], *, gone: bool = False) -> Write:
    """Return the write that makes a function's counters say of pages what these say themselves.

    Args:
        function_id: Whose.
        found: The pages, as they were seen; all of this function.
        gone: They are deleted.
    """
    changed = {"pending": 0, "total": 0, "spawned": 0}
    for page in found:
        waiting = (0 if gone else page.waiting) - page.folded_waiting
        unfinished = (0 if gone else page.unfinished) - page.folded_unfinished
        if page.kind.durable:
            changed["spawned"] += waiting
        else:
            changed["pending"] += waiting
            changed["total"] += unfinished
    values: dict[str, Any] = {name: value for name, value in changed.items() if value}
    values = values or {"pending": 0}
    text = ",".join(f"#{name} :{name}" for name in values)
    return update(counters_key(function_id), COUNTERS, f"ADD {text}", **values)


class Counts:
    """Counts of inputs.

    Args:
        shelf: The table, and what is remembered of it.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def counts(self, pool: str) -> PoolCounts:
        return _counted(self._shelf.open_pages(pool), self._shelf.now())

    def pools(self) -> list[str]:
        found = (page.pool for page in self._shelf.open_pages() if page.unfinished)
        return list(dict.fromkeys(found))

    def next_due(self, now: float) -> float | None:
        self._shelf.book.see(now)
        due = min((page.next_due(now) for page in self._shelf.open_pages()), default=inf)
        return None if due == inf else due

    def overview(self, now: float) -> Overview:
        self._shelf.book.see(now)
        found = self._shelf.open_pages()
        pools: dict[str, list[Page]] = {}
        for page in found:
            if page.unfinished:
                pools.setdefault(page.pool, []).append(page)
        due = min((page.next_due(now) for page in found), default=inf)
        return Overview(
            {pool: _counted(mine, self._shelf.now()) for pool, mine in pools.items()},
            None if due == inf else due,
            len(found),
        )

    # Limits

    def limits_of(self, spec: CallSpec) -> tuple[int, int]:
        """Return how many inputs of a call's kind may wait in its function, and may be in all."""
        limits = self._shelf.limits
        if spec.kind.durable:
            return limits.spawn_pending, limits.spawn_pending
        return limits.pending, limits.total

    def room(self, spec: CallSpec, wanted: int) -> tuple[int, str]:
        """Return how many inputs may come for a call, and a sentence that says why no more.

        Counters that lag behind are brought up to date until there is room for `wanted`.
        """
        free, reason = self._free(spec)
        if free >= wanted:
            return free, reason
        found = self._shelf.rows()
        mine = [row.number for row in found if row.function_id == spec.function_id]
        for at in range(0, len(mine), 100):
            some = self._shelf.read_all(mine[at : at + 100]).values()
            self.fold([page for page in some if page.kind.durable == spec.kind.durable])
            free, reason = self._free(spec)
            if free >= wanted:
                break
        return free, reason

    def _free(self, spec: CallSpec) -> tuple[int, str]:
        item: Item = self._shelf.table.get(counters_key(spec.function_id), COUNTERS) or {}
        pending, total = self.limits_of(spec)
        function = f"function {spec.function_id}"
        if spec.kind.durable:
            waiting = item.get("spawned", 0)
            what = f"{waiting} pending spawned inputs, the limit is {pending}"
            return max(pending - waiting, 0), f"{function} has {what}"
        waiting, known = item.get("pending", 0), item.get("total", 0)
        if pending - waiting <= total - known:
            what = f"{waiting} pending inputs, the limit is {pending}"
            return max(pending - waiting, 0), f"{function} has {what}"
        return max(total - known, 0), f"{function} has {known} inputs, the limit is {total}"

    def fold(self, found: Iterable[Page]) -> None:
        """Bring counters up to date about pages, and close those whose inputs have all ended.

        What cannot be done because somebody writes to the page is left to the next one who tries.
        """
        functions: dict[str, list[Page]] = {}
        for page in found:
            if not page.closed and (page.counters_differ or not page.unfinished):
                functions.setdefault(page.function_id, []).append(page)
        for function_id, mine in functions.items():
            for at in range(0, len(mine), _TOGETHER):
                self._fold(function_id, mine[at : at + _TOGETHER])

    def _fold(self, function_id: str, found: list[Page]) -> None:
        for _ in range(_TRIES):
            if not found:
                return
            writes = [settle_counters(function_id, found)]
            of: list[Page | None] = [None]
            for page in found:
                if page.unfinished:
                    writes.append(changes.fold(page))
                    of.append(page)
                else:
                    writes.append(changes.close(page, self._shelf.expiry(page.durable)))
                    writes.append(rows.remove(page))
                    of += [page, None]
            try:
                self._shelf.table.transact(writes)
            except ConditionFailed as failed:
                found = self._again(of, failed)
                continue
            for page in found:
                self._shelf.book.note(
                    replace(
                        page,
                        folded_waiting=page.waiting,
                        folded_unfinished=page.unfinished,
                        closed=not page.unfinished,
                    )
                )
            return

    def _again(self, of: list[Page | None], failed: ConditionFailed) -> list[Page]:
        """Return what still needs folding, as a refusal shows it."""
        again = []
        for page, held, item in zip(of, failed.held, failed.items, strict=True):
            if page is None:
                continue
            if held:
                again.append(page)
            elif item is not None:
                now = self._shelf.book.note(pages.from_item(item))
                if not now.closed and (now.counters_differ or not now.unfinished):
                    again.append(now)
        return again


def _counted(found: Iterable[Page], now: float) -> PoolCounts:
    pending = delayed = running = 0
    for page in found:
        running += page.unfinished - page.waiting
        if page.not_before > now:
            delayed += page.waiting
        elif page.waiting:
            later = _delayed(page, now)
            delayed += later
            pending += page.waiting - later
    return PoolCounts(pending, delayed, running)


def _delayed(page: Page, now: float) -> int:
    """Return how many of a page's waiting inputs have to wait."""
    return sum(
        page.slots[slot] == WAITS and scar.not_before > now for slot, scar in page.scars.items()
    )
