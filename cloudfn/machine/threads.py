"""Threads for what blocks, and the way back to the loop."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from cloudfn.errors import Error

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Threads:
    """Does work in threads, and goes on with what came of it on the loop.

    Args:
        loop: The loop.
        count: Works at one time; further ones wait.
        name: Of the threads.
    """

    def __init__(self, loop: AbstractEventLoop, count: int, name: str) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._closed = False

    def do(
        self,
        work: Callable[[], T],
        done: Callable[[T], object],
        failed: Callable[[Error], object],
    ) -> None:
        """Have work done; then one of the two is called on the loop, unless this was closed.

        What is no error of ours is a mistake of ours: it is logged, and `failed` is told as well.
        """
        if self._closed:
            return

        def finished(future: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left who cares
                self._loop.call_soon_threadsafe(self._back, future, done, failed)

        self._pool.submit(work).add_done_callback(finished)

    def _back(
        self,
        future: Future[Any],
        done: Callable[[Any], object],
        failed: Callable[[Error], object],
    ) -> None:
        if self._closed:
            return
        error = future.exception()
        if error is None:
            done(future.result())
        elif isinstance(error, Error):
            failed(error)
        else:
            _log.error("work in a thread failed", exc_info=error)
            failed(Error(f"It failed: {error!r}."))

    def close(self) -> None:
        """Go on with nothing any more; what runs ends by itself. Idempotent."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
