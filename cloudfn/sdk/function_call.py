"""The FunctionCall: the handle of something that was spawned, now or by anyone, days ago."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cloudfn.clock import SystemClock
from cloudfn.errors import OutputExpiredError
from cloudfn.model.call import Status
from cloudfn.sdk.calls import Attachment
from cloudfn.sdk.client import FAILED, RESUMED, Client, Mailbox, default_client
from cloudfn.sdk.payloads import failure_of, result_of
from cloudfn.sdk.session import error_of
from cloudfn.sdk.twins import (
    Blocking,
    Steps,
    iterating,
    run,
    run_async,
    static_twin,
    twin,
    warn_in_event_loop,
)
from cloudfn.wire.messages import Kind, Outcomes, is_blob

if TYPE_CHECKING:
    from cloudfn.sdk.records import InputInfo

_RETURNED = int(Status.RETURNED)
#: seconds that an outcome may be under way when we know that it is there
_UNDER_WAY = 1.0


class FunctionCall:
    """A call of one or more inputs that goes on without us. `object_id` names it everywhere."""

    def __init__(
        self,
        call_id: str,
        *,
        client: Client | None = None,
        environment: str | None = None,
        inputs: int | None = None,
    ) -> None:
        self._call_id = call_id
        self._client = client
        self._environment = environment
        self._inputs = inputs

    @classmethod
    def from_id(
        cls,
        function_call_id: str,
        client: Client | None = None,
        *,
        environment_name: str | None = None,
    ) -> FunctionCall:
        """Return the handle of a call; whether there is one shows when it is used."""
        return cls(function_call_id, client=client, environment=environment_name)

    @property
    def object_id(self) -> str:
        """The call's id, `fc-…`."""
        return self._call_id

    @twin
    def hydrate(self, client: Client | None = None) -> Steps[FunctionCall]:
        """Ask the engine about the call now, rather than on first use."""
        if client is not None:
            self._client = client
        yield from self._info()
        return self

    @twin
    def num_inputs(self) -> Steps[int]:
        """Return how many inputs the call has."""
        if self._inputs is None:
            told = yield from self._info()
            if not told.get("sealed", True):
                return int(told["known"])
            self._inputs = told["known"]
        return self._inputs

    @twin
    def get(self, timeout: float | None = None, *, index: int = 0) -> Steps[Any]:
        """Wait for the result of input `index` and return it; raises what the input raised.

        Args:
            timeout: Seconds to wait at most, 0 for a look; None waits for ever.
            index: Which input, counted from 0.

        Raises:
            TimeoutError: The builtin one: there is no result within `timeout`.
            OutputExpiredError: The result was kept for its time and is gone.
            NotFoundError: There is no such call.
            ValueError: The call has no such input.
        """
        if index < 0:
            raise ValueError(f"Invalid index range: {index} is negative.")
        reading = _Reading(self._engine(), self._call_id, index, index + 1)
        try:
            status, payload = yield from reading.wait(index, timeout)
        finally:
            reading.close()
        return (yield from self._value(status, payload))

    @iterating
    def iter(self, *, start: int = 0, end: int | None = None) -> CallResults:
        """Iterate over the results of inputs start ≤ index < end, in order, as they come.

        Raises:
            ValueError: The call has no such inputs.
        """
        if start < 0 or (end is not None and end < start):
            raise ValueError(f"Invalid index range: {start} to {end}.")
        return CallResults(self, start, end)

    @twin
    def cancel(self, terminate_containers: bool = False) -> Steps[None]:  # noqa: FBT001, FBT002 - Modal's
        """Cancel all inputs that are not finished; `get` raises a RemoteError then.

        Args:
            terminate_containers: Kill the containers that run them as well.
        """
        yield from self._engine().ask(
            "call_cancel", call=self._call_id, terminate=terminate_containers
        )

    @twin
    def get_call_graph(self) -> Steps[list[InputInfo]]:
        """Return the call's inputs, and below each the inputs of the calls that it made."""
        from cloudfn.sdk.records import call_graph

        told = yield from self._engine().ask("call_graph", call=self._call_id)
        return call_graph(told["nodes"])

    @static_twin
    def gather(*function_calls: FunctionCall) -> Steps[list[Any]]:  # type: ignore[misc]
        """Wait for several calls; return their results in the order of the arguments.

        Raises:
            Exception: What the first one that fails raises; the others go on.
        """
        return (yield from _gather(function_calls))

    def __repr__(self) -> str:
        return f"<FunctionCall {self._call_id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._call_id, self._inputs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionCall) and other._call_id == self._call_id

    def __hash__(self) -> int:
        return hash(self._call_id)

    def _engine(self) -> Client:
        return self._client or default_client(self._environment)

    def _info(self) -> Steps[dict[str, Any]]:
        return (yield from self._engine().ask("call_info", call=self._call_id))

    def _value(self, status: int, payload: bytes) -> Steps[Any]:
        welcome = yield from self._engine().ready()
        read = result_of if status == _RETURNED else None
        work = Blocking(read or _failure, payload, welcome, *(() if read else (status,)))
        value = (yield work) if is_blob(payload) else work.block()
        if status != _RETURNED:
            raise value
        return value


def _failure(payload: bytes, welcome: Any, status: int) -> BaseException:
    return failure_of(status, payload, welcome)


def _restored(call_id: str, inputs: int | None) -> FunctionCall:
    return FunctionCall(call_id, inputs=inputs)


