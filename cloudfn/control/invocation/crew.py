"""Threads that may block, and lanes in which one work follows another."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from threading import Condition, Event, Lock, Thread
from typing import TypeVar

from cloudfn.errors import Error

_log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[], object]

#: seconds that a thread without work stays
_LINGER = 5.0
#: values that `map` works on at a time
_WIDTH = 16


class Crew:
    """Daemon threads, as many as there is work for. Safe to share between threads.

    There is no upper bound, as some works wait for what others do.

    Args:
        name: Beginning of the threads' names.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._news = Condition()
        self._works: deque[Work] = deque()
        self._idle = 0
        self._lanes = 0
        self._closed = False

    def do(self, work: Work) -> bool:
        """Have work done soon; False once it is closed. What it raises is logged."""
        with self._news:
            if self._closed:
                return False
            self._works.append(work)
            if self._idle >= len(self._works):
                self._news.notify()
                return True
        try:
            Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # Python is about to end, and starts no threads any more
            self._finish()
        return True

    def map(self, function: Callable[[T], object], values: Iterable[T]) -> None:
        """Call a function with each value, several at a time; raises the first error."""
        todo = deque(values)
        ended = Condition()
        errors: list[Exception] = []
        helped = 0

        def work() -> None:
            while todo and not errors:
                try:
                    value = todo.popleft()
                except IndexError:  # another one was faster
                    return
                try:
                    function(value)
                except Exception as error:  # noqa: BLE001 - raised below
                    errors.append(error)

        def help_out() -> None:
            nonlocal helped
            work()
            with ended:
                helped += 1
                ended.notify()

        helpers = sum(self.do(help_out) for _ in range(min(len(todo), _WIDTH) - 1))
        work()
        with ended:
            ended.wait_for(lambda: helped == helpers)
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself. Idempotent."""
        with self._news:
            self._closed = True
            self._works.clear()
            self._news.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing is begun any more."""
        return self._closed

    def settle(self, seconds: float) -> bool:
        """Wait until no lane has work; False after `seconds`."""
        with self._news:
            return self._news.wait_for(lambda: not self._lanes, seconds)

    def finish(self, work: Work, seconds: float) -> bool:
        """Have work done, and wait for it; `settle` waits for it as well.

        Args:
            work: The work.
            seconds: How long to wait at most.

        Returns:
            Whether it has ended. What it raised is raised then; later, it is logged.
        """
        ended, errors = Event(), list[Exception]()
        waits = True

        def do() -> None:
            try:
                work()
            except Exception as error:
                if not waits:
                    raise
                errors.append(error)
            finally:
                ended.set()

        Lane(self).do(do)
        waits = ended.wait(seconds)
        if errors:
            raise errors[0]
        return waits

    def lane_busy(self, change: int) -> None:
        """One lane more (1) or less (-1) has work."""
        with self._news:
            self._lanes += change
            if not self._lanes:
                self._news.notify_all()

    def _finish(self) -> None:
        """Do here what waits for a thread that there will not be."""
        while self._works:
            try:
                work = self._works.popleft()
            except IndexError:  # another one was faster
                return
            self._do(work)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            self._do(work)

    def _do(self, work: Work) -> None:
        try:
            work()
        except Error as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001 - the next work is another one
            _log.exception("a work of %s failed", self._name)

    def _next(self) -> Work | None:
        with self._news:
            self._idle += 1
            self._news.wait_for(lambda: self._works or self._closed, _LINGER)
            self._idle -= 1
            return self._works.popleft() if self._works else None


class Lane:
    """Works that are done one after the other, in the order in which they came.

    Args:
        crew: Does them.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._lock = Lock()
        self._works: deque[Work] = deque()
        self._busy = False

    def do(self, work: Work) -> None:
        """Have work done after what came before it. What it raises is logged."""
        with self._lock:
            self._works.append(work)
            if self._busy:
                return
            self._busy = True
        self._crew.lane_busy(1)
        if not self._crew.do(self._run):
            self._crew.lane_busy(-1)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._works:
                    self._busy = False
                    break
                work = self._works.popleft()
            try:
                work()
            except Error as error:
                _log.warning("%s", error)
            except Exception:  # noqa: BLE001 - the next work is another one
                _log.exception("a work in a lane failed")
        self._crew.lane_busy(-1)
