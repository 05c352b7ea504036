"""The engine as an in-memory `Client`: inputs run in this process, when somebody waits for them.

Time passes on a fake clock alone: to the end of a retry's delay or of a slow attempt, when nothing
else is left to do for the one who waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from itertools import count
from threading import Condition
from typing import Any, TypeVar

from cloudfn import errors
from cloudfn.model import ids
from cloudfn.model.call import (
    Again,
    CallKind,
    ContainerLost,
    Crashed,
    Ending,
    Raised,
    Status,
    TimedOut,
    settle,
)
from cloudfn.model.log import LogEntry, Source
from cloudfn.providers.base import CallRecord, CallSpec, Claim, Entry
from cloudfn.sdk.client import FAILED, RESUMED, Mailbox, Stream, Welcome
from cloudfn.sdk.twins import Steps
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.inprocess import InProcess
from cloudfn.testing.pools import Pool, Pools
from cloudfn.testing.provider import MemoryProvider
from cloudfn.testing.script import Script, ScriptedError, Step
from cloudfn.wire.messages import (
    Ack,
    BlobRef,
    Kind,
    Outcomes,
    Submit,
    encode_json,
    is_blob,
)
from cloudfn.wire.version import VERSION
from cloudfn.worker.blobs import Blobs

T = TypeVar("T")

#: seconds that results of spawned calls are kept
RETENTION = 7 * 86_400.0
_CONTAINER = "offline"
#: inputs claimed at a time
_SLICE = 64
#: times that a write is tried which a scripted failure hits
_TRIES = 10
#: seconds of real time between looks at what another thread does
_LOOK = 1.0
_INSTANT = 1e-6

#: the inputs that this thread or task is running, the innermost last
_here: ContextVar[tuple[int, ...]] = ContextVar("cloudfn_offline_inputs", default=())


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt of an offline run."""

    function: str
    #: which input of that function, counted from 0 in the order of submission
    number: int
    #: which attempt of that input, counted from 0
    attempt: int
    #: running | returned | raised | timed out | crashed | lost
    ended: str
    _arguments: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]

    @property
    def args(self) -> tuple[Any, ...]:
        """The input's positional arguments, as a fresh copy."""
        return self._arguments()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The input's keyword arguments, as a fresh copy."""
        return self._arguments()[1]

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} of {self.function}[{self.number}]: {self.ended}>"


@dataclass(frozen=True, slots=True)
class _Returned:
    payload: bytes


_End = _Returned | Ending

_ENDED = {
    _Returned: "returned",
    Raised: "raised",
    TimedOut: "timed out",
    Crashed: "crashed",
    ContainerLost: "lost",
}


@dataclass(frozen=True, slots=True)
class _Slow:
    """An attempt that takes until a time of the fake clock."""

    until: float
    claim: Claim
    attempt: Attempt
    end: _End


class _Went(Enum):
    ON = "something happened"
    BEYOND = "the deadline passed"
    ELSEWHERE = "another thread runs an input"
    NOWHERE = "nothing can happen any more"


