"""Carries out `.map` and its relatives: reads inputs, sends them, hands results to the caller."""

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
from cloudfn.sdk.client import Client, Mailbox, Welcome
from cloudfn.sdk.mapping import MapSession
from cloudfn.sdk.payloads import Packer, failure_of, result_of
from cloudfn.sdk.resuming import Stamps
from cloudfn.sdk.sources import AsyncSource, SyncSource, source_of
from cloudfn.sdk.twins import Blocking, IsAsync, Step, Steps
from cloudfn.wire import codec
from cloudfn.wire.messages import Outcomes, is_blob, payload_size

if TYPE_CHECKING:
    from cloudfn.sdk.target import Target

#: seconds that a small room is left alone, and between looks at the socket while results are read
_SOON = 0.005
#: refusals between two warnings
WARN_EVERY = 8
_RETURNED = int(Status.RETURNED)


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
        window: How many inputs may be out; None for as many as the engine allows.
        resume: The name under which it can be gone on with.
    """

    method: str
    target: Callable[[], Steps[Target]]
    name: str
    iterables: Sequence[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    star: bool = False
    ordered: bool = True
    return_exceptions: bool = False
    window: int | None = None
    resume: str | None = None


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
        self._stamps: Stamps | None = None
        self._warned = 0
        #: (inputs sent before it, error) of inputs that could not be sent
        self._holes: deque[tuple[int, errors.Error]] = deque()

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
        box = Mailbox()
        self._source = source_of(
            request.iterables, box, self._clock, star=request.star, prefer_async=is_async
        )
        # How many may be out is known once we are connected, which no inputs need not be.
        items = yield from self._items(1)
        while not items and not self._source.exhausted:
            yield _FirstInput(box)
            items = yield from self._items(1)
        if not items:
            self.done = True
            return
        target = yield from request.target()
        self._client = target.client
        self._welcome = yield from target.client.ready()
        most = self._welcome.map_window
        window = most if request.window is None else min(request.window, most)
        self._session = MapSession(window, ordered=request.ordered)
        self._call = yield from self._submission(target, box)
        self._call.have, self._call.done = self._session.have, self._session.done
        self._packer = Packer(
            target.context,
            self._welcome,
            self._call.call_id,
            durable=request.resume is not None,
            method=target.method,
        )
        more = self._session.batch(hurry=True) - len(items)
        if more > 0 and not self._source.exhausted and not self._source.slow:
            items += yield from self._items(more)
        self._send(items)

    def _submission(self, target: Target, box: Mailbox) -> Steps[Submission]:
        """Return the call that carries the map: a new one, or the one of its name."""
        client, function_id, name = target.client, target.function_id, self.request.resume
        if name is None:
            return Submission(client, function_id, CallKind.MAP, target.parent, box)
        told = yield from client.ask("call_name", function_id=function_id, name=name)
        assert self._welcome is not None
        self._stamps = Stamps(name, told, self._welcome)
        call_id = told["call"]
        kind, parent = CallKind.MAP, target.parent
        return Submission(client, function_id, kind, parent, box, name=name, call_id=call_id)

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
                    self._send(items)
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
        items: list[tuple[Any, ...]] = yield step
        return items

    def _send(self, items: list[tuple[Any, ...]]) -> None:
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
        if self._stamps is not None:
            payloads = self._stamps.stamped(call.sent, payloads)
            if session.exhausted:
                self._stamps.check_end(call.sent + len(payloads))
        if payloads or session.exhausted:
            call.send(payloads, sealed=session.exhausted)

    def _note_unsent(self, packed: Sequence[bytes | errors.Error]) -> None:
        assert self._session is not None
        before = self._session.read
        for each in packed:
            if isinstance(each, bytes):
                before += 1
                continue
            each.add_note(
                f"input {before + len(self._holes)} of {self.request.name}.{self.request.method}"
            )
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
        if refusals >= self._warned + WARN_EVERY:
            self._warned = refusals - refusals % WARN_EVERY
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
        self._session.settle()
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


class _FirstInput:
    """The step that waits until an asynchronous source has something; nobody is connected yet."""

    __slots__ = ("_box",)

    def __init__(self, box: Mailbox) -> None:
        self._box = box

    def block(self) -> None:
        """Return at once: without a loop, such sources are read by blocking."""

    async def wait(self) -> None:
        """Wait for a delivery, which comes from this very loop."""
        from asyncio import Event

        arrived = Event()
        self._box.waker = arrived.set
        try:
            if not self._box.messages:
                await arrived.wait()
        finally:
            self._box.waker = None
        self._box.messages.clear()


def check_window(window: object) -> None:
    """Raise InvalidError unless a map's `window` is a whole number of at least 1, or None."""
    if window is None:
        return
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise errors.InvalidError(
            f"`window` must be a whole number of at least 1, not {window!r}.",
            hint="It says how many inputs of the map may be sent and not finished.",
        )


def warn_limited(request: MapRequest) -> None:
    """Say that a limit of the engine slows a map down."""
    warnings.warn(
        f"{request.name}.{request.method} progress is limited. Common bottlenecks include slow "
        "iteration over results, or function backlogs.",
        errors.ServerWarning,
        stacklevel=2,
    )
