"""Questions about calls: what is known of them, of their inputs, and which there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from math import inf

from cloudfn.model.call import Status
from cloudfn.providers.aws.ledger import heads
from cloudfn.providers.aws.ledger.heads import HEAD, Head
from cloudfn.providers.aws.ledger.pages import Page, fence_of, label_of
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.ledger import CallRecord
from cloudfn.providers.shared_ledger import Held
from cloudfn.wire.messages import DIGEST

#: heads that are read at once
_TOGETHER = 50


class Calls:
    """Knows calls.

    Args:
        shelf: The table, and what is remembered of it.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def call(self, call_id: str) -> CallRecord | None:
        head = self._shelf.head(call_id)
        return None if head is None else self._record(head)

    def _record(self, head: Head) -> CallRecord:
        statuses = self._statuses(head)
        finished = sum(status.terminal for status in statuses)
        failed = finished - statuses.count(Status.RETURNED)
        total = head.known if head.sealed else head.total
        return CallRecord(
            head.spec,
            head.known,
            head.sealed,
            finished,
            head.cancelled,
            failed,
            head.expired,
            total,
        )

    def statuses(self, call_id: str) -> list[Status]:
        head = self._shelf.head(call_id)
        return [] if head is None else self._statuses(head)

    def _statuses(self, head: Head) -> list[Status]:
        found = self._shelf.pages_of(head, 0, head.known)
        return [status for page in found for status in page.statuses()][: head.known]

    def held(self, call_id: str) -> list[Held]:
        head = self._shelf.head(call_id)
        if head is None:
            return []
        return [one for page in self._shelf.pages_of(head, 0, head.known) for one in held_of(page)]

    def reply_to(self, call_id: str) -> str:
        known = self._shelf.book.reply(call_id)
        if known is not None:
            return known
        head = self._shelf.head(call_id)
        return "" if head is None else head.spec.reply

    # Which there are

    def calls(
        self,
        *,
        limit: int,
        functions: Collection[str] | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[CallRecord]:
        found = self.heads(functions, since=since, until=until, forward=False)
        return self._shelf.crew.each(self._record, islice(found, limit))

    def open_calls(self, function_id: str | None = None) -> list[CallRecord]:
        functions = None if function_id is None else [function_id]
        records = self._shelf.crew.each(self._record, self.heads(functions))
        return [
            record
            for record in records
            if not record.spec.durable or not record.sealed or record.finished < record.known
        ]

    def children(self, call_id: str) -> list[CallRecord]:
        rows = self._shelf.table.query(heads.partition(call_id), begins="K#")
        found = self._heads(row["sk"].rpartition("#")[2] for row in rows)
        return self._shelf.crew.each(self._record, found)

    def heads(
        self,
        functions: Collection[str] | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
        forward: bool = True,
        gone: bool = False,
    ) -> Iterator[Head]:
        """Yield the heads of all calls, or of those of functions and of a time, by their age.

        Args:
            functions: Ids of the functions whose calls are wanted; None: of all.
            since: Created at this time or later, in seconds since the epoch.
            until: Created at this time or before.
            forward: The oldest first.
            gone: With those that somebody began to forget.
        """
        low = -inf if since is None else since
        high = inf if until is None else until

        def ids() -> Iterator[str]:
            for row in self._shelf.table.query(heads.CALLS, forward=forward):
                created, _, call_id = row["sk"].partition("#")
                if low <= float(created) <= high:
                    if functions is None or row["fn"] in functions:
                        yield call_id
                elif (float(created) > high) == forward:
                    return

        yield from self._heads(ids(), gone=gone)

    def _heads(self, ids: Iterable[str], *, gone: bool = False) -> Iterator[Head]:
        ids = iter(ids)
        while some := list(islice(ids, _TOGETHER)):
            keys = [(heads.partition(call_id), HEAD) for call_id in some]
            found = self._shelf.table.get_all(keys)
            for key in keys:
                head = heads.from_item(found[key]) if key in found else None
                if head is not None and (gone or not head.gone):
                    yield head

    # Named calls

    def named(self, name: str) -> str | None:
        item = self._shelf.table.get(heads.NAMES, name)
        return None if item is None else str(item["call"])

    def names(self) -> dict[str, str]:
        return {item["sk"]: item["call"] for item in self._shelf.table.query(heads.NAMES)}

    def digests(self, call_id: str, start: int, end: int) -> list[bytes]:
        found: list[bytes] = []
        for item in self._shelf.table.query(heads.partition(call_id), begins="D#"):
            first, data = int(item["sk"][2:]), item["y"]
            at = range(max(start - first, 0), min(end - first, len(data) // DIGEST))
            found += [data[each * DIGEST : (each + 1) * DIGEST] for each in at]
        return found

    def digest_count(self, call_id: str) -> int:
        head = self._shelf.head(call_id)
        return 0 if head is None else head.digested

    def settled(self, call_id: str, start: int = 0, end: int | None = None) -> list[int]:
        head = self._shelf.head(call_id)
        if head is None:
            return []
        end = max(head.reach, head.known) if end is None else end
        later = max(start, head.known)
        kept = [
            page.first + slot
            for page in self._shelf.pages_of(head, later, end)
            for slot, status in enumerate(page.statuses())
            if later <= page.first + slot < end and status.terminal and status != Status.CANCELLED
        ]
        return [*range(start, min(head.known, end)), *kept]


def held_of(page: Page) -> list[Held]:
    """Return the inputs of a page that run."""
    return [
        Held(
            page.seq(slot),
            fence_of(value),
            page.call_id,
            page.first + slot,
            page.holders.get(label_of(value), ""),
        )
        for slot, value in page.running()
    ]
