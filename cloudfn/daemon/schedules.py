"""Fires schedules when they are due: timers, calls in the ledger, settings. Single-threaded.

A due time's call has an id that follows from schedule and due time. It is submitted, synced to
disk, and only then noted as dealt with: a crash in between has it submitted again, which changes
nothing.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Protocol

from cloudfn.clock import Clock
from cloudfn.control.schedules.agenda import Agenda, Due
from cloudfn.control.schedules.plan import Live
from cloudfn.daemon.calls import Calls
from cloudfn.daemon.journal import Journal
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.call import CallKind, Status
from cloudfn.model.schedule import Period, Rule, ScaleAt
from cloudfn.providers.ledger import CallSpec, Ledger
from cloudfn.providers.schedules import Fire, ScheduleRecord

_log = logging.getLogger(__name__)

#: seconds until the next try of what could not be done
_RETRY = 1.0
#: outcome of a fire whose call is not in the ledger any more
_FORGOTTEN = "forgotten"


class Surroundings(Protocol):
    """What schedules need of the rest of the daemon."""

    def pool_for(self, function_id: str) -> str:
        """Return the pool that new calls of a function go to; raises NotFoundError."""
        ...

    def inputs_arrived(self, pool: str) -> None:
        """Inputs wait in a pool."""
        ...

    def update_settings(self, function_id: str, changes: dict[str, int | None], by: str) -> None:
        """Merge changes onto a function's settings; raises InvalidError."""
        ...

    def note(self, function_id: str, text: str) -> None:
        """Write a line of the engine's into the log of a function's app."""
        ...


