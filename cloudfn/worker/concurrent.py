"""A container that runs several inputs, or batches, at once: in threads, or as tasks of one loop.

The event loop runs on the main thread, reads inputs, and runs what is asynchronous; each call of a
plain function gets a thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from struct import Struct
from threading import Thread
from types import CoroutineType, FrameType
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.call import Status
from cloudfn.wire.current import current
from cloudfn.wire.messages import CHANNEL_LOST, ContainerKind
from cloudfn.worker.container import (
    LEAVE_PATIENCE,
    MOST_CANCELLED,
    RESULT,
    Container,
    abort,
)
from cloudfn.worker.inputs import Inputs, receive

_ASYNC = 0x80 | 0x200
_SLOTS = Struct("<I")

_Call = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]


class _Attempt:
    """One call of user code that runs."""

    __slots__ = ("call", "cancelled", "inputs", "started", "task")

    def __init__(self, inputs: Inputs, started: float) -> None:
        self.inputs = inputs
        self.started = started
        #: what is called, once the arguments are unpickled
        self.call: _Call | None = None
        #: None: it has a thread
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False


class ConcurrentContainer(Container):
    """Runs inputs as they come; how many at once, the agent sees to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lasting = self._blobs.lasting()
        self._event_loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._event_loop)
        self._over: asyncio.Future[None] = self._event_loop.create_future()
        self._running: dict[tuple[int, int], _Attempt] = {}
        self._is_closed = False
        current.separate()
        self._standard.separate()

    def set_concurrency(self, count: int) -> None:
        """Run that many at once from now on; those that run go on."""
        if count < 1:
            raise InvalidError(f"A container runs at least 1 input at once, not {count}.")
        self.concurrency = count
        self._stream.tell(ContainerKind.SLOTS, _SLOTS.pack(count))

    def serve(self) -> None:
        """Run inputs until the agent has no more, or wants this container to leave."""
        os.set_blocking(self._packets.fileno(), False)
        self._event_loop.add_reader(self._packets, self._read)
        while not self._over.done():
            try:
                self._event_loop.run_until_complete(self._over)
            except BaseException as error:
                if not self._over.done():  # user code stopped the loop, or its signal handler did
                    self._complain(error)
        self._event_loop.remove_reader(self._packets)
        self._drop_tasks()

    def _drop_tasks(self) -> None:
        tasks = {attempt.task for attempt in self._running.values() if attempt.task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            wait = asyncio.wait(tasks, timeout=LEAVE_PATIENCE)
            with suppress(BaseException):
                self._event_loop.run_until_complete(wait)

    # ------------------------------------------------------------------------- inputs, one by one

    def _read(self) -> None:
        """Take one packet; what it starts runs before the next is read."""
        try:
            inputs = self._received()
        except BlockingIOError:
            return
        except OSError:
            os._exit(CHANNEL_LOST)
        if inputs is not None:
            self._begin(_Attempt(inputs, self._now()))
            return
        self._is_closed = True
        self._event_loop.remove_reader(self._packets)
        self._end_if_done()

    def _received(self) -> Inputs | None:
        return receive(self._packets)

    def _begin(self, attempt: _Attempt) -> None:
        claims = attempt.inputs.claims
        self._running.update(dict.fromkeys(claims, attempt))
        context = copy_context()
        context.run(current.set, *claims[0])
        attempt.cancelled = not self._cancelled.isdisjoint(claims)
        self._cancelled.difference_update(claims)
        try:
            if attempt.cancelled:
                raise asyncio.CancelledError
            if context.run(self._is_for_loop, attempt):
                running = self._run_in_loop(attempt)
                attempt.task = self._event_loop.create_task(running, context=context)
                return
            Thread(target=context.run, args=(self._run_in_thread, attempt), daemon=True).start()
        except BaseException as error:
            context.run(self._fail, attempt, error)
            self._end(attempt)

    def _is_for_loop(self, attempt: _Attempt) -> bool:
        function = self._function
        if function is None:
            # Of a class, the arguments name the method.
            attempt.call = self._call_of(attempt.inputs)
            function = attempt.call[0]
        code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
        return code is not None and bool(code.co_flags & _ASYNC)

    def _call_of(self, inputs: Inputs) -> _Call:
        return inputs.arguments(self._arguments, self._function_for)

    def _run_in_thread(self, attempt: _Attempt) -> None:
        try:
            function, args, kwargs = attempt.call or self._call_of(attempt.inputs)
            result = function(*args, **kwargs)
            if type(result) is CoroutineType:
                result = asyncio.run_coroutine_threadsafe(result, self._event_loop).result()
            self._succeed(attempt, function, result)
        except BaseException as error:
            self._fail(attempt, error)
        with suppress(RuntimeError):  # the loop is closed: the container leaves
            self._event_loop.call_soon_threadsafe(self._end, attempt)

    async def _run_in_loop(self, attempt: _Attempt) -> None:
        try:
            function, args, kwargs = attempt.call or self._call_of(attempt.inputs)
            result = function(*args, **kwargs)
            if type(result) is CoroutineType:
                result = await result
            self._succeed(attempt, function, result)
        except BaseException as error:
            self._fail(attempt, error)
        self._end(attempt)

    # --------------------------------------------------------------------------------- outcomes

    def _succeed(self, attempt: _Attempt, function: Callable[..., Any], result: object) -> None:
        if self._is_forked:
            self._end_fork(0)
        inputs = attempt.inputs
        blobs = self._lasting if inputs.durable else self._blobs
        results = inputs.results(function, result)
        payloads = [blobs.pack(each, self._ctx, RESULT) for each in results]
        self._report(inputs.claims, int(Status.RETURNED), payloads, self._now() - attempt.started)

    def _fail(self, attempt: _Attempt, error: BaseException) -> None:
        if self._is_forked:
            self._end_fork(error)
        dropped = isinstance(error, asyncio.CancelledError) and not attempt.cancelled
        if self._leaves and dropped:
            return  # that is no outcome: it runs again elsewhere
        status, data = self._cancellation() if attempt.cancelled else self._raised(error)
        claims = attempt.inputs.claims
        self._report(claims, status, (data,) * len(claims), self._now() - attempt.started)

    def _end(self, attempt: _Attempt) -> None:
        for claim in attempt.inputs.claims:
            self._running.pop(claim, None)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._is_closed and not self._running:
            self._finish()

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    # ---------------------------------------------------------------------------------- signals

    def _on_cancel(self, _signal: int, _frame: FrameType | None) -> None:
        for claim in self._cancelled_claims():
            self._event_loop.call_soon_threadsafe(self._cancel_claim, claim)

    def _cancel_claim(self, claim: tuple[int, int]) -> None:
        attempt = self._running.get(claim)
        if attempt is None:
            # It may be on its way here.
            if len(self._cancelled) >= MOST_CANCELLED:
                self._cancelled.clear()
            self._cancelled.add(claim)
        elif attempt.task is None:
            attempt.cancelled = self.windows.cancel(claim)
            if not attempt.cancelled:
                # Nothing stops a thread but the end of its process.
                self._depart("")
        elif not attempt.cancelled:
            attempt.cancelled = True
            attempt.task.cancel()

    def _on_interrupt(self, number: int, _frame: FrameType | None) -> None:
        if self._starts:
            abort(self._stream, self._standard)
        self._event_loop.call_soon_threadsafe(self._depart, signal.Signals(number).name)

    def _depart(self, interrupted_by: str) -> None:
        """Leave, without outcomes of what runs; because of a signal, or of a cancelled input."""
        if not self._leaves:
            self._leaves = True
            self._stream.tell(ContainerKind.LEAVING, interrupted_by.encode())
        self._finish()
