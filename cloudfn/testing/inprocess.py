"""Runs one attempt in this process as a container would: unpickle, call, pickle what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from cloudfn.model.call import Raised
from cloudfn.model.cls import cls_name, decoded
from cloudfn.model.function import FunctionSpec
from cloudfn.model.log import Source
from cloudfn.sdk.cls import adopt
from cloudfn.sdk.twins import in_event_loop
from cloudfn.testing.pools import Pool
from cloudfn.wire import codec
from cloudfn.wire.current import current
from cloudfn.wire.exceptions import pack_exception
from cloudfn.wire.messages import INLINE_LIMIT, is_blob
from cloudfn.worker import batches, loader
from cloudfn.worker.blobs import Blobs
from cloudfn.worker.orders import FunctionOrder
from cloudfn.worker.service import ClassService

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

T = TypeVar("T")
Write = Callable[[Source, str], None]

_ARGUMENTS = "the arguments"
_RESULT = "the result"


class InProcess:
    """Runs user code here.

    Args:
        blobs: Big payloads, as containers write and read them.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._services: dict[str, ClassService] = {}
        self._idle_loops: list[AbstractEventLoop] = []

    def run(
        self,
        pool: Pool,
        claim: tuple[int, int],
        payload: bytes,
        write: Write,
        *,
        quiet: bool,
    ) -> bytes | Raised:
        """Run an attempt; return the pickled result, or the exception.

        Args:
            pool: The function.
            claim: Number and fence, for code that asks which input runs.
            payload: The pickled arguments.
            write: Gets what the code prints.
            quiet: Nobody else gets it.

        Raises:
            KeyboardInterrupt: The user wants the test to end.
        """
        return self.carry_out(
            pool.spec,
            pool.module,
            claim,
            write,
            lambda: self._called(pool, payload),
            quiet=quiet,
        )

    def carry_out(
        self,
        spec: FunctionSpec,
        module: str,
        claim: tuple[int, int],
        write: Write,
        work: Callable[[], Any],
        *,
        quiet: bool,
    ) -> bytes | Raised:
        """Do some `work` of an attempt as `run` does all of it."""
        ctx = codec.PickleContext(main_module=module or None)
        try:
            with _input(claim), _variables(spec.variables), _output(write, quiet=quiet):
                result = _beside_event_loop(work)
                return self._blobs.pack(result, ctx, _RESULT)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - user code raises what it likes
            return self.failed(error, spec, module)

    def failed(self, error: BaseException, spec: FunctionSpec, module: str) -> Raised:
        """Return how an attempt ends with an exception."""
        ctx = codec.PickleContext(main_module=module or None)
        packed = pack_exception(error, ctx, strip=loader.is_hidden)
        if len(packed) >= INLINE_LIMIT:
            packed = self._blobs.store(packed, "the exception")
        retries = spec.retries
        final = retries is not None and retries.gives_up_on(type(error), ctx.main_module)
        return Raised(packed, final)

    def arguments(self, payload: bytes) -> Any:
        """Return a fresh copy of an input's arguments, and of a class the method's name."""
        if is_blob(payload):
            return self._blobs.load(payload, _ARGUMENTS)
        return codec.loads(payload, _ARGUMENTS)

    def close(self) -> None:
        """End what asynchronous functions left behind."""
        failures: list[BaseException] = []
        while self._services:
            self._services.popitem()[1].exit(self.awaited, failures.append)
        while self._idle_loops:
            _close(self._idle_loops.pop())
        if failures:
            raise failures[0]

    def begun(self, pool: Pool, payload: bytes) -> Any:
        """Call the function or method; return its coroutine, generator or result."""
        args, kwargs, *method = self.arguments(payload)
        return self._function(pool, method)(*args, **kwargs)

    def _function(self, pool: Pool, method: Sequence[str]) -> Callable[..., Any]:
        """Return what an input calls that names a method, or none."""
        order = FunctionOrder.from_json(pool.spec.to_json())
        return self._entered(pool, order).method(*method) if method else loader.load_function(order)

    def yields(self, pool: Pool, payload: bytes) -> bool:
        """Whether an input is one of a generator."""
        if pool.spec.cls is None:
            return pool.spec.is_generator
        spec = pool.spec.cls.methods.get(self.arguments(payload)[2])
        return spec is not None and spec.is_generator

    def name_of(self, pool: Pool, payload: bytes) -> str:
        """Return the name of the function or method that an input calls."""
        cls = cls_name(pool.spec.name)
        return pool.spec.name if cls is None else f"{cls}.{self.arguments(payload)[2]}"

    def _entered(self, pool: Pool, order: FunctionOrder) -> ClassService:
        """Return the one instance of a class with these parameters; its enter hooks were run."""
        service = self._services.get(pool.name)
        if service is None:
            found = loader.load_function(order)
            assert isinstance(found, type)
            service = ClassService(found, decoded(pool.parameters), lambda function: function)
            service.enter(self.awaited)
            adopt(found, service.instance, pool.parameters)
            self._services[pool.name] = service
        return service

    def _called(self, pool: Pool, payload: bytes) -> Any:
        if pool.spec.batching is not None:
            return self._called_for_batch(pool, [payload])[0]
        result = self.begun(pool, payload)
        return self.awaited(result) if type(result) is CoroutineType else result

    def _called_for_batch(self, pool: Pool, payloads: list[bytes]) -> list[Any]:
        calls = [self.arguments(payload) for payload in payloads]
        function = self._function(pool, calls[0][2:])
        args, kwargs = batches.merged(function, [call[:2] for call in calls])
        result = function(*args, **kwargs)
        if type(result) is CoroutineType:
            result = self.awaited(result)
        return batches.split(function, result, len(payloads))

    def awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return the coroutine's result."""
        import asyncio

        # A container keeps its loop, and user code may rely on that.
        loop = self._idle_loops.pop() if self._idle_loops else asyncio.new_event_loop()
        try:
            return loop.run_until_complete(coroutine)
        finally:
            self._idle_loops.append(loop)


