"""Carries out `.map` and its relatives: reads inputs, sends them, and hands results to the caller."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudfn import errors
from cloudfn.clock import Clock, SystemClock
from cloudfn.model import ids
from cloudfn.model.call import CallKind, Status
from cloudfn.sdk.calls import Submission
from cloudfn.sdk.client import Client, Welcome
from cloudfn.sdk.mapping import MapSession
from cloudfn.sdk.payloads import Packer, failure_of, payload_size, result_of
from cloudfn.sdk.sources import AsyncSource, SyncSource, source_of
from cloudfn.sdk.twins import Blocking, IsAsync, Step, Steps, in_event_loop, run, run_async
from cloudfn.wire import codec
from cloudfn.wire.messages import Outcomes, is_blob

if TYPE_CHECKING:
    from cloudfn.sdk.target import Target

#: seconds that a small room is left alone, and between looks at the socket while results are read
_SOON = 0.005
_WARN_EVERY = 8
_RETURNED = int(Status.RETURNED)
#: inputs of a spawn_map that are sent and not acknowledged
_SPAWN_WINDOW = 2048


@dataclass(frozen=True, slots=True)
class MapRequest:
    """What a `.map`, `.starmap`, `.for_each` or `.spawn_map` asks for.

    Attributes:
        method: Its name, for messages.
        target: Tells what is called; asked when the first input is there.
        iterables: One for each argument; with `star` one of argument sequences.
        kwargs: Keyword arguments of every input.
        star: Each item is a sequence of arguments.
        ordered: Results go out in the order of the inputs.
        return_exceptions: Failures are results as well.
    """

    method: str
    target: Callable[[], Steps[Target]]
    name: str
    iterables: Sequence[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    star: bool = False
    ordered: bool = True
    return_exceptions: bool = False


class Mapping:
    """A map under way: an operation without iterator manners. One thread or task at a time."""

    def __init__(self, request: MapRequest, clock: Clock | None = None) -> None:
        self.request = request
        self.ready: deque[Any] = deque()
        self.failure: BaseException | None = None
        self.done = False
        #: when to look after the socket and the source, though results are ready
        self.service_at = 0.0
        self._clock = clock or SystemClock()
        self._client: Client | None = None
        self._call: Submission | None = None
        self._session: MapSession | None = None
        self._source: SyncSource | AsyncSource | None = None
        self._welcome: Welcome | None = None
        self._packer: Packer | None = None
        self._warned = 0
        #: (inputs sent before it, error) of inputs that could not be sent
        self._holes: deque[tuple[int, errors.Error]] = deque()
        self._emitted = 0

    def now(self) -> float:
        """Return the clock's time."""
        return self._clock.monotonic()

    def advance(self) -> Steps[None]:
        """Go on until results are ready, or it is `done`, or failed."""
        if self.done:
            return
        try:
            if self._source is None:
                yield from self._start()
            yield from self._go_on()
        except BaseException:
            self.close()
            raise
        self.service_at = self.now() + _SOON

    def close(self) -> None:
        """Want nothing more: what is not finished is cancelled."""
        if self.done:
            return
        self.done = True
        if self._source is not None:
            self._source.close()
        call = self._call
        if call is not None:
            assert self._session is not None
            call.close(finished=self._session.complete)

    def _start(self) -> Steps[None]:
        request = self.request
        is_async = yield IsAsync()
        box = _LateBox()
        self._source = source_of(
            request.iterables, box, self._clock, star=request.star, prefer_async=is_async
        )
        items = yield from self._items(1 if self._source.is_async else 8)
        while not items and not self._source.exhausted:
            yield box.arrival()
            items = yield from self._items(8)
        if not items:
            self.done = True
            return
        target = yield from request.target()
        self._client = target.client
        self._welcome = yield from target.client.ready()
        window = self._welcome.map_window
        self._session = MapSession(window, ordered=request.ordered)
        self._call = Submission(
            target.client, target.function_id, CallKind.MAP, target.parent
        )
        self._call.have = self._session.have
        box.lead_to(self._call.box)
        self._packer = Packer(
            target.context, self._welcome, self._call.call_id, durable=False
        )
        yield from self._send(items)

    def _go_on(self) -> Steps[None]:
        if self.done:
            return
        client, call, session = self._client, self._call, self._session
        assert client is not None
        assert call is not None
        assert session is not None
        assert self._source is not None
        hurry = False
        had = bool(self.ready)
        if had:
            client.poll()
        while True:
            yield from self._absorb()
            if self.failure is not None:
                self.close()
                return
            if session.complete:
                self._fill_holes(session.read + 1)
                call.close(finished=True)
                self._source.close()
                self.done = True
                return
            if self.ready and (not had or not session.batch()):
                return
            had = False
            count = session.batch(hurry=hurry)
            hurry = False
            if count:
                items = yield from self._items(count)
                if items or self._source.exhausted:
                    yield from self._send(items)
                    client.poll()
                    continue
            if self.ready:
                return
            waits_for_room = not count and session.room and not self._source.exhausted
            hurry = not (yield client.arrival(call.box, _SOON if waits_for_room else None))

    def _items(self, most: int) -> Steps[list[tuple[Any, ...]]]:
        source = self._source
        assert source is not None
        if isinstance(source, SyncSource):
            return source.read(most)
        step: Step[list[tuple[Any, ...]]] = source.read(most)
        return (yield step)

    def _send(self, items: list[tuple[Any, ...]]) -> Steps[None]:
        session, call, source, packer = self._session, self._call, self._source, self._packer
        assert session is not None
        assert call is not None
        assert source is not None
        assert packer is not None
        packed = packer.pack_many(items, self.request.kwargs)
        payloads = [each for each in packed if isinstance(each, bytes)]
        if len(payloads) < len(packed):
            self._note_unsent(packed)
        session.exhausted = source.exhausted
        sizes = [len(each) for each in payloads]
        if any(map(is_blob, payloads)):
            sizes = [payload_size(each) for each in payloads]
        session.sent(len(payloads), sizes, slow=source.slow)
        if payloads or session.exhausted:
            call.send(payloads, sealed=session.exhausted)
        return
        yield  # a generator, as all that may take time

    def _note_unsent(self, packed: Sequence[bytes | errors.Error]) -> None:
        assert self._session is not None
        before = self._session.read
        for each in packed:
            if isinstance(each, bytes):
                before += 1
                continue
            each.add_note(f"input {before + len(self._holes)} of {self.request.name}.{self.request.method}")
            if not self.request.return_exceptions:
                raise each
            self._holes.append((before, each))

    def _absorb(self) -> Steps[None]:
        call, session = self._call, self._session
        assert call is not None
        assert session is not None
        for outcomes in call.mail():
            if not self.request.return_exceptions:
                self._look_for_failure(outcomes)
                if self.failure is not None:
                    return
            indices, statuses, payloads = session.take(outcomes)
            if indices:
                yield from self._decode(indices, statuses, payloads)
        refusals = call.refusals
        if refusals >= self._warned + _WARN_EVERY:
            self._warned = refusals - refusals % _WARN_EVERY
            warn_limited(self.request)

    def _look_for_failure(self, outcomes: Outcomes) -> None:
        statuses = outcomes.statuses
        if bytes(statuses).count(_RETURNED) == len(statuses):
            return
        for index, status, payload in zip(*outcomes[1:], strict=True):
            if status != _RETURNED:
                self.failure = self._failure(index, status, payload)
                return

    def _decode(
        self, indices: Sequence[int], statuses: Sequence[int], payloads: Sequence[bytes]
    ) -> Steps[None]:
        call, client = self._call, self._client
        assert call is not None
        assert client is not None
        big = any(map(is_blob, payloads))
        if big or self._holes or bytes(statuses).count(_RETURNED) != len(statuses):
            for index, status, payload in zip(indices, statuses, payloads, strict=True):
                self._fill_holes(index)
                work = Blocking(self._value, index, status, payload)
                self.ready.append((yield work) if is_blob(payload) else work.block())
                if self.failure is not None:
                    self.ready.pop()
                    return
        else:
            before = len(self.ready)
            try:
                self.ready.extend(map(codec.loads, payloads))
            except errors.DeserializationError:
                done = len(self.ready) - before
                for index, payload in zip(indices[done:], payloads[done:], strict=True):
                    self.ready.append(self._value(index, _RETURNED, payload))
                    if self.failure is not None:
                        self.ready.pop()
                        return
        # Blobs may live in memory: the sooner they can go the better.
        assert self._session is not None
        client.delivered(call.ref, indices, now=big or self._session.complete)

    def _value(self, index: int, status: int, payload: bytes) -> Any:
        if status != _RETURNED:
            return self._failure(index, status, payload)
        assert self._welcome is not None
        try:
            return result_of(payload, self._welcome)
        except errors.Error as error:
            if not self.request.return_exceptions:
                self.failure = error
            return error

    def _failure(self, index: int, status: int, payload: bytes) -> BaseException:
        assert self._call is not None
        assert self._welcome is not None
        failure = failure_of(status, payload, self._welcome)
        name = ids.input_id(self._call.call_id, index)
        failure.add_note(f"input {index} of {self.request.name}.{self.request.method}: {name}")
        return failure

    def _fill_holes(self, index: int) -> None:
        while self._holes and (self._holes[0][0] <= index or not self.request.ordered):
            self.ready.append(self._holes.popleft()[1])


