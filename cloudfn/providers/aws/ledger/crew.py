"""Threads that ask for several pages at once, where each is a request of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Lock
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Crew:
    """A few threads, which are there once they are needed.

    Args:
        threads: How many; with 1, who asks does it all.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None

    def each(self, act: Callable[[A], B], things: Iterable[A]) -> list[B]:
        """Do the same with each thing, and return the answers in order when all is done.

        Raises:
            Exception: What the first one raised that did.
        """
        things = list(things)
        if len(things) < 2 or self._threads < 2:
            return [act(thing) for thing in things]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "cloudfn-ledger")
            futures = self._submit(self._pool, act, things)
        wait(futures)
        # A process on its way out starts no threads any more, and does the rest itself.
        return [*(each.result() for each in futures), *map(act, things[len(futures) :])]

    def _submit(
        self, pool: ThreadPoolExecutor, act: Callable[[A], B], things: list[A]
    ) -> list[Future[B]]:
        futures: list[Future[B]] = []
        with suppress(RuntimeError):
            for thing in things:
                futures.append(pool.submit(act, thing))  # noqa: PERF401 - some may be submitted
        return futures

    def close(self) -> None:
        """End the threads. Idempotent."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
