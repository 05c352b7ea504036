"""What all parts of the ledger share: the table, what is remembered of it, keys, the clock."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import ceil
from random import Random

from cloudfn.clock import Clock
from cloudfn.providers.aws.crew import Crew
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.ledger import heads, pages, rows
from cloudfn.providers.aws.ledger.book import Book
from cloudfn.providers.aws.ledger.heads import Head
from cloudfn.providers.aws.ledger.pages import LABEL_BITS, PAGE, Page
from cloudfn.providers.aws.table import Table, Write
from cloudfn.settings import Limits
from cloudfn.wire.seals import Seals

#: Seconds that inputs and outcomes of remote and map calls are kept at most, unless they go before.
_KEPT = 30 * 86_400.0


#: pages that one request reads
_TOGETHER = 100


class Shelf:
    """The table and this process's view of it. Thread-safe.

    Args:
        table: Where everything is.
        holder: Who claims: id of a machine, or of a client.
        inputs: Seals of inputs.
        results: Seals of results.
        limits: How many inputs a function may have.
        clock: What time it is.
        random: Makes labels and nonces.
        crew: Asks for several things at once.
    """

    def __init__(
        self,
        table: Table,
        holder: str,
        inputs: Seals,
        results: Seals,
        limits: Limits,
        clock: Clock,
        random: Random,
        crew: Crew,
    ) -> None:
        self.table = table
        self.holder = holder
        self.inputs = inputs
        self.results = results
        self.limits = limits
        self.clock = clock
        self.crew = crew
        self.book = Book()
        self._random = random
        self.new_label()

    def new_label(self) -> None:
        """Call this process otherwise on pages: somebody else has its label."""
        self.label = self._random.getrandbits(LABEL_BITS)

    def nonce(self) -> str:
        """Return something that was never used."""
        return f"{self._random.getrandbits(48):012x}"

    def now(self) -> float:
        """Return the time, or a later one that a caller spoke of."""
        return max(self.clock.wall(), self.book.now)

    def expiry(self, durable: bool) -> int | None:  # noqa: FBT001 - what it depends on
        """Return when what belongs to a call may go by itself; None: never."""
        return None if durable else ceil(self.clock.wall() + _KEPT)

    # Pages

    def page(self, number: int) -> Page | None:
        """Return a page, as it was seen last where it was."""
        return self.book.page(number) or self.read(number)

    def read(self, number: int) -> Page | None:
        """Read a page."""
        return self.read_all([number]).get(number)

    def read_all(self, numbers: Iterable[int]) -> dict[int, Page]:
        """Read pages; those that are gone are not in the answer."""
        numbers = list(numbers)
        if len(numbers) == 1:
            item = self.table.get(pages.partition(numbers[0]), PAGE)
            items = [item] if item else []
        else:
            keys = [(pages.partition(number), PAGE) for number in numbers]
            lots = [keys[at : at + _TOGETHER] for at in range(0, len(keys), _TOGETHER)]
            answers = self.crew.each(self.table.get_all, lots)
            items = [item for answer in answers for item in answer.values()]
        found = {}
        for item in items:
            page = self.book.note(pages.from_item(item))
            found[page.number] = page
        for number in numbers:
            if number not in found:
                self.book.drop(number)
        return found

    def write(self, write: Write) -> Page:
        """Change a page; return it as it is then.

        Raises:
            ConditionFailed: It is not as was thought; see `seen`.
        """
        return self.book.note(pages.from_item(self.table.write(write, "ALL_NEW")))

    def seen(self, number: int, failed: ConditionFailed) -> Page | None:
        """Return the page as a refusal shows it; None: it is gone."""
        (item,) = failed.items
        if item is None:
            self.book.drop(number)
            return None
        return self.book.note(pages.from_item(item))

    # The index of open pages

    def rows(self, pool: str = "", *, most: int | None = None) -> list[rows.Row]:
        """Return what the index says of the open pages of a pool, the oldest first, or of all."""
        if pool:
            items = self.table.query(rows.partition(pool), begins=f"{pool}#")
            return [rows.from_item(item) for item in islice(items, most)]
        answers = self.crew.each(lambda each: list(self.table.query(each)), rows.OPEN)
        found = [rows.from_item(item) for answer in answers for item in answer]
        return sorted(found, key=lambda row: row.place)

    def open_pages(self, pool: str = "") -> list[Page]:
        """Read the open pages of a pool, or of all, in the order of the index."""
        numbers = [row.number for row in self.rows(pool)]
        found = self.read_all(numbers) if numbers else {}
        return [found[number] for number in numbers if number in found]

    # Calls

    def head(self, call_id: str) -> Head | None:
        """Read a call's head; None: there is no such call."""
        item = self.table.get(heads.partition(call_id), heads.HEAD)
        head = None if item is None else heads.from_item(item)
        return None if head is None or head.gone else head

    def pages_of(self, head: Head, start: int = 0, end: int | None = None) -> list[Page]:
        """Read a call's pages that have inputs start ≤ index < end, in order."""
        numbers = head.numbers(start, end)
        found = self.read_all(numbers) if numbers else {}
        return [found[number] for number in numbers if number in found]
