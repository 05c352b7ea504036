"""Threads that ask for several things at once, where each is a request of its own.

They are daemons: a process that ends does not wait for those that wait for AWS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Condition, Lock, Thread
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")
Work = Callable[[], None]

#: seconds that a thread without work stays
_LINGER = 5.0


class Crew:
    """A few threads, which are there once they are needed.

    Args:
        threads: How many work, who asks among them; with 1, who asks does it all.
    """

    def __init__(self, threads: int) -> None:
        self._helpers = threads - 1
        self._lock = Lock()
        #: what helpers are to do; None ends one
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._begun = 0

    def each(self, act: Callable[[A], B], things: Iterable[A]) -> list[B]:
        """Do the same with each thing, and return the answers in order when all is done.

        Raises:
            Exception: What the first one raised that did.
        """
        things = list(things)
        helpers = min(len(things) - 1, self._helpers)
        if helpers < 1:
            return [act(thing) for thing in things]
        todo = deque(enumerate(things))
        answers: dict[int, Any] = {}
        errors: dict[int, Exception] = {}
        news = Condition()

        def work() -> None:
            while todo:
                try:
                    at, thing = todo.popleft()
                except IndexError:  # another one was faster
                    return
                try:
                    answers[at] = act(thing)
                except Exception as error:  # noqa: BLE001 - raised below
                    errors[at] = error
                with news:
                    news.notify()

        self._begin(helpers)
        for _ in range(helpers):
            self._works.put(work)
        work()
        with news:
            news.wait_for(lambda: len(answers) + len(errors) == len(things))
        if errors:
            raise errors[min(errors)]
        return [answers[at] for at in range(len(things))]

    def _begin(self, helpers: int) -> None:
        with self._lock:
            while self._begun < helpers:
                try:
                    Thread(target=self._help, name="cloudfn-aws", daemon=True).start()
                except RuntimeError:  # a process on its way out starts no threads any more
                    return
                self._begun += 1

    def _help(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Work | None:
        try:
            return self._works.get(timeout=_LINGER)
        except Empty:
            with self._lock:
                # Whoever counted on this one meanwhile does the work itself.
                self._begun = max(0, self._begun - 1)
            return None

    def close(self) -> None:
        """End the threads, each when it is done with what it does. Idempotent."""
        with self._lock:
            for _ in range(self._begun):
                self._works.put(None)
            self._begun = 0
