"""Calls end: cancelled, forgotten, begun anew, expired; and what is left of their failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice

from cloudfn.errors import ConflictError, DataLossError
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.ledger import changes, heads, rows
from cloudfn.providers.aws.ledger.calls import Calls
from cloudfn.providers.aws.ledger.counts import Counts, settle_counters
from cloudfn.providers.aws.ledger.heads import HEAD, Head
from cloudfn.providers.aws.ledger.inputs import read_payloads
from cloudfn.providers.aws.ledger.outcomes import Outcomes
from cloudfn.providers.aws.ledger.pages import PAGE, Page, fence_of, status_of
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.aws.table import Write, delete, put, update
from cloudfn.providers.ledger import CallSpec, DeadLetter

#: pages that are deleted in one transaction, with two writes each
_TOGETHER = 40
_TRIES = 8


class Ends:
    """Ends calls.

    Args:
        shelf: The table, and what is remembered of it.
        counts: Keeps counters up to date.
        calls: Lists calls.
        outcomes: Reads outcomes.
    """

    def __init__(self, shelf: Shelf, counts: Counts, calls: Calls, outcomes: Outcomes) -> None:
        self._shelf = shelf
        self._counts = counts
        self._calls = calls
        self._outcomes = outcomes

    # Cancelling

    def cancel(self, call_id: str) -> list[tuple[int, int, int]]:
        head = self._shelf.head(call_id)
        if head is None or _complete(head, self._shelf.pages_of(head, 0, head.known)):
            return []
        # First the head, so that nothing comes after the pages that are cancelled next.
        try:
            write = update(
                heads.partition(call_id),
                HEAD,
                "SET #cancelled=:yes",
                "#nonce=:nonce AND attribute_not_exists(#gone)",
                yes=True,
                nonce=head.nonce,
            )
            head = heads.from_item(self._shelf.table.write(write, "ALL_NEW"))
        except ConditionFailed:
            return []
        found = [self._cancel(page) for page in self._shelf.pages_of(head, 0, head.known)]
        after = [page for page in found if page is not None]
        self._counts.fold(after)
        return [
            (page.seq(slot), fence_of(value), page.first + slot)
            for page in after
            for slot, value in page.running()
        ]

    def _cancel(self, page: Page | None) -> Page | None:
        now = self._shelf.now()
        while page is not None and page.unfinished and (page.waiting or not page.cancelled):
            try:
                return self._shelf.write(changes.cancel(page, now))
            except ConditionFailed as failed:
                page = self._shelf.seen(page.number, failed)
        return page

    # Forgetting

    def forget(self, call_id: str) -> None:
        item = self._shelf.table.get(heads.partition(call_id), HEAD)
        if item is None:
            return
        head = heads.from_item(item)
        numbers = head.numbers()
        if len(numbers) > _TOGETHER:
            with suppress(ConditionFailed):
                self._shelf.table.write(_mark(head, "gone"))
        while len(numbers) > _TOGETHER:
            self._delete(head, numbers[:_TOGETHER], [])
            numbers = numbers[_TOGETHER:]
        self._delete(head, numbers, _traces(head))
        if head.digested:
            digests = self._shelf.table.query(heads.partition(call_id), begins="D#")
            self._clear([(each["pk"], each["sk"]) for each in digests])

    def _delete(self, head: Head, numbers: Sequence[int], more: Sequence[Write]) -> None:
        """Delete pages, and take their inputs out of the counters in the same transaction."""
        found = self._shelf.read_all(numbers) if numbers else {}
        for _ in range(_TRIES):
            writes = [*more]
            by_function: dict[str, list[Page]] = {}
            for page in found.values():
                writes.append(
                    delete(
                        page.key,
                        PAGE,
                        "#fw=:fw AND #fu=:fu",
                        fw=page.folded_waiting,
                        fu=page.folded_unfinished,
                    )
                )
                if not page.closed:
                    writes.append(rows.remove(page))
                    by_function.setdefault(page.function_id, []).append(page)
            writes += [settle_counters(each, of, gone=True) for each, of in by_function.items()]
            try:
                if writes:
                    self._shelf.table.transact(writes)
                break
            except ConditionFailed:
                found = self._shelf.read_all(numbers) if numbers else {}
        else:
            raise ConflictError(
                f"Call {head.spec.call_id} is written to all the time.",
                hint="Cancel it, and forget it later.",
            )
        for number in numbers:
            self._shelf.book.drop(number)
        self._clear_beside(head, found.values())

    def _clear_beside(self, head: Head, found: Iterable[Page]) -> None:
        """Delete inputs and outcomes beside pages; those that may go by themselves do so."""
        if self._shelf.expiry(head.spec.durable) is not None:
            return
        for page in found:
            items = self._shelf.table.query(page.key)
            keys = [(each["pk"], each["sk"]) for each in items if each["sk"] != PAGE]
            self._clear(keys)

    def _clear(self, keys: Sequence[tuple[str, str]]) -> None:
        if keys:
            self._shelf.table.write_all([delete(*key) for key in keys])

    # Expiry

    def expire(self, now: float, retention: float) -> list[str]:
        self._shelf.book.see(now)
        over, expired = [], []
        for head in self._calls.heads(until=now - retention, gone=True):
            if head.gone:
                over.append(head.spec.call_id)
                continue
            found = self._shelf.pages_of(head, 0, head.known)
            ended = max((page.ended for page in found), default=head.spec.created)
            if not _complete(head, found):
                continue
            if head.expired and ended <= now - 2 * retention:
                over.append(head.spec.call_id)
            elif not head.expired and ended <= now - retention:
                with suppress(ConditionFailed):
                    self._shelf.table.write(_mark(head, "expired"))
                    self._clear_beside(head, found)
                    expired.append(head.spec.call_id)
        for call_id in over:
            self.forget(call_id)
        return expired

    # Beginning anew

    def reopen(self, call: CallSpec) -> None:
        head = self._shelf.head(call.call_id)
        if head is None:
            return
        found = self._shelf.pages_of(head)
        self._counts.fold(found)
        if any(not page.closed for page in self._shelf.pages_of(head)):
            raise ConflictError(
                f"Something of call {call.call_id} still waits or runs.",
                hint="Cancel it, and wait until what runs has ended.",
            )
        anew = Head(
            call,
            head.nonce,
            reach=head.reach,
            digested=head.digested,
            total=head.known if head.sealed else head.total,
        )
        row = {"pk": heads.CALLS, "sk": heads.place(call), "fn": call.function_id}
        writes = [
            put(
                heads.to_item(anew, self._shelf.expiry(call.durable)),
                "#nonce=:nonce AND #known=:known",
                nonce=head.nonce,
                known=head.known,
            ),
            put(row),
        ]
        if heads.place(call) != heads.place(head.spec):
            writes.append(delete(heads.CALLS, heads.place(head.spec)))
        self._shelf.table.transact(writes)

    # Dead letters

    def dead_letters(self, *, limit: int, call_id: str | None = None) -> list[DeadLetter]:
        if call_id is None:
            found = self._calls.heads(forward=False)
        else:
            head = self._shelf.head(call_id)
            found = iter([head] if head else [])
        letters = (
            letter
            for head in found
            if head.spec.durable and not head.expired
            for page in self._shelf.pages_of(head, 0, head.known)
            for letter in self._letters(head, page)
        )
        return list(islice(letters, limit))

    def _letters(self, head: Head, page: Page) -> list[DeadLetter]:
        slots = [
            slot
            for slot, status in enumerate(page.statuses())
            if status.dead and slot not in page.buried and page.first + slot < head.known
        ]
        if not slots:
            return []
        try:
            payloads = read_payloads(self._shelf, page)
        except DataLossError:
            # Nobody can run them again.
            return []
        outcomes = self._outcomes.payloads(page, slots)
        return [
            DeadLetter(
                head.spec,
                page.first + slot,
                status_of(page.slots[slot]),
                outcomes[slot],
                payloads[slot],
            )
            for slot in slots
            if slot in payloads
        ]

    def bury(self, call_id: str, indices: Sequence[int]) -> None:
        head = self._shelf.head(call_id)
        if head is None or not indices:
            return
        for page in self._shelf.pages_of(head, min(indices), max(indices) + 1):
            slots = {index - page.first for index in indices} & set(range(len(page.slots)))
            if slots - page.buried:
                with suppress(ConditionFailed):
                    self._shelf.write(changes.add_to_set(page, "b", slots - page.buried))


def _complete(head: Head, found: Sequence[Page]) -> bool:
    """Say whether nothing of a call will ever run again."""
    return (head.sealed or head.cancelled) and not any(page.unfinished for page in found)


def _mark(head: Head, name: str) -> Write:
    return update(
        heads.partition(head.spec.call_id),
        HEAD,
        f"SET #{name}=:yes",
        "#nonce=:nonce",
        yes=True,
        nonce=head.nonce,
    )


def _traces(head: Head) -> list[Write]:
    """Return what deletes all that leads to a call."""
    spec = head.spec
    writes = [
        delete(heads.partition(spec.call_id), HEAD, "#nonce=:nonce", nonce=head.nonce),
        delete(heads.CALLS, heads.place(spec)),
    ]
    if spec.parent is not None:
        writes.append(delete(heads.partition(spec.parent[0]), f"K#{heads.place(spec)}"))
    if spec.name:
        when = "attribute_not_exists(pk) OR #call=:call"
        writes.append(delete(heads.NAMES, spec.name, when, call=spec.call_id))
    return writes
