"""Leadership as one item of DynamoDB: its holder, its epoch, and until when it holds.

How often its holder was called is another item: those who call may not write to the first one.

Leaders compare that time with clocks of their own. Where clocks differ, two may think for a while
that they lead; the epoch tells their orders apart, and the lower one is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from cloudfn.clock import Clock
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.table import Table, update
from cloudfn.providers.leadership import Called

_KEY = "LEADER", "LEADER"
_CALLED = "CALLED", "CALLED"


class DynamoLeadership:
    """The `Leadership` port on a table.

    Args:
        clients: Where the client of DynamoDB comes from.
        table: The name of the environment's table.
        clock: Waits between two tries.
        wake: Has a planner come; it may be lost.
    """

    def __init__(
        self, clients: ClientSource, table: str, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._table = Table(clients, table, clock)
        self._wake = wake

    def lead(self, holder: str, now: float, seconds: float) -> int | None:
        until = now + seconds
        staying = update(
            *_KEY,
            "SET #until = :until",
            "#holder = :holder AND #until > :now",
            until=until,
            holder=holder,
            now=now,
        )
        # One more than the last, whoever that was. An answer that was lost makes this a renewal.
        following = update(
            *_KEY,
            "SET #holder = :holder, #until = :until, #epoch = if_not_exists(#epoch, :none) + :one",
            "attribute_not_exists(pk) OR #until <= :now",
            until=until,
            holder=holder,
            now=now,
            none=0,
            one=1,
        )
        for write in (staying, following, staying):
            try:
                return int(self._table.write(write, "ALL_NEW")["epoch"])
            except ConditionFailed as failed:
                found = failed.items[0]
            if found is not None and found["until"] > now and found["holder"] != holder:
                return None
        return None

    def resign(self, holder: str) -> None:
        leaving = update(*_KEY, "SET #until = :over", "#holder = :holder", over=0, holder=holder)
        with suppress(ConditionFailed):
            self._table.write(leaving)

    def led(self, now: float) -> bool:
        found = self._table.get(*_KEY)
        return found is not None and found["until"] > now

    def call(self, *, changed: bool = False) -> None:
        self._count("changes" if changed else "work")

    def relieve(self) -> None:
        self._count("reliefs")

    def called(self) -> Called:
        found = self._table.get(*_CALLED) or {}
        return Called(*(found.get(what, 0) for what in Called._fields))

    def _count(self, what: str) -> None:
        # Counted twice where an answer is lost: a look too many.
        counting = f"SET #{what} = if_not_exists(#{what}, :none) + :one"
        self._table.write(update(*_CALLED, counting, none=0, one=1))

    def wake(self) -> None:
        self._wake()