class _LateBox:
    """Stands for the mailbox of a call that is not open yet."""

    def __init__(self) -> None:
        self._box: Any = None
        self._future: Any = None

    def put(self, kind: int, body: Any) -> None:
        """Deliver."""
        if self._box is not None:
            self._box.put(kind, body)
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def lead_to(self, box: Any) -> None:
        """Deliver there from now on."""
        self._box = box

    def arrival(self) -> _LateBox:
        """Return the step that waits for the first delivery."""
        return self

    def block(self) -> None:
        """Never waits: without a loop, sources are read by blocking."""

    async def wait(self) -> None:
        """Wait for a delivery."""
        from asyncio import get_running_loop

        self._future = get_running_loop().create_future()
        await self._future


class MapResult:
    """The results of a map: an iterator, for `for` and for `async for`. Nothing runs before that."""

    def __init__(self, request: MapRequest, clock: Clock | None = None) -> None:
        self._mapping = Mapping(request, clock)
        self._started = False

    def __iter__(self) -> MapResult:
        self._begin()
        return self

    def __next__(self) -> Any:
        mapping = self._mapping
        ready = mapping.ready
        if ready and mapping.now() < mapping.service_at:
            return ready.popleft()
        self._begin()
        run(mapping.advance())
        if ready:
            return ready.popleft()
        self._raise_failure()
        raise StopIteration

    def __aiter__(self) -> MapResult:
        self._started = True
        return self

    async def __anext__(self) -> Any:
        mapping = self._mapping
        ready = mapping.ready
        if ready and mapping.now() < mapping.service_at:
            return ready.popleft()
        self._started = True
        await run_async(mapping.advance())
        if ready:
            return ready.popleft()
        self._raise_failure()
        raise StopAsyncIteration

    def close(self) -> None:
        """Want no more results; inputs that are not finished are cancelled."""
        self._started = True
        self._mapping.close()

    def __del__(self) -> None:
        if not hasattr(self, "_started"):
            return
        if self._started:
            self._mapping.close()
            return
        request = self._mapping.request
        warnings.warn(
            f"The results of a call to {request.name}.{request.method} were not consumed, so the call "
            "will never be executed. Iterate over them, or use `.for_each` if you do not need them.",
            errors.UserWarning,
            stacklevel=2,
        )

    def _begin(self) -> None:
        self._started = True
        if in_event_loop():
            request = self._mapping.request
            raise errors.InvalidError(
                f"`.{request.method}` cannot be iterated over with `for` inside an event loop.",
                hint=f"Use `async for … in {request.name}.{request.method}.aio(…)`.",
            )

    def _raise_failure(self) -> None:
        failure = self._mapping.failure
        if failure is not None:
            self._mapping.failure = None
            raise failure


