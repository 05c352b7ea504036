"""Two threads: one hears of outcomes, and one looks after calls that nobody told of.

The first may be stuck for long in a network that answers nothing; the other one must not be.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from threading import Condition, Lock, Thread

from cloudfn.clock import Clock
from cloudfn.control.invocation.alarm import Alarm
from cloudfn.control.invocation.attendance import Attendance
from cloudfn.control.invocation.crew import Crew
from cloudfn.control.invocation.watches import Deliveries, Watch
from cloudfn.errors import Error, NotFoundError
from cloudfn.model.call import CallKind
from cloudfn.providers.wakeups import Note, Wakeups

_log = logging.getLogger(__name__)

#: seconds that the mailbox is listened to at a time, at most
_LONGEST = 20.0
#: seconds that the thread stays for the next call
_LINGER = 10.0
#: seconds until what failed is tried again
_AGAIN = 1.0
_GROWTH = 1.5
#: times the shortest pause that a call is left alone of which a note has just told
_TOLD = 4
_NEVER = float("inf")


class Listening:
    """All watches of a process. Safe to share between threads.

    Args:
        wakeups: The mailbox.
        crew: Renews the lease.
        deliveries: Brings outcomes to watches.
        attendance: Says that this client is there.
        alarm: Wakes the planner, in case what we wait for waits for it.
        clock: The time.
        heard: Is called with a watch that there was something new of.
        lost: Is called with a watch whose call is gone.
    """

    def __init__(
        self,
        wakeups: Wakeups,
        crew: Crew,
        deliveries: Deliveries,
        attendance: Attendance,
        alarm: Alarm,
        clock: Clock,
        heard: Callable[[Watch], None],
        lost: Callable[[Watch, Error], None],
    ) -> None:
        self._wakeups = wakeups
        self._crew = crew
        self._deliveries = deliveries
        self._attendance = attendance
        self._alarm = alarm
        self._clock = clock
        self._heard_of = heard
        self._lost = lost
        self._news = Condition()
        self._watches: defaultdict[str, list[Watch]] = defaultdict(list)
        #: the thread that looks and the one that listens, while there is anything to wait for
        self._watching: Thread | None = None
        self._hearing: Thread | None = None
        self._renewing = False
        #: monotonic time before which that is not tried again
        self._renew_at = 0.0
        self._closed = False
        self._opening = Lock()
        self._address = ""

    def address(self) -> str:
        """Return where this process hears of its calls; opens the mailbox if need be.

        Raises:
            Error: It cannot be opened, or others cannot be told that we are there.
        """
        with self._opening:
            if not self._address:
                self._address = self._wakeups.open()
        self._attendance.attend(self._address)
        return self._address

    @property
    def known_address(self) -> str:
        """The same where the mailbox is open; else empty."""
        return self._address

    def own(self, owned: str) -> None:
        """Something lives with this client from here on."""
        self._attendance.own(owned)
        self.stir()

    def disown(self, owned: str) -> None:
        """It lives no longer with this client."""
        self._attendance.disown(owned)

    def watch(self, watch: Watch) -> None:
        """Hear of a call."""
        with self._news:
            if watch.over:
                return
            watch.next_look = self._clock.monotonic() + watch.least
            self._watches[watch.call_id].append(watch)
        self.stir()

    def unwatch(self, watch: Watch) -> None:
        """Hear of it no more. Idempotent."""
        watch.over = True
        with self._news:
            watches = self._watches.get(watch.call_id, [])
            if watch in watches:
                watches.remove(watch)
            if not watches:
                self._watches.pop(watch.call_id, None)

    def stir(self) -> None:
        """Have the threads, where anything is watched or owned, and look at what is waited for."""
        with self._news:
            if self._watching is None and not self._closed:
                self._watching = Thread(target=self._run, name="cloudfn-watching", daemon=True)
                self._watching.start()
            self._news.notify_all()

    def look(self, call_id: str) -> None:
        """Look at a call now."""
        for watch in self._of(call_id):
            self._schedule(watch)

    def hear(self, notes: list[Note]) -> None:
        """Bring what was told to those who watch."""
        for note in notes:
            self._deliveries.missing.told(note)
            for watch in self._of(note.call_id):
                watch.lane.do(partial(self._take, watch, note))

    def close(self, *, leave: bool) -> None:
        """End the threads and the mailbox. Idempotent.

        Args:
            leave: The row of this client goes. It stays where calls are left that are to end: they
                do when its lease is over.
        """
        with self._news:
            if self._closed:
                return
            self._closed = True
            self._news.notify_all()
        if leave:
            self._try("leave", self._attendance.leave)
        self._try("close its mailbox", self._wakeups.close)

    # The threads

    def _run(self) -> None:
        """Renew the lease, and look at calls that nobody told of, while there are any."""
        idle_since: float | None = None
        while True:
            now = self._clock.monotonic()
            with self._news:
                if self._watches or self._attendance.owns:
                    idle_since = None
                elif idle_since is None:
                    idle_since = now
                gone = idle_since is not None and now - idle_since >= _LINGER
                if self._closed or gone:
                    self._watching = None
                    break
            self._renew(now)
            for watch in self._all():
                if watch.next_look <= now and not watch.looking:
                    self._schedule(watch)
            self._hear_more()
            self._pause(self._seconds(now))
        if not self._closed:
            self._crew.do(partial(self._try, "leave", self._attendance.leave))

    def _renew(self, now: float) -> None:
        """Have the lease renewed where it is time, elsewhere: that may take long."""
        if self._renewing or now < self._next_beat():
            return
        self._renewing = True
        self._renew_at = now + _AGAIN

        def renew() -> None:
            try:
                self._try("renew its lease", self._attendance.attend)
            finally:
                self._renewing = False

        self._crew.do(renew)

    def _next_beat(self) -> float:
        """Return when to renew the lease, or to try again; for ever later where there is none."""
        if self._attendance.owns or (self._address and self._watches):
            return max(self._attendance.next_beat or 0.0, self._renew_at)
        return _NEVER

    def _hear_more(self) -> None:
        """Have the mailbox listened to, where anybody may tell of something there."""
        with self._news:
            if self._address and self._watches and self._hearing is None and not self._closed:
                self._hearing = Thread(target=self._listen, name="cloudfn-hearing", daemon=True)
                self._hearing.start()

    def _listen(self) -> None:
        while True:
            with self._news:
                if not self._watches:
                    self._news.wait(_LINGER)
                if self._closed or not self._watches:
                    self._hearing = None
                    break
            try:
                self.hear(self._wakeups.listen(_LONGEST))
            except Error as error:
                if not self._closed:
                    _log.warning("the mailbox cannot be listened to: %s", error)
                self._pause(_AGAIN)
            except Exception:  # noqa: BLE001 - whatever it was, there is a next time
                _log.exception("listening failed")
                self._pause(_AGAIN)
        if self._closed:
            # It may have been made anew while it was being closed.
            self._try("close its mailbox", self._wakeups.close)

    def _try(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Error as error:
            _log.warning("this client cannot %s: %s", what, error)

    def _seconds(self, now: float) -> float:
        moments = [now + each.least if each.looking else each.next_look for each in self._all()]
        moments.append(self._next_beat())
        return min(max(min(moments, default=now + _LINGER) - now, 0.05), _LINGER)

    def _pause(self, seconds: float) -> None:
        """Wait until there is something new to wait for, or for so long."""
        with self._news:
            if not self._closed:
                self._news.wait(seconds)

    def _all(self) -> list[Watch]:
        with self._news:
            return [watch for watches in self._watches.values() for watch in watches]

    def _of(self, call_id: str) -> list[Watch]:
        with self._news:
            return list(self._watches.get(call_id, ()))

    # In the lanes of watches

    def _schedule(self, watch: Watch) -> None:
        watch.looking = True
        watch.lane.do(partial(self._look, watch))

    def _take(self, watch: Watch, note: Note) -> None:
        try:
            news = self._bring(watch, note)
        except Error as error:
            _log.warning("outcomes of %s cannot be read: %s", watch.call_id, error)
        else:
            self._after(watch, news=news > 0)
            if news:  # the mailbox works
                watch.next_look += watch.least * (_TOLD - 1)

    def _bring(self, watch: Watch, note: Note) -> int:
        """Bring what a note tells of; return how much of it is new."""
        news = 0
        if note.items > watch.items and watch.kind == CallKind.REMOTE_GEN:
            news += self._deliveries.send_items(watch)
        if note.payloads:
            return news + self._deliveries.offer(watch, note.indices, note.statuses, note.payloads)
        if note.indices:
            begin, end = min(note.indices), max(note.indices) + 1
            return news + self._deliveries.read(watch, begin, end)
        if not note.items:
            news += self._deliveries.look(watch)[0]
        return news

    def _look(self, watch: Watch) -> None:
        watch.looking = False
        if watch.over:
            watch.next_look = _NEVER
            return
        news = 0
        try:
            news, record = self._deliveries.look(watch)
        except NotFoundError as error:
            # Not the call alone, of which there would be no record: its store.
            self._lost(watch, _gone(watch.call_id, f": {error.message}"))
            return
        except Error as error:
            _log.warning("the call %s cannot be looked at: %s", watch.call_id, error)
        else:
            if record is None and watch.opened:
                self._lost(watch, _gone(watch.call_id))
                return
            if record is not None and not watch.over:
                complete = record.sealed and watch.seen.floor >= record.known
                if complete or (watch.end is not None and watch.seen.floor >= watch.end):
                    watch.next_look = _NEVER
                    return
        if news:
            self._deliveries.missing.untold()
        else:
            self._alarm.wake()
        self._after(watch, news=bool(news))

    def _after(self, watch: Watch, *, news: bool) -> None:
        watch.pause = watch.least if news else min(watch.pause * _GROWTH, watch.most)
        watch.next_look = self._clock.monotonic() + watch.pause
        if news:
            self._heard_of(watch)


def _gone(call_id: str, why: str = ".") -> NotFoundError:
    return NotFoundError(
        f"The call {call_id} is gone{why}",
        hint="Its client was away for too long, or its app was stopped, or its environment was"
        " destroyed; call again.",
    )
