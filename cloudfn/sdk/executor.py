"""A Function as a `concurrent.futures.Executor`, so that code written for one can use it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent import futures
from threading import Lock, RLock
from typing import Any

from cloudfn import errors
from cloudfn.model.call import CallKind, Status
from cloudfn.sdk.calls import Submission
from cloudfn.sdk.client import Mailbox
from cloudfn.sdk.function import Function
from cloudfn.sdk.lookout import Lookout, lookout_of
from cloudfn.sdk.payloads import Packer, failure_of, result_of
from cloudfn.sdk.target import Target
from cloudfn.sdk.twins import run
from cloudfn.wire.messages import is_blob

_RETURNED = int(Status.RETURNED)


class Executor(futures.Executor):
    """Runs callables in the containers of a Function.

    The Function decides where and how: `submit(f, *args, **kwargs)` calls it as
    `function.remote(f, *args, **kwargs)`. So it takes a callable and calls it:

        @app.function(cpu=2, retries=1)
        def call(f, *args, **kwargs):
            return f(*args, **kwargs)

    As many calls as a map may have out are sent, the others wait here. Unlike with an executor of
    the standard library, `cancel` also ends a call that is under way; `running` is always False.
    Callbacks of futures run in one thread, one after the other.

    Args:
        function: What is called. It has to be known to the engine: by `app.run()`, by a deploy.

    Raises:
        InvalidError: It is no Function, or one that yields.
    """

    def __init__(self, function: Function) -> None:
        if not isinstance(function, Function):
            raise errors.InvalidError(
                f"An Executor needs a Function, not {type(function).__name__}.",
                hint="Declare one that calls what it gets: "
                "@app.function() def call(f, *args, **kwargs): return f(*args, **kwargs)",
            )
        if function.is_generator:
            raise errors.InvalidError(
                "An Executor cannot use a generator function.",
                hint="Use `.remote_gen(...)` of the function itself.",
            )
        self._function = function
        # Callbacks of futures, which are called with it held at times, may submit.
        self._lock = RLock()
        self._waiting: deque[_Job] = deque()
        self._out: dict[_Job, None] = {}
        self._refused: deque[_Job] = deque()
        self._shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Have `fn(*args, **kwargs)` called in a container.

        Returns:
            Its future. What cannot be pickled becomes the future's exception.

        Raises:
            RuntimeError: The executor is shut down.
            ExecutionError: The Function is not known to the engine.
        """
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        target: Target = run(self._function.target())
        job = _Job(self, target, self._function.name)
        try:
            job.pack((fn, *args), kwargs)
        except errors.SerializationError as error:
            job.end()
            job.future.set_exception(error)
            return job.future
        with self._lock:
            self._waiting.append(job)
        self._send()
        return job.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its base class has it
        """Take no more.

        Args:
            wait: Return when everything is finished.
            cancel_futures: End what is not finished.
        """
        self._shut = True
        with self._lock:
            jobs = [*self._waiting, *self._out]
        if cancel_futures:
            for job in jobs:
                job.future.cancel()
        if wait:
            futures.wait([job.future for job in jobs])

    # What jobs tell

    def refused(self, job: _Job) -> None:
        """A limit of the engine stops a job for now: again when there may be room."""
        with self._lock:
            self._refused.append(job)

    def ended(self, job: _Job) -> None:
        """A job is finished or cancelled."""
        with self._lock:
            self._out.pop(job, None)
        self._send()

    def again(self) -> None:
        """Send what was refused once more."""
        with self._lock:
            jobs, self._refused = self._refused, deque()
            for job in jobs:
                if job in self._out:
                    job.call.send_again()

    def is_last(self, job: _Job) -> bool:
        """Whether nothing but this job is under way."""
        return not self._waiting and self._out.keys() <= {job}

    def _send(self) -> None:
        with self._lock:
            while self._waiting and len(self._out) < self._waiting[0].window:
                job = self._waiting.popleft()
                if job.future.cancelled():
                    continue
                self._out[job] = None
                job.call.send([job.payload], sealed=True)


class _Future(futures.Future[Any]):
    """A future whose cancellation reaches the engine."""

    def __init__(self, job: _Job) -> None:
        super().__init__()
        self._job = job
        self._noticed = Lock()

    def cancel(self) -> bool:
        """End the call, whether it waits or runs; False if it is finished."""
        if not super().cancel():
            return False
        if self._noticed.acquire(blocking=False):
            # For those who wait for several futures.
            self.set_running_or_notify_cancel()
            self._job.cancelled()
        return True


class _Job:
    """One call of an executor."""

    def __init__(self, executor: Executor, target: Target, name: str) -> None:
        self.future = _Future(self)
        self.payload = b""
        self._executor = executor
        self._client = target.client
        self._name = name
        self._welcome = run(target.client.ready())
        self._context = target.context
        self._method = target.method
        self._lookout: Lookout = lookout_of(target.client)
        self._box: Mailbox = self._lookout.open(self)
        self.call = Submission(
            target.client, target.function_id, CallKind.REMOTE, target.parent, self._box
        )

    @property
    def window(self) -> int:
        """How many of an executor's jobs may be out."""
        return self._welcome.map_window

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pickle the arguments; raises SerializationError."""
        call_id, method = self.call.call_id, self._method
        packer = Packer(self._context, self._welcome, call_id, durable=False, method=method)
        self.payload = packer.pack(args, kwargs)

    def heard(self) -> None:
        """The engine says something of the call."""
        try:
            for outcomes in self.call.mail():
                self._finish(outcomes.statuses[0], outcomes.payloads[0])
                return
        except errors.Error as error:
            self.end()
            self._settle(error=error)
            return
        if self.call.refused:
            self._executor.refused(self)

    def tick(self) -> None:
        """Some time has passed: there may be room again."""
        if self.call.refused:
            self._executor.again()

    def cancelled(self) -> None:
        """Its future is cancelled."""
        self.end()
        self.call.close(finished=False)
        self._executor.ended(self)

    def end(self) -> None:
        """Listen no more."""
        self._lookout.close(self)

    def _finish(self, status: int, payload: bytes) -> None:
        error = value = None
        try:
            if status == _RETURNED:
                value = result_of(payload, self._welcome)
            else:
                error = failure_of(status, payload, self._welcome)
        except errors.Error as failed:
            error = failed
        self.end()
        now = is_blob(payload) or self._executor.is_last(self)
        self._client.delivered(self.call.ref, (0,), now=now)
        self.call.close(finished=True)
        self._settle(value, error)

    def _settle(self, value: Any = None, error: BaseException | None = None) -> None:
        self._executor.ended(self)
        self._executor.again()
        try:
            if error is None:
                self.future.set_result(value)
            else:
                self.future.set_exception(error)
        except futures.InvalidStateError:
            return  # it was cancelled just now