def consume(request: MapRequest) -> Steps[None]:
    """Carry a map out and drop its results."""
    mapping = Mapping(request)
    try:
        while not mapping.done:
            yield from mapping.advance()
            mapping.ready.clear()
            if mapping.failure is not None:
                raise mapping.failure
    finally:
        mapping.close()


def spawn_all(request: MapRequest) -> Steps[tuple[Client, str, int]]:
    """Send all inputs as one call that outlives us; return client, call and number of inputs."""
    target = yield from request.target()
    client = target.client
    welcome = yield from client.ready()
    is_async = yield IsAsync()
    call = Submission(client, target.function_id, CallKind.SPAWN_MAP, target.parent)
    source = source_of(
        request.iterables, call.box, SystemClock(), star=request.star, prefer_async=is_async
    )
    packer = Packer(target.context, welcome, call.call_id, durable=True)
    warned = 0
    try:
        while not (source.exhausted and call.acknowledged):
            if not source.exhausted and call.sent - call.known < _SPAWN_WINDOW and not call.refused:
                got = source.read(256)
                items = got if isinstance(got, list) else (yield got)
                payloads = yield Blocking(_packed, packer, items, request)
                if payloads or source.exhausted:
                    call.send(payloads, sealed=source.exhausted)
                    client.poll()
                    if not source.exhausted:
                        for _ in call.mail():
                            pass
                        continue
            yield client.arrival(call.box)
            for _ in call.mail():
                pass
            if call.refusals >= warned + _WARN_EVERY:
                warned = call.refusals
                warn_limited(request)
    except BaseException:
        client.release(call.ref, tell=True)
        raise
    finally:
        source.close()
    call.close(finished=False)
    return client, call.call_id, call.sent


def _packed(
    packer: Packer, items: Sequence[tuple[Any, ...]], request: MapRequest
) -> list[bytes]:
    payloads: list[bytes] = []
    for each in packer.pack_many(items, request.kwargs):
        if not isinstance(each, bytes):
            raise each
        payloads.append(each)
    return payloads


def warn_limited(request: MapRequest) -> None:
    """Say that a limit of the engine slows a map down."""
    warnings.warn(
        f"{request.name}.{request.method} progress is limited. Common bottlenecks include slow iteration "
        "over results, or function backlogs.",
        errors.ServerWarning,
        stacklevel=2,
    )