@contextmanager
def _input(claim: tuple[int, int]) -> Iterator[None]:
    """Be the container that runs an input."""
    before = current.seq, current.fence
    current.seq, current.fence = claim
    try:
        yield
    finally:
        current.seq, current.fence = before


@contextmanager
def _variables(env: dict[str, str]) -> Iterator[None]:
    """Have the variables that the function's containers would have."""
    environ = os.environ  # noqa: TID251 - stands in for the environment of a container
    before = {name: environ.get(name) for name in env}
    environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                environ.pop(name, None)
            else:
                environ[name] = value


@contextmanager
def _output(write: Write, *, quiet: bool) -> Iterator[None]:
    """Have what is printed written to `write`, unless `quiet` also to where it would go."""
    out, err = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", _Tee(out, lambda text: write("stdout", text), quiet=quiet))
    sys.stderr = cast("TextIO", _Tee(err, lambda text: write("stderr", text), quiet=quiet))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


class _Tee:
    """A text stream whose writer is overheard."""

    def __init__(self, stream: Any, heard: Callable[[str], None], *, quiet: bool) -> None:
        # A function that calls another one is not to be heard saying what that one says.
        self.stream: Any = stream.stream if isinstance(stream, _Tee) else stream
        self._heard = heard
        self._quiet = quiet

    def write(self, text: str) -> int:
        self._heard(text)
        return len(text) if self._quiet else cast("int", self.stream.write(text))

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _beside_event_loop(work: Callable[[], T]) -> T:
    """Do it, where a loop runs in this thread in another one: user code may have one of its own."""
    if not in_event_loop():
        return work()
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "cloudfn-offline") as thread:
        return thread.submit(copy_context().run, work).result()


def _close(loop: AbstractEventLoop) -> None:
    loop.run_until_complete(_left_behind())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def _left_behind() -> None:
    """Cancel the tasks that user code began and did not wait for."""
    import asyncio

    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
