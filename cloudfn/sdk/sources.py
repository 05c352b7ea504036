"""Where the inputs of a map come from: iterables, read on the caller's thread in small bites."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from cloudfn.clock import Clock
from cloudfn.errors import InvalidError
from cloudfn.sdk.client import SOURCE, Mailbox

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Event, Task

Args = tuple[Any, ...]

#: seconds after which what was read is sent
_SOON = 0.005
_LARGEST_BITE = 64


class SyncSource:
    """Plain iterables, zipped; they stop with the shortest.

    Args:
        inputs: The arguments of one input after the other.
        clock: What the time is.
    """

    is_async = False

    def __init__(self, inputs: Iterator[Args], clock: Clock) -> None:
        self._inputs = inputs
        self._now = clock.monotonic
        self._bite = 1
        self.exhausted = False
        #: reading the last batch took long
        self.slow = False

    def read(self, most: int) -> list[Args]:
        """Return up to `most` inputs; fewer when they come slowly."""
        items: list[Args] = []
        started = last = self._now()
        while len(items) < most:
            wanted = min(self._bite, most - len(items))
            before = len(items)
            items.extend(islice(self._inputs, wanted))
            if len(items) - before < wanted:
                self.exhausted = True
                break
            now = self._now()
            if now - started > _SOON:
                self._bite = 1
                self.slow = True
                return items
            if now - last < _SOON / 10:
                self._bite = min(self._bite * 2, _LARGEST_BITE)
            last = now
        self.slow = False
        return items

    def close(self) -> None:
        """Nothing more is wanted."""


class AsyncSource:
    """Iterables of which some are asynchronous.

    Under an event loop a task reads ahead, and tells the mailbox of the map when there is
    something; so results go out while the next input is awaited. Without one, a loop of its own
    runs while the caller waits for the next input.
    """

    is_async = True

    def __init__(self, inputs: AsyncIterator[Args], box: Mailbox) -> None:
        #: fewer inputs were there than could be taken
        self.slow = True
        self._inputs = inputs
        self._box = box
        self._buffer: list[Args] = []
        self._most = 1
        self._error: BaseException | None = None
        self._ended = False
        self._task: Task[None] | None = None
        self._taken: Event | None = None
        self._loop: AbstractEventLoop | None = None

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing more."""
        return self._ended and not self._buffer

    def read(self, most: int) -> _Fetch:
        """Return the step that reads up to `most` inputs, perhaps none yet."""
        return _Fetch(self, most)

    def fetch_blocking(self) -> list[Args]:
        """Return the next input, alone; the list is empty at the end."""
        if self._loop is None:
            from asyncio import new_event_loop

            self._loop = new_event_loop()
        try:
            return [self._loop.run_until_complete(_next(self._inputs))]
        except StopAsyncIteration:
            self._ended = True
            return []

    def fetch_ready(self, most: int) -> list[Args]:
        """Return what the task has read by now; needs a running loop."""
        from asyncio import Event, ensure_future

        self._most = most
        if self._task is None:
            self._taken = Event()
            self._task = ensure_future(self._read_ahead())
        items, self._buffer = self._buffer[:most], self._buffer[most:]
        self.slow = len(items) < most
        assert self._taken is not None
        self._taken.set()
        if not items and self._error is not None:
            raise self._error
        return items

    def close(self) -> None:
        """Nothing more is wanted."""
        if self._task is not None and not self._task.done():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        if self._loop is not None and not self._loop.is_running():
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._loop = None

    async def _read_ahead(self) -> None:
        taken = self._taken
        assert taken is not None
        try:
            async for item in self._inputs:
                self._buffer.append(item)
                self._box.put(SOURCE, None)
                while len(self._buffer) >= self._most:
                    taken.clear()
                    await taken.wait()
        except BaseException as error:  # noqa: BLE001 - raised where inputs are taken
            self._error = error
        self._ended = self._error is None
        self._box.put(SOURCE, None)


class _Fetch:
    """The step that reads from an asynchronous source."""

    __slots__ = ("_most", "_source")

    def __init__(self, source: AsyncSource, most: int) -> None:
        self._source = source
        self._most = most

    def block(self) -> list[Args]:
        """Read the next one."""
        return self._source.fetch_blocking()

    async def wait(self) -> list[Args]:
        """Take what is there."""
        return self._source.fetch_ready(self._most)


async def _next(inputs: AsyncIterator[Args]) -> Args:
    return await anext(inputs)


def source_of(
    iterables: Sequence[Any], box: Mailbox, clock: Clock, *, star: bool, prefer_async: bool
) -> SyncSource | AsyncSource:
    """Return the source that reads the iterables.

    Args:
        iterables: One for each argument; with `star` one of argument sequences.
        box: The mailbox of the map.
        clock: What the time is.
        star: Each item is a sequence of arguments.
        prefer_async: Of an iterable that is of both kinds, use the asynchronous one.
    """
    if any(_is_async(each, prefer_async=prefer_async) for each in iterables):
        return AsyncSource(_zipped(iterables, star=star, prefer_async=prefer_async), box)
    if star:
        return SyncSource(map(tuple, iterables[0]), clock)
    return SyncSource(zip(*iterables, strict=False), clock)


def check_iterables(iterables: Sequence[Any], method: str) -> None:
    """Raise InvalidError unless all of them can be iterated over."""
    if not iterables:
        raise InvalidError(
            f"`.{method}` needs something to iterate over.",
            hint="Give one iterable for each parameter of the function.",
        )
    for number, each in enumerate(iterables, 1):
        if not hasattr(each, "__iter__") and not hasattr(each, "__aiter__"):
            raise InvalidError(
                f"Argument {number} of `.{method}` is no iterable but {type(each).__name__}.",
                hint=f"Put single inputs into a list: .{method}([…]).",
            )


def _is_async(iterable: Any, *, prefer_async: bool) -> bool:
    return hasattr(iterable, "__aiter__") and (prefer_async or not hasattr(iterable, "__iter__"))


async def _zipped(
    iterables: Sequence[Any], *, star: bool, prefer_async: bool
) -> AsyncIterator[Args]:
    readers = [_reader(each, prefer_async=prefer_async) for each in iterables]
    while True:
        args = []
        for read in readers:
            try:
                value = read()
                args.append(await value if hasattr(value, "__await__") else value[0])
            except StopAsyncIteration:
                return
        yield tuple(args[0]) if star else tuple(args)


def _reader(iterable: Any, *, prefer_async: bool) -> Callable[[], Any]:
    """Return what gives the next item: an awaitable, or a tuple that holds it."""
    if _is_async(iterable, prefer_async=prefer_async):
        advance: Callable[[], Any] = aiter(iterable).__anext__
        return advance
    iterator: Iterator[Any] = iter(iterable)

    def read() -> tuple[Any]:
        try:
            return (next(iterator),)
        except StopIteration:
            raise StopAsyncIteration from None

    return read
