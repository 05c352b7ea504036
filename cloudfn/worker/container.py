"""A container: runs inputs of a function or class, one at a time, on this process's main thread."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from struct import Struct
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from cloudfn.clock import Clock
from cloudfn.errors import InputCancellation, InvalidError
from cloudfn.model.call import Status
from cloudfn.model.retry import Retries
from cloudfn.wire import codec
from cloudfn.wire.current import current
from cloudfn.wire.exceptions import pack_exception, text_of_exception
from cloudfn.wire.messages import (
    CHANNEL_LOST,
    INLINE_LIMIT,
    RAISED_FINAL,
    ContainerKind,
    encode_json,
    is_blob,
)
from cloudfn.worker import loader
from cloudfn.worker.blobs import Blobs
from cloudfn.worker.capture import Standard, Stream
from cloudfn.worker.orders import Channels
from cloudfn.worker.service import Service
from cloudfn.worker.streaming import Windows

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

#: seconds that user code's threads and exit handlers have when the container leaves
LEAVE_PATIENCE = 5.0

_ARGUMENTS = "the arguments"
RESULT = "the result"
# The head of a `Run`, and that of a frame with a `ContainerOutcome`, each in one go.
_RUN = Struct("<BQI")
_RUN_DURABLE = int(ContainerKind.RUN_DURABLE)
_OUTCOME = Struct("<IBQIBI")
_OUTCOME_REST = _OUTCOME.size - 4
_CLAIM = Struct("<QI")
_LONGEST_MICROS = 0xFFFFFFFF
_RETURNED = int(Status.RETURNED)
_KIND = int(ContainerKind.OUTCOME)
#: cancelled inputs that are remembered in case they come
MOST_CANCELLED = 1000
#: stands for whatever input comes next
_NEXT = (0, 0)


class Container:
    """The run loop.

    Args:
        service: The user's function or class.
        ctx: How the program's objects travel.
        channels: The descriptors to the agent.
        stream: Frames to the agent, on one of them.
        standard: The standard streams.
        blobs: Big payloads.
        clock: The time.
        retries: What is done when the function raises.

    Attributes:
        concurrency: The most inputs, or batches, that it runs at once now.
        windows: The generators that run in it.
    """

    windows: Windows

    def __init__(
        self,
        service: Service,
        ctx: codec.PickleContext,
        channels: Channels,
        stream: Stream,
        standard: Standard,
        blobs: Blobs,
        clock: Clock,
        *,
        retries: Retries | None = None,
    ) -> None:
        self.concurrency = 1
        self._retries = retries
        self._service = service
        self._function = service.function
        self._ctx = ctx
        self._packets = socket.socket(fileno=channels.packets)
        self._cancel = channels.cancel
        self._stream = stream
        self._standard = standard
        self._blobs = blobs
        self._pack = blobs.pack
        self._clock = clock
        self._now = clock.monotonic
        self._buffer = bytearray(INLINE_LIMIT + 1024)
        self._view = memoryview(self._buffer)
        self._loop: AbstractEventLoop | None = None
        self._task: Task[Any] | None = None
        self._is_forked = False
        # The signal handlers read and write these, on the main thread.
        self._starts = True
        self._runs = False
        self._waits = False
        self._was_cancelled = False
        self._was_interrupted = False
        self._leaves = False
        self._cancelled: set[tuple[int, int]] = set()

    def set_concurrency(self, count: int) -> None:
        """Run that many at once from now on; those that run go on.

        Raises:
            InvalidError: It runs one at a time by its declaration.
        """
        if count != 1:
            raise InvalidError(
                "This function runs one input at a time.",
                hint="Declare it with `@cloudfn.concurrent(max_inputs=…)`.",
            )

    def stop_intake(self) -> None:
        """Take no further inputs, and leave when those that run have ended."""
        self._stream.tell(ContainerKind.DRAIN)

    def listen(self) -> None:
        """Take the signals that the agent sends, and notice forks by user code."""
        os.set_blocking(self._cancel, False)
        signal.signal(signal.SIGUSR1, self._on_cancel)
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGTERM, self._on_interrupt)
        os.register_at_fork(after_in_child=self._after_fork_in_child)
        self._on_cancel(signal.SIGUSR1, None)  # what came before anybody listened

    def enter(self) -> None:
        """Get ready for inputs; raises whatever the hooks of user code raise."""
        try:
            self._service.enter(self._awaited)
        except BaseException as error:
            if self._is_forked:
                self._end_fork(error)
            raise
        if self._is_forked:
            self._end_fork(0)
        self._starts = False

    def serve(self) -> None:
        """Run inputs until the agent has no more, or wants this container to leave."""
        receive, buffer, view = self._packets.recv_into, self._buffer, self._view
        unpack, head = _RUN.unpack_from, _RUN.size
        while True:
            try:
                self._waits = True
                if self._leaves:
                    return
                size = receive(buffer)
                self._waits = False
            except OSError:
                os._exit(CHANNEL_LOST)
            except BaseException as error:
                self._end_wait(error)
                continue
            if size < head:
                return
            kind, seq, fence = unpack(buffer)
            self._blobs.durable = kind == _RUN_DURABLE
            try:
                self._run(seq, fence, view[head:size])
            except BaseException as error:
                self._complain(error)
            current.seq = self._stream.seq = 0

    def _end_wait(self, error: BaseException) -> None:
        """Something was raised while it waited for an input: it leaves, or goes on."""
        self._waits = False
        if not self._leaves:  # a signal handler of user code raised
            self._complain(error)

    def leave(self) -> None:
        """Run the exit hooks; then go as an interpreter does: threads, exit handlers, buffers.

        The agent ends what takes longer than it may.
        """
        self._stream.exit_status = 0
        for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._service.exit(self._awaited, self._complain)
        if self._is_forked:
            self._end_fork(0)
        # The thread cannot run any more when the interpreter is being taken down.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, LEAVE_PATIENCE + 1)
        with suppress(RuntimeError):
            _start_thread(_exit_later)
        if self._loop is not None:
            try:
                _close(self._loop)
            except BaseException as error:
                self._complain(error)

    def _run(self, seq: int, fence: int, payload: memoryview) -> None:
        started = self._now()
        try:
            status, data = self._attempt(seq, fence, payload)
        except BaseException as error:
            # A signal handler of user code raised after the user's function had ended.
            status, data = self._failed(error)
        if status < 0:
            return
        micros = min(int((self._now() - started) * 1e6), _LONGEST_MICROS)
        self._standard.flush()
        head = _OUTCOME.pack(_OUTCOME_REST + len(data), _KIND, seq, fence, status, micros)
        self._stream.send(head + data)

    def _attempt(self, seq: int, fence: int, payload: memoryview) -> tuple[int, bytes]:
        """Return the status and payload of the outcome."""
        self._was_cancelled = False
        try:
            try:
                current.fence = fence
                current.seq = self._stream.seq = seq
                self._runs = True
                if self._cancelled:
                    self._cancel_if_known((seq, fence))
                call = self._arguments(payload)
                function = self._function or self._service.method(call[2])
                result = function(*call[0], **call[1])
                if type(result) is CoroutineType:
                    result = self._awaited(result)
                if self._is_forked:
                    self._end_fork(0)
                return _RETURNED, self._pack(result, self._ctx, RESULT)
            finally:
                self._runs = False
        except BaseException as error:
            if self._is_forked:
                self._end_fork(error)
            return self._failed(error)

    def _arguments(self, payload: memoryview) -> Any:
        if is_blob(payload):  # type: ignore[arg-type]  # its first byte is all that is looked at
            return self._blobs.load(bytes(payload), _ARGUMENTS)
        return codec.loads(payload, _ARGUMENTS)

    def _function_for(self, call: Any) -> Callable[..., Any]:
        """Return what an input calls that brings these arguments."""
        return self._function or self._service.method(call[2])

    def _report(
        self,
        claims: Sequence[tuple[int, int]],
        status: int,
        payloads: Sequence[bytes],
        seconds: float,
    ) -> None:
        """Send the outcomes of inputs that ran together, after all that they printed."""
        self._standard.flush()
        micros = min(int(seconds * 1e6), _LONGEST_MICROS)
        frames = bytearray()
        for (seq, fence), data in zip(claims, payloads, strict=True):
            frames += _OUTCOME.pack(_OUTCOME_REST + len(data), _KIND, seq, fence, status, micros)
            frames += data
        self._stream.send(bytes(frames))

    def _failed(self, error: BaseException) -> tuple[int, bytes]:
        if self._was_cancelled:
            self._was_cancelled = False
            return self._cancellation()
        if self._was_interrupted:  # that is no outcome: the input runs again elsewhere
            return -1, b""
        if isinstance(error, KeyboardInterrupt):
            self._leaves = True
        return self._raised(error)

    def _cancellation(self) -> tuple[int, bytes]:
        """Return the outcome of an input that was cancelled, and say so."""
        self._standard.complain("Successfully canceled input\n")
        message = {"error": "RemoteError", "message": "The input was cancelled.", "hint": None}
        return int(Status.CANCELLED), encode_json(message)

    def _raised(self, error: BaseException) -> tuple[int, bytes]:
        """Return the outcome of an input whose code raised, and show the traceback."""
        packed = pack_exception(error, self._ctx, strip=loader.is_hidden)
        self._standard.complain(text_of_exception(packed))
        if len(packed) >= INLINE_LIMIT:
            with suppress(Exception):
                packed = self._blobs.store(packed, "the exception")
        retries = self._retries
        if retries is not None and retries.gives_up_on(type(error), self._ctx.main_module):
            return RAISED_FINAL, packed
        return int(Status.RAISED), packed

    def _complain(self, error: BaseException) -> None:
        """Tell of an exception that belongs to no input."""
        with suppress(BaseException):
            packed = pack_exception(error, self._ctx, strip=loader.is_hidden)
            self._standard.complain(text_of_exception(packed))

    def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        loop = self._loop
        if loop is None or loop.is_closed():
            import asyncio

            loop = self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
        self._task = loop.create_task(coroutine)
        try:
            return loop.run_until_complete(self._task)
        finally:
            self._task = None

    # ------------------------------------------------------------------ signals and forks

    def _on_cancel(self, _signal: int, _frame: FrameType | None) -> None:
        for claim in self._cancelled_claims():
            if self._runs and claim == (current.seq, current.fence):
                self._interrupt_input()
            else:
                # It may be the next one: read from the socket, but not begun.
                if len(self._cancelled) >= MOST_CANCELLED:
                    self._cancelled.clear()
                self._cancelled.add(claim)

    def _cancelled_claims(self) -> list[tuple[int, int]]:
        try:
            data = os.read(self._cancel, 1024 * _CLAIM.size)
        except OSError:
            return []
        whole = len(data) - len(data) % _CLAIM.size
        return list(_CLAIM.iter_unpack(data[:whole]))

    def _cancel_if_known(self, claim: tuple[int, int]) -> None:
        if _NEXT in self._cancelled:
            self._was_interrupted = True
            raise KeyboardInterrupt
        if claim in self._cancelled:
            self._cancelled.discard(claim)
            self._interrupt_input()

    def _interrupt_input(self) -> None:
        """Have the input's code see its cancellation, once."""
        if self._was_cancelled:
            return
        self._was_cancelled = True
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
            return
        self._runs = False
        self._stream.interrupt(InputCancellation("The input was cancelled."))

    def _on_interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Leave: by a preemption, or because somebody wants this container to stop."""
        if self._starts:
            abort(self._stream, self._standard)
        if not self._leaves:
            self._leaves = True
            self._stream.tell(ContainerKind.LEAVING, signal.Signals(number).name.encode())
        if self._runs:
            self._was_interrupted = True
            if self._task is not None:
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
                return
            self._runs = False
            self._stream.interrupt(KeyboardInterrupt())
        elif self._waits:
            self._waits = False
            self._stream.interrupt(KeyboardInterrupt())
        else:
            self._cancelled.add(_NEXT)  # it may be read from the socket, and not begun

    def _after_fork_in_child(self) -> None:
        """Keep off the channels: they are the container's, and the agent waits for their end."""
        if self._is_forked:
            return
        self._is_forked = True
        self._standard.connect(None)
        self._stream.close()
        self._packets.close()
        with suppress(OSError):
            os.close(self._cancel)
        with suppress(ValueError):
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _end_fork(self, outcome: int | BaseException) -> None:
        """End a process that user code forked and that came back from the user's function."""
        status = outcome if isinstance(outcome, int) else 1
        if isinstance(outcome, SystemExit):
            status = outcome.code if isinstance(outcome.code, int) else int(bool(outcome.code))
        elif isinstance(outcome, BaseException):
            self._complain(outcome)
        with suppress(Exception):
            self._standard.flush()
        os._exit(status & 0xFF)


def abort(stream: Stream, standard: Standard) -> NoReturn:
    """End a container that has taken no input, at once and in order; its hooks are not run."""
    stream.exit_status = 0
    with suppress(BaseException):
        standard.flush()
    stream.tell(ContainerKind.LEAVING)
    os._exit(0)


def _start_thread(target: Callable[[], None]) -> None:
    from threading import Thread

    Thread(target=target, daemon=True, name="cloudfn-leave").start()


def _exit_later() -> None:
    from threading import Event

    Event().wait(LEAVE_PATIENCE)
    os._exit(0)


def _close(loop: AbstractEventLoop) -> None:
    import asyncio

    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
