"""The FunctionCall: the handle of something that was spawned, now or by anyone, days ago."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from cloudfn.model.call import Status
from cloudfn.sdk.absent import no_dashboard
from cloudfn.sdk.client import Client, Mailbox, default_client
from cloudfn.sdk.payloads import failure_of, result_of
from cloudfn.sdk.reading import Reading
from cloudfn.sdk.twins import (
    Blocking,
    Steps,
    in_event_loop,
    iterating,
    run,
    run_async,
    static_twin,
    twin,
    warn_in_event_loop,
)
from cloudfn.wire.messages import Kind, is_blob

if TYPE_CHECKING:
    from cloudfn.sdk.logs import Logs
    from cloudfn.sdk.records import InputInfo

_RETURNED = int(Status.RETURNED)


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
        reading = Reading(self._engine(), self._call_id, index, index + 1)
        try:
            status, payload = yield from reading.wait(index, timeout)
        finally:
            reading.close()
        return (yield from self._value(status, payload))

    @twin
    def done(self) -> Steps[bool]:
        """Return whether all inputs are finished, however they ended.

        Raises:
            NotFoundError: There is no such call.
        """
        told = yield from self._info()
        over = told.get("sealed", True) or told.get("cancelled", False)
        return bool(over) and told["finished"] >= told["known"]

    def add_done_callback(self, fn: Callable[[FunctionCall], object]) -> None:
        """Have `fn(call)` called once, when all inputs are finished, however they ended.

        Added in an event loop it is called there; otherwise in a thread that all callbacks of
        this process share, one after the other. What it raises is logged.

        Raises:
            ConnectionError: The engine cannot be reached.
        """
        from cloudfn.sdk.lookout import when_done

        if not in_event_loop():
            when_done(self._engine(), self._call_id, lambda: fn(self))
            return
        from asyncio import get_running_loop

        loop = get_running_loop()
        when_done(self._engine(), self._call_id, lambda: loop.call_soon_threadsafe(fn, self))

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
    def cancel(self, terminate_containers: bool = False) -> Steps[None]:  # noqa: FBT001, FBT002
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

    @property
    def logs(self) -> Logs:
        """What its inputs print."""
        from cloudfn.sdk.logs import Logs

        return Logs(self._log_scope)

    def get_dashboard_url(self) -> NoReturn:
        """Raise UnimplementedError: there is no dashboard yet."""
        raise no_dashboard(f"cloudfn call get {self._call_id}")

    @static_twin
    def gather(*function_calls: FunctionCall) -> Steps[list[Any]]:
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

    def _log_scope(self) -> Steps[tuple[Client, dict[str, Any]]]:
        yield from ()
        return self._engine(), {"call": self._call_id}

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


class CallResults:
    """The results of a call's inputs: an iterator, for `for` and for `async for`."""

    def __init__(self, call: FunctionCall, start: int, end: int | None) -> None:
        self._call = call
        self._next = start
        self._start = start
        self._end = end
        self._reading: Reading | None = None

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
                f"Invalid index range: {self._start} to {self._end}, of {known} inputs."
            )
        if self._end is None:
            self._end = known
        engine = call._engine()  # noqa: SLF001
        self._reading = Reading(engine, call.object_id, self._start, self._end)


def _gather(calls: Sequence[FunctionCall]) -> Steps[list[Any]]:
    """Wait for calls, those of one engine together, one engine after the other."""
    of_engine: dict[int, list[int]] = {}
    for number, call in enumerate(calls):
        of_engine.setdefault(id(call._engine()), []).append(number)  # noqa: SLF001
    results: dict[int, Any] = {}
    for numbers in of_engine.values():
        values = yield from _gather_of_one([calls[number] for number in numbers])
        results.update(zip(numbers, values, strict=True))
    return [results[number] for number in range(len(calls))]


def _gather_of_one(calls: Sequence[FunctionCall]) -> Steps[list[Any]]:
    results: dict[int, Any] = {}
    readings: list[Reading] = []
    box = Mailbox()
    try:
        for call in calls:
            reading = Reading(call._engine(), call.object_id, 0, 1, box)  # noqa: SLF001
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
                outcome = readings[number].outcome_after(kind, body)
                if outcome is not None and number not in results:
                    results[number] = yield from calls[number]._value(*outcome)  # noqa: SLF001
        return [results[number] for number in range(len(readings))]
    finally:
        for reading in readings:
            reading.close()
