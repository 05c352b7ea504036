"""Schedules of an offline run: due by its clock, and run in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cloudfn.control.schedules.agenda import Agenda, Due
from cloudfn.errors import Error
from cloudfn.model.schedule import ScaleAt
from cloudfn.providers.ledger import Ledger
from cloudfn.testing.calls import OfflineCalls
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.pools import Pools


class OfflineSchedules:
    """Fires what is due when somebody lets time pass. One thread at a time is in here.

    Args:
        agenda: What is due when.
        pools: The functions.
        calls: Where calls are made.
        ledger: Where it is seen how they ended.
        clock: The time.
        pickled: Returns the payload of a call without arguments.
    """

    def __init__(
        self,
        agenda: Agenda,
        pools: Pools,
        calls: OfflineCalls,
        ledger: Ledger,
        clock: FakeClock,
        pickled: Callable[[], bytes],
    ) -> None:
        self._agenda = agenda
        self._pools = pools
        self._calls = calls
        self._ledger = ledger
        self._clock = clock
        self._pickled = pickled

    @property
    def next_due(self) -> float | None:
        """When something is due next, in seconds since the epoch."""
        return self._agenda.next_due

    def fire(self) -> None:
        """Do what is due by now."""
        for fire in self._agenda.unfinished():
            (status,) = self._ledger.statuses(fire.call_id)
            if status.terminal:
                self._agenda.ended(fire, status.name.lower())
        for due in self._agenda.take(self._clock.wall()):
            self._agenda.kept(replace(due.fire, outcome=self._outcome(due)))

    def _outcome(self, due: Due) -> str:
        """Do it; return what came of it, nothing where that shows later."""
        record, rule = due.record, due.record.rule
        if due.fire.outcome:
            return due.fire.outcome
        try:
            if isinstance(rule, ScaleAt):
                self._pools.update_settings(record.function_id, rule.changes)
                return "in force"
            self._calls.make(due.fire.call_id, record.function_id, self._pickled())
        except Error as error:
            return f"failed: {error.message}"
        return ""