class _Reading:
    """An attachment being read: outcomes by index, and what the engine said of the call."""

    def __init__(
        self,
        client: Client,
        call_id: str,
        start: int,
        end: int | None,
        box: Mailbox | None = None,
    ) -> None:
        self.client = client
        self.outcomes: dict[int, tuple[int, bytes]] = {}
        self.told: dict[str, Any] | None = None
        self._clock = SystemClock()
        self._attachment = Attachment(client, call_id, start, end, box)
        self._asked = False

    @property
    def ref(self) -> int:
        """The number that its messages carry."""
        return self._attachment.ref

    def begin(self) -> Steps[None]:
        """Ask for the outcomes."""
        if not self._asked:
            self._asked = True
            yield from self.client.ready()
            self._attachment.ask()

    def wait(self, index: int, timeout: float | None) -> Steps[tuple[int, bytes]]:
        """Return status and payload of an input's outcome; see `FunctionCall.get`."""
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        yield from self.begin()
        looked = False
        while index not in self.outcomes:
            if self.told is not None:
                self._check(index)
            left = None
            if deadline is not None and self.told is not None:
                left = deadline - self._clock.monotonic()
                if left <= 0 and looked:
                    raise TimeoutError(f"There is no result within {timeout:g} seconds.")
                if left <= 0:
                    # What was recorded before we asked may be on its way; a look must see it.
                    looked = True
                    left = yield from self._grace()
            if not (yield self.client.arrival(self._attachment.box, left)):
                continue
            self.absorb()
        return self.outcomes[index]

    def absorb(self) -> None:
        """Deal with what has arrived."""
        messages = self._attachment.box.messages
        while messages:
            self.take(*messages.popleft())

    def take(self, kind: int, body: Any) -> None:
        """Deal with one message; raises the error that it is."""
        if kind == Kind.OUTCOMES:
            outcomes = Outcomes.decode(body)
            for index, status, payload in zip(*outcomes[1:], strict=True):
                self.outcomes.setdefault(index, (status, payload))
        elif kind == RESUMED:
            if "error" in body:
                raise error_of(body["error"])
            self.told = body
        elif kind == FAILED:
            raise body

    def close(self) -> None:
        """Want nothing more."""
        self._attachment.close()

    def _check(self, index: int) -> None:
        told = self.told
        assert told is not None
        if told.get("sealed") and index >= told.get("known", 0):
            raise ValueError(
                f"Invalid index range: there is no input {index}, the call has {told['known']}."
            )
        if told.get("expired"):
            raise OutputExpiredError(
                f"The results of {self._attachment.call_id} were kept for their time and are gone.",
                hint="CLOUDFN_RETENTION says for how many seconds results are kept.",
            )

    def _grace(self) -> Steps[float]:
        info = yield from self.client.ask("call_info", call=self._attachment.call_id)
        self.absorb()
        return _UNDER_WAY if info.get("finished", 0) >= info.get("known", 1) else 0.0


class CallResults:
    """The results of a call's inputs: an iterator, for `for` and for `async for`."""

    def __init__(self, call: FunctionCall, start: int, end: int | None) -> None:
        self._call = call
        self._next = start
        self._start = start
        self._end = end
        self._reading: _Reading | None = None

    def __iter__(self) -> CallResults:
        return self

    def __next__(self) -> Any:
        warn_in_event_loop("iter")
        found = run(self._advance())
        if not found:
            raise StopIteration
        return found[0]

    def __aiter__(self) -> CallResults:
        return self

    async def __anext__(self) -> Any:
        found = await run_async(self._advance())
        if not found:
            raise StopAsyncIteration
        return found[0]

    def close(self) -> None:
        """Want no more results; the call goes on."""
        if self._reading is not None:
            self._reading.close()

    def __del__(self) -> None:
        if getattr(self, "_reading", None) is not None:
            self.close()

    def _advance(self) -> Steps[Sequence[Any]]:
        if self._reading is None:
            yield from self._begin()
        reading = self._reading
        assert reading is not None
        assert self._end is not None
        if self._next >= self._end:
            reading.close()
            return ()
        try:
            status, payload = yield from reading.wait(self._next, None)
            del reading.outcomes[self._next]
            self._next += 1
            return ((yield from self._call._value(status, payload)),)  # noqa: SLF001
        except BaseException:
            reading.close()
            raise

    def _begin(self) -> Steps[None]:
        call = self._call
        info = yield from call._info()  # noqa: SLF001
        known = info["known"]
        if self._start > known or (self._end is not None and self._end > known):
            raise ValueError(
                f"Invalid index range: {self._start} to {self._end}, but the call has {known} inputs."
            )
        if self._end is None:
            self._end = known
        self._reading = _Reading(call._engine(), call.object_id, self._start, self._end)  # noqa: SLF001


def _gather(calls: Sequence[FunctionCall]) -> Steps[list[Any]]:
    if not calls:
        return []
    results: dict[int, Any] = {}
    readings: list[_Reading] = []
    box = Mailbox()
    try:
        for call in calls:
            reading = _Reading(call._engine(), call.object_id, 0, 1, box)  # noqa: SLF001
            readings.append(reading)
            yield from reading.begin()
        by_ref = {reading.ref: number for number, reading in enumerate(readings)}
        unanswered = deque(range(len(readings)))
        while len(results) < len(readings):
            yield readings[0].client.arrival(box)
            while box.messages:
                kind, body = box.messages.popleft()
                if kind == Kind.OUTCOMES:
                    number = by_ref[int.from_bytes(body[:4], "little")]
                else:
                    # Replies come in the order of the requests; an error is raised either way.
                    number = unanswered.popleft() if unanswered else 0
                reading = readings[number]
                reading.take(kind, body)
                if number in results:
                    continue
                if 0 in reading.outcomes:
                    results[number] = yield from calls[number]._value(*reading.outcomes[0])  # noqa: SLF001
                elif reading.told is not None:
                    reading._check(0)  # noqa: SLF001
        return [results[number] for number in range(len(readings))]
    finally:
        for reading in readings:
            reading.close()