class Scheduler:
    """Carries out what the agenda says, when it says so."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        agenda: Agenda,
        engine: Surroundings,
        journal: Journal,
        ledger: Ledger,
        calls: Calls,
        clock: Clock,
    ) -> None:
        self.agenda = agenda
        self._loop = loop
        self._engine = engine
        self._journal = journal
        self._ledger = ledger
        self._calls = calls
        self._clock = clock
        self._timer: TimerHandle | None = None
        self._running = False
        #: calls whose submission was undone, although somebody will say that it holds
        self._undone: set[str] = set()

    # Life

    def start(self, apps: Iterable[str]) -> None:
        """Go on where the daemon before this one left, for the apps that live."""
        living = set(apps)
        for record in self.agenda.records():
            if record.app_id not in living:
                self.agenda.drop(record.app_id)
        now = self._clock.wall()
        for record in self.agenda.records():
            # It may have died between a call and the note of it.
            while (fire := self.agenda.first_missed(record.schedule_id, now)) is not None:
                if self._ledger.call(fire.call_id) is None:
                    break
                self.agenda.kept(fire)
        for fire in self.agenda.unfinished():
            self._follow(fire)
        self._running = True
        self.look()

    def stop(self) -> None:
        """Fire nothing any more."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()

    @property
    def active(self) -> bool:
        """Whether anything may be due one day."""
        return self.agenda.next_due is not None

    def look(self) -> None:
        """Do what is due; called as well in case the wall clock jumped or the machine slept."""
        if not self._running:
            return
        due = self.agenda.next_due
        if due is not None and due <= self._clock.wall():
            self._fire_due()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.agenda.next_due
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - self._clock.wall()), self.look)

    # What apps and people change

    def revise(self, live: Live) -> None:
        """Make an app's schedules those of its live revision."""
        self.agenda.revise(live)
        self.look()

    def drop(self, app_id: str) -> None:
        """An app is gone."""
        self.agenda.drop(app_id)

    def drop_dynamic(self, app_id: str) -> None:
        """An app is deployed anew: what was made by hand goes, as overrides do."""
        self.agenda.drop_dynamic(app_id)

    def pause(self, schedule_ids: Iterable[str], *, paused: bool) -> None:
        """Let schedules rest, or go on."""
        self.agenda.pause(schedule_ids, self._clock.wall(), paused=paused)
        self.look()

    def add(self, app_id: str, function_id: str, rule: ScaleAt) -> ScheduleRecord:
        """Change a function's settings by a schedule from here on, until the next deploy."""
        record = self.agenda.add_dynamic(app_id, function_id, rule, self._clock.wall())
        self.look()
        return record

    def run_now(self, schedule_id: str) -> Fire:
        """Fire a schedule, whether it is due or paused or not; the ones that follow stay.

        Raises:
            Error: It cannot be done.
        """
        now = self._clock.wall()
        due = self.agenda.by_hand(schedule_id, now)
        try:
            self._do(due)
        except BaseException:
            self.agenda.back(due, now)
            raise
        return due.fire

    # Firing

    def _fire_due(self) -> None:
        for due in self.agenda.take(self._clock.wall()):
            try:
                self._do_or_tell(due)
            except Exception:  # noqa: BLE001 - whatever went wrong, there is a next time
                _log.exception("schedule %s could not be fired", due.fire.schedule_id)
                self.agenda.back(due, self._clock.wall() + _RETRY)

    def _do_or_tell(self, due: Due) -> None:
        try:
            self._do(due)
        except (NotFoundError, InvalidError) as error:
            self._failed(due.fire, f"failed: {error.message}", due.record)

    def _do(self, due: Due) -> None:
        rule = due.record.rule
        if due.fire.outcome:
            self.agenda.kept(due.fire)
        elif isinstance(rule, ScaleAt):
            self._scale(due, rule)
        else:
            self._call(due)

    def _scale(self, due: Due, rule: ScaleAt) -> None:
        self._engine.update_settings(due.record.function_id, rule.changes, f"schedule {rule}")
        changes = ", ".join(f"{name}={value}" for name, value in rule.changes.items())
        self._note(due.record, f"{changes} {_because(due)}")
        self.agenda.kept(replace(due.fire, outcome=changes))

    def _call(self, due: Due) -> None:
        fire, record = due.fire, due.record
        pool = self._engine.pool_for(record.function_id)
        if self._ledger.call(fire.call_id) is None:
            self._submit(due, pool)
        if fire.late:
            self._note(record, f"call {fire.call_id} {_because(due)}, for all that were missed")
        self._follow(fire)
        self._engine.inputs_arrived(pool)
        self._journal.after_sync(lambda: self._kept(fire))

    def _submit(self, due: Due, pool: str) -> None:
        """Have the ledger take the call of a due time; raises InvalidError where it does not."""
        from cloudfn.wire.codec import no_arguments  # a daemon without schedules pickles nothing

        now, call_id = self._clock.wall(), due.fire.call_id
        spec = CallSpec(call_id, due.record.function_id, pool, CallKind.SPAWN, now, durable=True)
        self._undone.discard(call_id)
        admission = self._journal.submit(
            spec, 0, [no_arguments()], lambda _: self._undo(due), sealed=True, now=now
        )
        if admission.refused:
            raise InvalidError(admission.refused)

    def _undo(self, due: Due) -> None:
        """The call could not be kept after all: try again."""
        self._undone.add(due.fire.call_id)
        self.agenda.back(due, self._clock.wall() + _RETRY)
        self._arm()

    def _kept(self, fire: Fire) -> None:
        if fire.call_id in self._undone:
            self._undone.discard(fire.call_id)
        else:
            self.agenda.kept(fire)

    def _follow(self, fire: Fire) -> None:
        if self._ledger.call(fire.call_id) is None:
            self.agenda.ended(fire, _FORGOTTEN)
        else:
            self._calls.follow(fire.call_id, partial(self._ended, fire))

    def _ended(self, fire: Fire, status: Status) -> None:
        outcome = status.name.lower().replace("_", " ")
        self.agenda.ended(fire, outcome)
        if status != Status.RETURNED:
            self._tell_failure(fire, f"ended as {outcome}; see `cloudfn call get {fire.call_id}`")

    def _failed(self, fire: Fire, outcome: str, record: ScheduleRecord) -> None:
        self.agenda.kept(replace(fire, call_id="", outcome=outcome))
        self._note(record, f"what was due at {_shown(record.rule, fire.due)} {outcome}")

    def _tell_failure(self, fire: Fire, what: str) -> None:
        try:
            record = self.agenda.record(fire.schedule_id)
        except NotFoundError:
            return  # its app is gone
        self._note(record, f"the run that was due at {_shown(record.rule, fire.due)} {what}")

    def _note(self, record: ScheduleRecord, text: str) -> None:
        self._engine.note(record.function_id, f"schedule {record.rule}: {text}\n")


def _because(due: Due) -> str:
    if due.fire.manual:
        return "by hand"
    return f"{'late, ' if due.fire.late else ''}due at {_shown(due.record.rule, due.fire.due)}"


def _shown(rule: Rule, moment: float) -> str:
    from zoneinfo import ZoneInfo

    zone: tzinfo = UTC if isinstance(rule, Period) else ZoneInfo(rule.timezone)
    return datetime.fromtimestamp(moment, zone).isoformat(sep=" ")
