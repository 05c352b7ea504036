"""What is due when: all schedules of an environment, over their store. No clock, no timers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import islice

from cloudfn.control.schedules.plan import Live, left_to_do, revise
from cloudfn.control.schedules.times import last_fire, next_fire, upcoming
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model import ids
from cloudfn.model.schedule import Cron, Period, Rule, ScaleAt
from cloudfn.providers.schedules import Fire, ScheduleRecord, Schedules

#: seconds after which a run that was missed is called late
LATE = 10.0
#: outcome of a fire that was left out because the one before is unfinished
SKIPPED = "skipped: the run before has not finished"


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule that is due: do it, then say what came of it."""

    #: as it was before
    record: ScheduleRecord
    #: with an outcome where there is nothing to do
    fire: Fire


class Agenda:
    """Knows what is due, and takes note of what was done. Single-threaded.

    Each due time is given out once, by `take`; whoever takes it says that it is `kept`, or gives it
    `back`. After a crash in between it is given out again, with the same id of the call.

    Args:
        store: Where schedules are kept.
    """

    def __init__(self, store: Schedules) -> None:
        self._store = store
        self._records = {record.schedule_id: record for record in store.schedules()}
        #: schedule → due times that were given out and whose calls are unfinished
        self._open: defaultdict[str, set[float]] = defaultdict(set)
        #: (when to look at it, schedule); entries that are out of date differ from `_next`
        self._heap: list[tuple[float, str]] = []
        self._next: dict[str, float] = {}
        for record in self._records.values():
            self._enter(record)

    # What there is

    def __len__(self) -> int:
        return len(self._records)

    def records(self) -> list[ScheduleRecord]:
        """Return all schedules."""
        return list(self._records.values())

    def record(self, schedule_id: str) -> ScheduleRecord:
        """Return a schedule; raises NotFoundError."""
        record = self._records.get(schedule_id)
        if record is None:
            raise NotFoundError(
                f"There is no schedule {schedule_id}.", hint="See `cloudfn schedule list`."
            )
        return record

    def history(self, schedule_id: str, limit: int) -> list[Fire]:
        """Return the latest fires of a schedule, the newest first."""
        return self._store.history(schedule_id, limit)

    def next_of(self, schedule_id: str) -> float | None:
        """Return when a schedule is due next; None where it is paused, or never is."""
        return self._next.get(schedule_id)

    def times(self, schedule_id: str, after: float, count: int) -> list[float]:
        """Return the next times when a schedule is due, or would be were it not paused."""
        record = self.record(schedule_id)
        start = _moment(max(after, record.cursor))
        times = upcoming(_clockwork(record.rule), _moment(record.anchor), start)
        return [due.timestamp() for due in islice(times, count)]

    def unfinished(self) -> list[Fire]:
        """Return the fires whose calls were unfinished when last heard of; say how they `ended`."""
        fires = self._store.unfinished()
        for fire in fires:
            self._open[fire.schedule_id].add(fire.due)
        return fires

    # What changes

    def revise(self, live: Live) -> None:
        """Make an app's schedules those of its live revision."""
        revised = revise(live, self._of_app(live.app_id))
        self.put(revised.put)
        self.remove(revised.remove)

    def complete(self, live: Live) -> None:
        """Do the same where that was not done; what is as it should be counts on as it did."""
        left = left_to_do(live, self._of_app(live.app_id))
        self.put(left.put)
        self.remove(left.remove)

    def drop(self, app_id: str) -> None:
        """Forget the schedules of an app."""
        self.remove([record.schedule_id for record in self._of_app(app_id)])

    def drop_dynamic(self, app_id: str) -> None:
        """Forget those of an app's schedules that were made by hand."""
        self.remove([each.schedule_id for each in self._of_app(app_id) if each.dynamic])

    def pause(self, schedule_ids: Iterable[str], now: float, *, paused: bool) -> None:
        """Let schedules rest, or go on; what was due meanwhile is left out."""
        changed = []
        for record in map(self.record, schedule_ids):
            cursor = record.cursor if paused else max(now, record.cursor)
            if record.paused != paused:
                changed.append(replace(record, paused=paused, cursor=cursor))
        self.put(changed)

    def put(self, records: Iterable[ScheduleRecord]) -> None:
        """Add schedules, or replace them."""
        records = list(records)
        if not records:
            return
        self._store.put(records)
        for record in records:
            self._records[record.schedule_id] = record
            self._enter(record)

    def add_dynamic(
        self, app_id: str, function_id: str, rule: ScaleAt, now: float
    ) -> ScheduleRecord:
        """Change a function's settings by a schedule from now on, until the next deploy."""
        record = ScheduleRecord(ids.mint("sc"), app_id, function_id, rule, now, now, dynamic=True)
        self.put([record])
        return record

    def remove_dynamic(self, schedule_id: str) -> None:
        """Forget a schedule that was made by hand; raises InvalidError for those in code."""
        if not self.record(schedule_id).dynamic:
            raise InvalidError(
                f"Schedule {schedule_id} is declared in the code of its app.",
                hint=f"Pause it with `cloudfn schedule pause {schedule_id}`, or deploy without it.",
            )
        self.remove([schedule_id])

    def remove(self, schedule_ids: Iterable[str]) -> None:
        """Forget schedules."""
        gone = list(schedule_ids)
        if not gone:
            return
        self._store.remove(gone)
        for schedule_id in gone:
            self._records.pop(schedule_id, None)
            self._next.pop(schedule_id, None)
            self._open.pop(schedule_id, None)

    # What is due

    @property
    def next_due(self) -> float | None:
        """When to call `take` next, in seconds since the epoch; None while nothing will be due."""
        while self._heap and self._next.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> list[Due]:
        """Return what is due, the earliest first; of times that were missed, only the latest."""
        taken = []
        while (due := self.next_due) is not None and due <= now:
            _, schedule_id = heappop(self._heap)
            del self._next[schedule_id]
            found = self._take(self._records[schedule_id], now)
            if found is not None:
                taken.append(found)
        return sorted(taken, key=lambda each: each.fire.due)

    def _take(self, record: ScheduleRecord, now: float) -> Due | None:
        moment = last_fire(_clockwork(record.rule), _moment(record.anchor), _moment(now))
        due = moment.timestamp() if moment is not None else 0.0
        if due <= record.cursor:
            self._enter(record)
            return None
        fire = _fire(record, due, now)
        after = replace(record, cursor=due)
        self._records[record.schedule_id] = after
        self._enter(after)
        if self._open[record.schedule_id] and not _may_overlap(record.rule):
            return Due(record, replace(fire, call_id="", outcome=SKIPPED))
        self._open[record.schedule_id].add(due)
        return Due(record, fire)

    def by_hand(self, schedule_id: str, now: float) -> Due:
        """Return a fire that nobody has to wait for; the schedule goes on as if it were not."""
        record = self.record(schedule_id)
        fire = replace(_fire(record, now, now), manual=True)
        self._open[schedule_id].add(now)
        return Due(record, fire)

    def back(self, due: Due, retry_at: float) -> None:
        """It could not be done: give it out again at `retry_at`."""
        schedule_id = due.fire.schedule_id
        self._open[schedule_id].discard(due.fire.due)
        record = self._records.get(schedule_id)
        if record is not None and record.cursor == due.fire.due and not due.fire.manual:
            self._records[schedule_id] = replace(record, cursor=due.record.cursor)
            self._enter(record, at=retry_at)

    def first_missed(self, schedule_id: str, now: float) -> Fire | None:
        """Return the first call that is due and not dealt with, without giving it out."""
        record = self.record(schedule_id)
        due = None if isinstance(record.rule, ScaleAt) else _next_due(record)
        return None if due is None or due > now else _fire(record, due, due)

    def kept(self, fire: Fire) -> None:
        """It is done, or its call is on record: it is never given out again."""
        if fire.outcome:
            self._open[fire.schedule_id].discard(fire.due)
        record = self._records.get(fire.schedule_id)
        if record is not None and not fire.manual and record.cursor < fire.due:
            self._records[fire.schedule_id] = moved = replace(record, cursor=fire.due)
            self._enter(moved)
        self._store.record([fire])

    def ended(self, fire: Fire, outcome: str) -> None:
        """The call of a fire has its outcome."""
        self._open[fire.schedule_id].discard(fire.due)
        self._store.record([replace(fire, outcome=outcome)])

    # How

    def _of_app(self, app_id: str) -> list[ScheduleRecord]:
        return [record for record in self._records.values() if record.app_id == app_id]

    def _enter(self, record: ScheduleRecord, at: float | None = None) -> None:
        """Look at a schedule when it is due next, or at a time that is given."""
        self._next.pop(record.schedule_id, None)
        if record.paused:
            return
        if at is None:
            at = _next_due(record)
        if at is None:
            return
        self._next[record.schedule_id] = at
        heappush(self._heap, (at, record.schedule_id))


def _next_due(record: ScheduleRecord) -> float | None:
    """Return when a schedule is due next; None: never, or this machine cannot tell any more."""
    try:
        moment = next_fire(_clockwork(record.rule), _moment(record.anchor), _moment(record.cursor))
    except InvalidError:
        return None
    return None if moment is None else moment.timestamp()


def _fire(record: ScheduleRecord, due: float, now: float) -> Fire:
    if isinstance(record.rule, ScaleAt):
        return Fire(record.schedule_id, due, now)
    return Fire(record.schedule_id, due, now, _call_id(record, due), late=now - due > LATE)


def _call_id(record: ScheduleRecord, due: float) -> str:
    """Return the one id that the call of a due time can have, whoever makes it and how often."""
    return ids.derive("fc", record.schedule_id, repr(due))


def _clockwork(rule: Rule) -> Cron | Period:
    return rule.cron if isinstance(rule, ScaleAt) else rule


def _may_overlap(rule: Rule) -> bool:
    return isinstance(rule, ScaleAt) or rule.overlap


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