class OfflineClient:
    """An engine without daemon and containers.

    Args:
        provider: Where everything is kept.
        clock: The time; it is moved from here.
        script: What attempts meet.
        map_window: Inputs of a map that may be out.
    """

    def __init__(
        self, provider: MemoryProvider, clock: FakeClock, script: Script, map_window: int
    ) -> None:
        self.clock = clock
        #: every attempt so far, in the order in which they began
        self.attempts: list[Attempt] = []
        self._provider = provider
        self._ledger = provider.ledger
        self._script = script
        self._pools = Pools(provider.catalog, clock, self._end_inputs)
        fast, durable = str(provider.folder / "fast"), str(provider.folder / "durable")
        self._code = InProcess(Blobs(_CONTAINER, fast, durable))
        self._welcome = Welcome(
            VERSION, fast, durable, str(provider.folder / "bundles"), map_window
        )
        # Held for moments, never while user code runs: that may wait for other threads of its own.
        self._changed = Condition()
        self._refs = count(1)
        self._boxes: dict[int, Mailbox] = {}
        self._watches: dict[int, _Watch] = {}
        self._listeners: dict[int, tuple[str | None, Callable[[dict[str, Any]], None]]] = {}
        #: claimed, and not begun
        self._held: dict[str, deque[Claim]] = {}
        #: begun, by the number of the input
        self._running: dict[int, Claim] = {}
        self._slow: list[_Slow] = []
        #: (call, index) → which input of its function it is, and how many attempts it had
        self._numbers: dict[tuple[str, int], int] = {}
        self._tries: dict[tuple[str, int], int] = {}
        self._counts: dict[str, int] = {}
        #: app → whether each finished input returned
        self._done: dict[str, list[bool]] = {}
        self._specs: dict[str, CallSpec] = {}
        #: listener → what was printed since it was last told
        self._untold: dict[int, list[dict[str, Any]]] = {}

    def close(self) -> None:
        """End it."""
        self._code.close()

    def run_pending(self) -> int:
        """Run all that waits, however long it takes on the fake clock; return the attempts."""
        before = len(self.attempts)
        nobody = Mailbox()
        while self._go_on(nobody, None) is _Went.ON:
            pass
        return len(self.attempts) - before

    # ------------------------------------------------------------------------------- the port

    def ready(self) -> Steps[Welcome]:
        """See `Client`."""
        yield from ()
        return self._welcome

    def ask(self, op: str, **fields: Any) -> Steps[dict[str, Any]]:
        """See `Client`."""
        yield from ()
        operation = getattr(self, f"_op_{op}", None)
        if operation is None:
            raise errors.UnimplementedError(f"Offline runs know no operation {op!r}.")
        with self._changed:
            told: dict[str, Any] = operation(fields)
            return told

    def open(self, stream: Stream) -> int:
        """See `Client`."""
        ref = next(self._refs)
        self._boxes[ref] = stream.box
        return ref

    def submit(self, stream: Stream, body: bytes) -> None:
        """See `Client`."""
        stream.opened = True
        message = Submit.decode(body)
        with self._changed:
            try:
                self._admit(message)
            except Exception as error:  # noqa: BLE001 - a scripted failure is any exception
                self._watches.pop(message.ref, None)
                stream.box.put(FAILED, error)

    def attach(self, stream: Stream, ref: int, op: str, **fields: Any) -> None:
        """See `Client`."""
        stream.opened = True
        assert op == "call_attach"
        with self._changed:
            try:
                self._attach(ref, **fields)
            except errors.Error as error:
                told = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
                stream.box.put(RESUMED, {"error": told})

    def release(self, ref: int, *, tell: bool) -> None:
        """See `Client`."""
        with self._changed:
            self._boxes.pop(ref, None)
            self._listeners.pop(ref, None)
            watch = self._watches.pop(ref, None)
            if watch is not None and watch.owner and tell and not watch.durable:
                self._cancel(watch.call_id)
                self._kept(lambda: self._ledger.forget(watch.call_id))

    def delivered(self, ref: int, indices: Sequence[int], *, now: bool = False) -> None:
        """See `Client`."""
        with self._changed:
            watch = self._watches.get(ref)
            if watch is None or watch.durable or not watch.owner:
                return
            self._kept(lambda: self._ledger.delivered(watch.call_id, indices))
            watch.delivered += len(indices)
            if watch.sealed and watch.delivered >= watch.known:
                self._kept(lambda: self._ledger.forget(watch.call_id))
                self._provider.blobs.delete_call(watch.call_id)

    def arrival(self, box: Mailbox, timeout: float | None = None) -> Arrival:
        """See `Client`."""
        return Arrival(self, box, timeout)

    def poll(self) -> None:
        """See `Client`; nothing happens unless somebody waits for it."""

    def listen(
        self, op: str, fields: dict[str, Any], sink: Callable[[dict[str, Any]], None]
    ) -> int:
        """See `Client`."""
        ref = next(self._refs)
        self._listeners[ref] = (fields.get("app_id"), sink)
        return ref

    def keep(self, app_id: str) -> None:
        """See `Client`; there is no connection that could break."""

    def unkeep(self, app_id: str) -> None:
        """See `Client`."""

    # -------------------------------------------------------------------------------- waiting

    def wait_for(self, box: Mailbox, timeout: float | None) -> bool:
        """Run what is wanted until there is mail; False after `timeout` seconds of fake time."""
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        while not box.messages:
            match self._go_on(box, deadline):
                case _Went.BEYOND:
                    return False
                case _Went.ELSEWHERE:
                    with self._changed:
                        if not box.messages:
                            self._changed.wait(_LOOK)
                case _Went.ON:
                    continue
                case _Went.NOWHERE:
                    raise errors.ExecutionError(
                        "This waits for ever: what it waits for is the input that waits, or has "
                        "been cancelled for want of its client.",
                        hint="A function cannot wait for the call that it is part of.",
                    )
        return True

    async def wait_in_loop(self, box: Mailbox, timeout: float | None) -> bool:
        """Do the same, and let the event loop run in between."""
        from asyncio import Event, get_running_loop, sleep

        loop, arrived = get_running_loop(), Event()
        deadline = None if timeout is None else self.clock.monotonic() + timeout

        def wake() -> None:
            loop.call_soon_threadsafe(arrived.set)

        box.waker = wake
        try:
            while not box.messages:
                went = self._go_on(box, deadline)
                await sleep(0)
                if went is _Went.BEYOND:
                    break
                if went is not _Went.ON and not box.messages:
                    # Other tasks of this loop may be about to send inputs, or to outcomes.
                    await arrived.wait()
                arrived.clear()
            return bool(box.messages)
        finally:
            box.waker = None

    def _go_on(self, box: Mailbox, deadline: float | None) -> _Went:
        with self._changed:
            self._end_slow()
            if box.messages:
                return _Went.ON
            claim = self._claim_for(box)
            if claim is None:
                return self._pass_time(deadline)
            self._running[claim.seq] = claim
        self._begin(claim)
        return _Went.ON

    def _pass_time(self, deadline: float | None) -> _Went:
        if self._running.keys() - set(_here.get()):
            return _Went.ELSEWHERE
        now = self.clock.monotonic()
        moments = [slow.until for slow in self._slow]
        due = self._ledger.next_due(self.clock.wall())
        if due is not None:
            moments.append(now + due - self.clock.wall())
        until = min(moments, default=None)
        if until is not None and (deadline is None or until <= deadline):
            self.clock.advance(max(until - now, 0.0))
            left = 0.0 if due is None else due - self.clock.wall()
            if until > self.clock.monotonic() or 0 < left < _INSTANT:
                self.clock.advance(_INSTANT)  # the sum fell short of the moment, as floats do
            return _Went.ON
        if deadline is None:
            return _Went.NOWHERE
        self.clock.advance(max(deadline - now, 0.0))
        return _Went.BEYOND

    def _end_slow(self) -> None:
        now = self.clock.monotonic()
        for slow in [slow for slow in self._slow if slow.until <= now]:
            self._slow.remove(slow)
            self._conclude(slow.claim, slow.attempt, slow.end)

    # ------------------------------------------------------------------------------- claiming

    def _claim_for(self, box: Mailbox) -> Claim | None:
        """Claim what this one waits for; anything else only if that helps it on."""
        watches = [watch for watch in self._watches.values() if watch.box is box]
        wanted = list(dict.fromkeys(watch.call_id for watch in watches))
        claim = self._claim(wanted)
        if claim is not None or self._are_due(wanted):
            return claim
        return self._claim(None)

    def _are_due(self, calls: Iterable[str]) -> bool:
        """Whether inputs of these calls only wait for a time to come."""
        if any(slow.claim.call_id in calls for slow in self._slow):
            return True
        return any(Status.PENDING in self._ledger.statuses(call_id) for call_id in calls)

    def _claim(self, calls: Sequence[str] | None) -> Claim | None:
        for call_id in list(self._held) if calls is None else calls:
            if call_id in self._held:
                claims = self._held[call_id]
                claim = claims.popleft()
                if not claims:
                    del self._held[call_id]
                return claim
        for claim in self._claim_some(calls):
            self._held.setdefault(claim.call_id, deque()).append(claim)
        return self._claim(calls) if self._has(calls) else None

    def _has(self, calls: Sequence[str] | None) -> bool:
        return bool(self._held if calls is None else self._held.keys() & set(calls))

    def _claim_some(self, calls: Sequence[str] | None) -> list[Claim]:
        now = self.clock.wall()
        others: list[Claim] = []
        try:
            for pool in self._pools_of(calls):
                while claims := self._ledger.claim(pool, _SLICE, now):
                    if calls is None:
                        return claims
                    others += [claim for claim in claims if claim.call_id not in calls]
                    if mine := [claim for claim in claims if claim.call_id in calls]:
                        return mine
            return []
        finally:
            if others:
                self._ledger.give_back([(claim.seq, claim.fence) for claim in others])

    def _pools_of(self, calls: Sequence[str] | None) -> list[str]:
        if calls is None:
            return self._ledger.pools()
        records = filter(None, map(self._ledger.call, calls))
        return list(dict.fromkeys(record.spec.pool for record in records))

    # -------------------------------------------------------------------------------- running

    def _begin(self, claim: Claim) -> None:
        pool = self._pools[claim.pool]
        attempt = self._new_attempt(claim, pool)
        step = self._script.step(attempt.function, attempt.number, attempt.attempt)
        outside = _here.set((*_here.get(), claim.seq))
        end: _End | None = None
        try:
            started = self.clock.monotonic()
            end = self._run(claim, pool, step)
            if self.clock.monotonic() - started > pool.spec.timeout:
                end = TimedOut(pool.spec.timeout)
        finally:
            _here.reset(outside)
            with self._changed:
                del self._running[claim.seq]
                self._after(claim, attempt, pool, step, end)
                self._changed.notify_all()
        self._tell_listeners(pool.app_id)

    def _new_attempt(self, claim: Claim, pool: Pool) -> Attempt:
        key = claim.call_id, claim.index
        payload = claim.payload
        attempt = Attempt(
            pool.spec.name,
            self._numbers[key],
            self._tries.get(key, 0),
            "running",
            lambda: self._code.arguments(payload),
        )
        self._tries[key] = attempt.attempt + 1
        self.attempts.append(attempt)
        return attempt

    def _run(self, claim: Claim, pool: Pool, step: Step) -> _End:
        scripted = self._scripted(pool, step)
        if scripted is not None:
            return scripted
        status, payload = self._code.run(
            pool.spec,
            pool.module,
            (claim.seq, claim.fence),
            claim.payload,
            lambda source, text: self._print(claim, pool, source, text),
            quiet=bool(self._sinks(pool.app_id)),
        )
        if step == "lose late":
            return ContainerLost("the script of the test took its container")
        return _Returned(payload) if status == Status.RETURNED else Raised(payload)

    def _scripted(self, pool: Pool, step: Step) -> _End | None:
        """Return how an attempt ends whose step leaves user code out."""
        match step:
            case "die":
                return Crashed("the script of the test let it die")
            case "lose":
                return ContainerLost("the script of the test took its container")
            case "timeout":
                return TimedOut(pool.spec.timeout)
            case "raise":
                error = ScriptedError(f"{pool.spec.name} failed by script")
                return Raised(self._code.failed(error, pool.module))
            case BaseException():
                return Raised(self._code.failed(step, pool.module))
            case type():
                return Raised(self._code.failed(step(), pool.module))
            case _:
                return None

    def _after(
        self, claim: Claim, attempt: Attempt, pool: Pool, step: Step, end: _End | None
    ) -> None:
        """An attempt ended, or takes its time, or was interrupted at the keyboard."""
        if end is None:
            self._ledger.give_back([(claim.seq, claim.fence)])
            return
        seconds = 0.0
        if step == "timeout":
            seconds = pool.spec.timeout
        elif isinstance(step, (int, float)):
            seconds = step
            if step > pool.spec.timeout:
                seconds, end = pool.spec.timeout, TimedOut(pool.spec.timeout)
        if seconds > 0:
            self._slow.append(_Slow(self.clock.monotonic() + seconds, claim, attempt, end))
            return
        self._conclude(claim, attempt, end)

    def _conclude(self, claim: Claim, attempt: Attempt, end: _End) -> None:
        attempt.ended = _ENDED[type(end)]
        if isinstance(end, _Returned):
            self._record(claim, Status.RETURNED, end.payload)
            return
        pool = self._pools[claim.pool]
        verdict = settle(claim.counters, end, pool.spec.retries)
        if isinstance(verdict, Again):
            not_before = self.clock.wall() + verdict.delay if verdict.delay else 0.0
            self._kept(
                lambda: self._ledger.retry(
                    claim.seq, claim.fence, verdict.counters, not_before, alone=verdict.alone
                )
            )
            return
        payload = verdict.payload or _failure(pool, claim, verdict.status, verdict.reason, end)
        self._record(claim, verdict.status, payload)

    def _record(self, claim: Claim, status: Status, payload: bytes) -> None:
        if is_blob(payload):
            ref, durable = BlobRef.decode(payload), self._specs[claim.call_id].durable
            payload = self._provider.blobs.adopt(ref, claim.call_id, durable=durable).encode()
        entry = Entry(claim.seq, claim.fence, status, payload)
        if self._kept(lambda: self._ledger.record([entry]))[0]:
            self._done.setdefault(self._pools[claim.pool].app_id, []).append(
                status == Status.RETURNED
            )
            self._deliver(claim.call_id, [claim.index], [status], [payload])
            self._feed_starved()

    def _kept(self, write: Callable[[], T]) -> T:
        """Write and commit, again where a scripted failure hits."""
        for _ in range(_TRIES - 1):
            try:
                result = write()
                self._ledger.commit()
                return result
            except Exception:  # noqa: BLE001, S112 - a scripted failure is any exception
                continue
        result = write()
        self._ledger.commit()
        return result

    # --------------------------------------------------------------------------------- output

    def _print(self, claim: Claim, pool: Pool, source: Source, text: str) -> None:
        if not text:
            return
        self._provider.logs.write(
            LogEntry(
                self.clock.wall(),
                pool.app_id,
                pool.app_name,
                pool.spec.name,
                _CONTAINER,
                claim.call_id,
                ids.input_id(claim.call_id, claim.index),
                source,
                text,
            )
        )
        for ref, _ in self._sinks(pool.app_id):
            self._untold.setdefault(ref, []).append({"source": source, "text": text})

    def _tell_listeners(self, app_id: str) -> None:
        for ref, sink in self._sinks(app_id):
            entries = self._untold.pop(ref, [])
            if entries:
                sink({"ref": ref, "entries": entries})

    def _sinks(self, app_id: str) -> list[tuple[int, Callable[[dict[str, Any]], None]]]:
        return [
            (ref, sink)
            for ref, (wanted, sink) in self._listeners.items()
            if wanted in (None, app_id)
        ]

    # ------------------------------------------------------------------- operations of `ask`

    def _op_app_open(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._pools.open(fields)

    def _op_app_close(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._pools.close(fields["app_id"])
        done = self._done.pop(fields["app_id"], [])
        return {"containers_peak": int(bool(done)), "done": len(done), "failed": done.count(False)}

    def _op_app_stop(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._pools.end(fields["name"])
        return {}

    def _op_app_list(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"apps": self._pools.list(stopped=bool(fields.get("all")))}

    def _op_function_lookup(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._pools.look_up(fields["app"], fields["name"])

    def _op_settings_get(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._pools.settings(fields["function_id"])

    def _op_settings_update(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._pools.update_settings(fields["function_id"], fields["changes"])

    def _op_stats(self, fields: dict[str, Any]) -> dict[str, Any]:
        pool = self._pools.live(fields["function_id"])
        counts = self._ledger.counts(pool.name)
        held = sum(each.pool == pool.name for claims in self._held.values() for each in claims)
        running = counts.running - held
        return {
            "backlog": counts.pending + counts.delayed + held,
            "num_total_runners": running,
            "num_running_inputs": running,
            "input_headroom": 0,
        }

    def _op_call_cancel(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._known(fields["call"])
        self._cancel(fields["call"])
        return {}

    def _op_call_info(self, fields: dict[str, Any]) -> dict[str, Any]:
        record = self._known(fields["call"])
        return {
            "call": record.spec.call_id,
            "known": record.known,
            "sealed": record.sealed,
            "finished": record.finished,
            "failed": record.failed,
            "cancelled": record.cancelled,
        }

    def _op_call_graph(self, fields: dict[str, Any]) -> dict[str, Any]:
        nodes: list[dict[str, Any]] = []
        queue = deque([self._known(fields["call"])])
        while queue:
            record = queue.popleft()
            nodes += self._nodes(record)
            queue += self._ledger.children(record.spec.call_id)
        return {"nodes": nodes}

    def _nodes(self, record: CallRecord) -> list[dict[str, Any]]:
        pool, parent = self._pools[record.spec.pool], record.spec.parent
        call_id = record.spec.call_id
        return [
            {
                "call": call_id,
                "index": index,
                "input_id": ids.input_id(call_id, index),
                "status": status.name,
                "function_name": pool.spec.name,
                "module_name": pool.spec.module,
                "container": _CONTAINER if status == Status.RUNNING else "",
                "parent": ids.input_id(*parent) if parent else None,
            }
            for index, status in enumerate(self._ledger.statuses(call_id))
        ]

    def _op_input_current(self, fields: dict[str, Any]) -> dict[str, Any]:
        claim = self._running.get(fields["seq"])
        if claim is None:
            raise errors.NotFoundError("That input does not run any more.")
        input_id = ids.input_id(claim.call_id, claim.index)
        return {"call": claim.call_id, "index": claim.index, "input_id": input_id}


class Arrival:
    """The step that waits for mail."""

    __slots__ = ("_box", "_client", "_timeout")

    def __init__(self, client: OfflineClient, box: Mailbox, timeout: float | None) -> None:
        self._client = client
        self._box = box
        self._timeout = timeout

    def block(self) -> bool:
        """Run what is wanted meanwhile."""
        return self._client.wait_for(self._box, self._timeout)

    async def wait(self) -> bool:
        """Do the same, and let the event loop run in between."""
        return await self._client.wait_in_loop(self._box, self._timeout)


def _failure(pool: Pool, claim: Claim, status: Status, reason: str, end: _End) -> bytes:
    """Return the payload of an outcome that user code did not write itself."""
    if status == Status.TIMED_OUT:
        kind, hint = "FunctionTimeoutError", "Give the function a longer `timeout`."
    elif isinstance(end, Crashed):
        kind, hint = "ContainerCrashed", "The script of the test says so."
    else:
        kind, hint = "InputLost", "The script of the test says so."
    name = f"{pool.spec.name}, input {claim.index} of {claim.call_id}"
    return encode_json({"error": kind, "message": f"{name}: {reason}.", "hint": hint})
