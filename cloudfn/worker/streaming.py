"""Generators in a container: their items go out one by one, as far as their reader lets them."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from threading import Condition, Thread
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

from cloudfn.errors import InputCancellation, InvalidError
from cloudfn.wire import codec
from cloudfn.wire.current import current
from cloudfn.wire.messages import (
    TAKEN_SIZE,
    WINDOW_BYTES,
    WINDOW_ITEMS,
    ContainerItem,
    ContainerKind,
    ContainerTaken,
    StreamEnd,
    payload_size,
)
from cloudfn.worker.blobs import Blobs
from cloudfn.worker.capture import Standard, Stream

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

_ITEM = "an item of the generator"
_ClaimKey = tuple[int, int]


class Incoming(Protocol):
    """What is needed of a socket to hear which items are taken."""

    def recv(self, size: int, /) -> bytes:
        """Return some bytes, or none when the other end is closed."""
        ...


class Window:
    """The items of one attempt that are out and not taken. Any thread may call any method."""

    def __init__(self) -> None:
        self.sent = 0
        self._taken = 0
        self._bytes = 0
        self._sizes: deque[int] = deque()
        self._cancelled = False
        self._changed = Condition()
        self._sleeper: tuple[AbstractEventLoop, Future[None]] | None = None

    @property
    def full(self) -> bool:
        """Whether no more may be sent for now."""
        return len(self._sizes) >= WINDOW_ITEMS or self._bytes >= WINDOW_BYTES

    def add(self, size: int) -> None:
        """Another item goes out; raises InputCancellation after `cancel`."""
        with self._changed:
            self._check()
            self.sent += 1
            if self.sent > self._taken:
                self._sizes.append(size)
                self._bytes += size

    def take(self, end: int) -> None:
        """Items 0 … end − 1 are taken; more than were sent, where an attempt before sent them."""
        with self._changed:
            out = max(self.sent - max(end, self._taken), 0)
            while len(self._sizes) > out:
                self._bytes -= self._sizes.popleft()
            self._taken = max(self._taken, end)
            self._changed.notify_all()
            if self._sleeper is not None and not self.full:
                loop, woken = self._sleeper
                self._sleeper = None
                loop.call_soon_threadsafe(_wake, woken)

    def cancel(self) -> None:
        """Let the generator end with its next item, or its present wait."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until more may be sent; raises InputCancellation after `cancel`."""
        with self._changed:
            while self.full:
                self._check()
                self._changed.wait()

    async def wait_in_loop(self) -> None:
        """Do the same, and let the event loop run meanwhile."""
        from asyncio import get_running_loop

        while True:
            with self._changed:
                if not self.full:
                    return
                loop = get_running_loop()
                woken: Future[None] = loop.create_future()
                self._sleeper = loop, woken
            await woken

    def _check(self) -> None:
        if self._cancelled:
            raise InputCancellation("The input was cancelled.")


class Windows:
    """Hears which items are taken, for all generators of this container.

    Args:
        channel: The socket that items go out on.
    """

    def __init__(self, channel: Incoming) -> None:
        self._receive = channel.recv
        self._open: dict[_ClaimKey, Window] = {}
        self._listens = False

    def open(self, claim: _ClaimKey) -> Window:
        """Return the window of a new attempt."""
        window = self._open[claim] = Window()
        if not self._listens:
            self._listens = True
            Thread(target=self._listen, daemon=True, name="cloudfn-taken").start()
        return window

    def cancel(self, claim: _ClaimKey) -> bool:
        """Let a generator that runs in a thread end soon; False: there is none."""
        window = self._open.get(claim)
        if window is not None:
            window.cancel()
        return window is not None

    def close(self, claim: _ClaimKey) -> None:
        """The attempt is over."""
        self._open.pop(claim, None)

    def _listen(self) -> None:
        # A signal that came to this thread would not wake the main one.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        data = b""
        while True:
            try:
                received = self._receive(1024 * TAKEN_SIZE)
            except OSError:
                return  # user code closed it: whoever sends next will see
            if not received:
                return
            data += received
            whole = len(data) - len(data) % TAKEN_SIZE
            for start in range(0, whole, TAKEN_SIZE):
                taken = ContainerTaken.decode(data[start : start + TAKEN_SIZE])
                window = self._open.get((taken.seq, taken.fence))
                if window is not None:
                    window.take(taken.end)
            data = data[whole:]


class Streamer:
    """Makes functions of generator functions: they send items, and return how many there were.

    Args:
        windows: Tells how many more items may go out.
        stream: Takes frames to the agent.
        standard: What was printed before an item goes out before it.
        blobs: Takes big items.
        ctx: How the program's objects travel.
    """

    def __init__(
        self,
        windows: Windows,
        stream: Stream,
        standard: Standard,
        blobs: Blobs,
        ctx: codec.PickleContext,
    ) -> None:
        self._windows = windows
        self._stream = stream
        self._standard = standard
        self._blobs = blobs
        self._ctx = ctx

    def streamed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what runs a generator function to its end.

        It returns a StreamEnd, or a coroutine of one where the function is asynchronous.
        """

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            claim = current.seq, current.fence
            made = function(*args, **kwargs)
            if type(made) is CoroutineType:
                return self._awaited(claim, made)
            items = iterator_of(made)
            if isinstance(items, AsyncIterator):
                return self._sent_in_loop(claim, items)
            return self._sent(claim, items)

        return run

    def _sent(self, claim: _ClaimKey, iterator: Iterator[Any]) -> StreamEnd:
        window = self._windows.open(claim)
        try:
            for item in iterator:
                self._send(claim, window, item)
                if window.full:
                    window.wait()
            return StreamEnd(window.sent)
        finally:
            self._windows.close(claim)
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    async def _sent_in_loop(self, claim: _ClaimKey, iterator: AsyncIterator[Any]) -> StreamEnd:
        window = self._windows.open(claim)
        try:
            async for item in iterator:
                self._send(claim, window, item)
                if window.full:
                    await window.wait_in_loop()
            return StreamEnd(window.sent)
        finally:
            self._windows.close(claim)
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    async def _awaited(self, claim: _ClaimKey, made: Coroutine[Any, Any, Any]) -> StreamEnd:
        """Send what an `async def` returns that yields nothing itself."""
        items = iterator_of(await made)
        if isinstance(items, AsyncIterator):
            return await self._sent_in_loop(claim, items)
        return self._sent(claim, items)

    def _send(self, claim: _ClaimKey, window: Window, item: object) -> None:
        payload = self._blobs.pack(item, self._ctx, _ITEM)
        self._standard.flush()
        position = window.sent
        window.add(payload_size(payload))
        self._stream.tell(ContainerKind.ITEM, ContainerItem(*claim, position, payload).encode())


def iterator_of(made: object) -> Iterator[Any] | AsyncIterator[Any]:
    """Return the iterator of what a generator function gave.

    Raises:
        InvalidError: It has none.
    """
    given: Any = made
    try:
        items: Iterator[Any] | AsyncIterator[Any]
        items = aiter(given) if hasattr(given, "__aiter__") else iter(given)
        return items
    except TypeError:
        raise InvalidError(
            f"The function returned a {type(made).__name__!r}, which cannot be iterated over.",
            hint="With `is_generator=True` a function yields, or returns an iterator.",
        ) from None


def _wake(woken: Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
