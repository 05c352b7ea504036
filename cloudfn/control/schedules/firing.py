"""Fires schedules of an environment that many processes share. Thin I/O, one thread at a time.

Whoever plans looks at all schedules now and then, and whoever was woken for one looks at once. Both
may do so at the same time: a due time's call has one id, whoever makes it and how often.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

from cloudfn.control.schedules.agenda import Agenda, Due
from cloudfn.errors import Error, InvalidError, NotFoundError
from cloudfn.model import ids
from cloudfn.model.call import CallKind, Status
from cloudfn.model.cls import shown_name
from cloudfn.model.log import LogEntry
from cloudfn.model.schedule import ScaleAt
from cloudfn.providers.base import Cloud
from cloudfn.providers.catalog import AppRecord, FunctionRecord
from cloudfn.providers.ledger import CallSpec
from cloudfn.providers.schedules import Fire, ScheduleRecord

_log = logging.getLogger(__name__)

#: seconds for which schedules are taken to be as they were, and until what failed is tried again
_KNOWN_FOR = 15.0
_RETRY = 5.0
#: seconds between two looks whether calls have ended
_FOLLOW = 10.0
#: outcome of a fire whose call is not in the ledger any more
_FORGOTTEN = "forgotten"


class Rescale(Protocol):
    """Merges changes onto a function's settings."""

    def __call__(
        self, function_id: str, changes: dict[str, int | None], *, by: str, now: float
    ) -> None:
        """Do so; raises InvalidError where they make no sense."""
        ...


class Firing:
    """Makes calls, and changes settings, when they are due.

    Args:
        cloud: The environment.
        rescale: Changes settings.
    """

    def __init__(self, cloud: Cloud, rescale: Rescale) -> None:
        self._cloud = cloud
        self._rescale = rescale
        self._agenda: Agenda | None = None
        self._asked = float("-inf")
        self._followed = float("-inf")
        self._unfinished: list[Fire] = []

    def look(self, now: float) -> None:
        """Do what is due.

        Args:
            now: Seconds since the epoch.
        """
        agenda = self._current(now)
        for due in agenda.take(now):
            try:
                self._do_or_tell(agenda, due, now)
            except Error as error:
                _log.warning("schedule %s: %s", due.fire.schedule_id, error.message)
                agenda.back(due, now + _RETRY)
        if self._unfinished and now - self._followed >= _FOLLOW:
            self._followed = now
            self._follow(agenda)

    def next_due(self) -> float | None:
        """Return when something is due next, as far as is known; None: never."""
        return self._agenda.next_due if self._agenda is not None else None

    def _current(self, now: float) -> Agenda:
        if self._agenda is None or now - self._asked >= _KNOWN_FOR:
            self._agenda = Agenda(self._cloud.schedules)
            self._unfinished = self._agenda.unfinished()
            self._asked = now
        return self._agenda

    def _do_or_tell(self, agenda: Agenda, due: Due, now: float) -> None:
        try:
            self._do(agenda, due, now)
        except (NotFoundError, InvalidError) as error:
            agenda.kept(replace(due.fire, call_id="", outcome=f"failed: {error.message}"))
            self._note(due.record, f"what was due failed: {error.message}", now)

    def _do(self, agenda: Agenda, due: Due, now: float) -> None:
        rule = due.record.rule
        if due.fire.outcome:
            agenda.kept(due.fire)
        elif isinstance(rule, ScaleAt):
            function, _ = self._function(due.record)
            self._rescale(function.function_id, rule.changes, by=f"schedule {rule}", now=now)
            changes = ", ".join(f"{name}={value}" for name, value in rule.changes.items())
            agenda.kept(replace(due.fire, outcome=changes))
            self._note(due.record, changes, now)
        else:
            self._call(due, now)
            agenda.kept(due.fire)
            self._unfinished.append(due.fire)

    def _call(self, due: Due, now: float) -> None:
        from cloudfn.wire.codec import no_arguments  # whoever has no schedules pickles nothing

        function, app = self._function(due.record)
        pool = ids.pool_name(function.function_id, app.revision)
        spec = CallSpec(
            due.fire.call_id, function.function_id, pool, CallKind.SPAWN, now, durable=True
        )
        ledger = self._cloud.ledger
        admission = ledger.submit(spec, 0, [no_arguments()], sealed=True, now=now)
        if admission.refused:
            raise InvalidError(admission.refused)
        self._cloud.doorbells.ring(ledger.rings())
        if due.fire.late:
            self._note(due.record, f"call {spec.call_id} for all that were missed", now)

    def _function(self, record: ScheduleRecord) -> tuple[FunctionRecord, AppRecord]:
        function = self._cloud.catalog.function(record.function_id)
        app = self._cloud.catalog.app(record.app_id)
        if function is None or app is None or app.state == "stopped":
            raise NotFoundError("its app is stopped, or has no such function any more.")
        return function, app

    def _follow(self, agenda: Agenda) -> None:
        """Take note of how calls have ended."""
        left = []
        for fire in self._unfinished:
            call = self._cloud.ledger.call(fire.call_id)
            if call is None:
                agenda.ended(fire, _FORGOTTEN)
            elif call.finished < call.known or not call.sealed:
                left.append(fire)
            else:
                statuses = self._cloud.ledger.statuses(fire.call_id)
                status = statuses[0] if statuses else Status.LOST
                agenda.ended(fire, status.name.lower().replace("_", " "))
        self._unfinished = left

    def _note(self, record: ScheduleRecord, text: str, now: float) -> None:
        """Write a line into the log of a schedule's app."""
        function = self._cloud.catalog.function(record.function_id)
        app = self._cloud.catalog.app(record.app_id)
        if function is None or app is None:
            return
        try:
            self._cloud.logs.write(
                LogEntry(
                    now,
                    app.app_id,
                    app.name,
                    shown_name(function.name),
                    "",
                    "",
                    "",
                    "system",
                    f"schedule {record.rule}: {text}\n",
                )
            )
            self._cloud.logs.flush()
        except Error as error:
            _log.warning("a line of schedule %s is lost: %s", record.schedule_id, error.message)
