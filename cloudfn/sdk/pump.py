"""A thread that reads the socket for those who must not block; it lives while there are any."""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloudfn import errors

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from threading import Thread

    from cloudfn.sdk.client import Mailbox
    from cloudfn.sdk.connection import Connection

#: how long it stays for the next one who must not block
_LINGER = 2.0
#: how often it looks for output while everybody else computes
_LISTENING_PAUSE = 0.05


class _LoopPost:
    """Completes futures of one event loop, many with one call into it."""

    __slots__ = ("_futures", "_posted", "loop")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._futures: deque[Future[None]] = deque()
        self._posted = False

    @property
    def alive(self) -> bool:
        """Whether the loop can still be told anything."""
        return not self.loop.is_closed()

    def complete(self, future: Future[None]) -> None:
        """Complete the future soon; any thread may say so."""
        self._futures.append(future)
        if not self._posted:
            self._posted = True
            try:
                self.loop.call_soon_threadsafe(self._flush)
            except RuntimeError:
                self._posted = False  # the loop is closed, and so nobody waits there

    def _flush(self) -> None:
        self._posted = False
        while self._futures:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(None)


class Pump:
    """The thread, and those it reads for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = allocate_lock()
        self._waiting = 0
        self._listening = 0
        self._stopped = False
        self._thread: Thread | None = None
        self._news: Any = None
        self._posts: dict[int, _LoopPost] = {}

    async def arrival(self, box: Mailbox, timeout: float | None) -> bool:
        """Wait for mail without blocking the loop; False after `timeout` seconds."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        future: Future[None] = loop.create_future()
        post = self._post_of(loop)
        box.waker = lambda: post.complete(future)
        timer = None
        self._enter()
        try:
            if box.messages:  # it came between the caller's look and the waker
                return True
            if timeout is not None:
                timer = loop.call_later(max(timeout, 0), post.complete, future)
            await future
            return bool(box.messages)
        finally:
            box.waker = None
            if timer is not None:
                timer.cancel()
            self._leave()

    def listen(self, change: int) -> None:
        """One more (1) or one less (-1) wants output looked for, although nobody waits for it."""
        with self._lock:
            self._listening += change
        if change > 0:
            self._wake()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        with self._lock:
            if self._news is not None:
                self._news.set()

    def _post_of(self, loop: AbstractEventLoop) -> _LoopPost:
        post = self._posts.get(id(loop))
        if post is None or post.loop is not loop:
            self._posts = {key: each for key, each in self._posts.items() if each.alive}
            post = self._posts[id(loop)] = _LoopPost(loop)
        return post

    def _enter(self) -> None:
        with self._lock:
            self._waiting += 1
            first = self._waiting == 1
        if first:
            self._wake()

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1

    def _wake(self) -> None:
        from threading import Event, Thread

        with self._lock:
            if self._thread is None:
                self._news = Event()
                self._thread = Thread(target=self._run, name="cloudfn-pump", daemon=True)
                self._thread.start()
            self._news.set()

    def _run(self) -> None:
        while not self._stopped:
            if self._waiting:
                self._serve()
            elif self._listening:
                self._rest(_LISTENING_PAUSE, self._listen)
            elif not self._rest(_LINGER, self._end):
                return

    def _serve(self) -> None:
        """Read until nobody is waiting."""
        try:
            self._connection.wait_until(lambda: not self._waiting or self._stopped, None)
        except errors.Error:
            # Everybody who waits has been told, and is about to leave.
            self._news.wait(_LISTENING_PAUSE)
            self._news.clear()

    def _listen(self) -> bool:
        self._connection.poll()
        return True

    def _end(self) -> bool:
        with self._lock:
            if self._waiting or self._listening:
                return True
            self._thread = None
            return False

    def _rest(self, seconds: float, otherwise: Callable[[], bool]) -> bool:
        """Wait for someone to come; after `seconds` without anyone return `otherwise()`."""
        if self._news.wait(seconds):
            self._news.clear()
            return True
        return otherwise()
