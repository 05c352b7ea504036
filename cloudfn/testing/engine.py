"""Runs the inputs of an offline run: claims them, lets code and script decide, settles the end.

Time passes on a fake clock alone: to the end of a retry's delay or of a slow attempt, when nothing
else is left to do for the one who waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from threading import Condition

from cloudfn.control.schedules.agenda import Agenda
from cloudfn.model.call import (
    OVERDUE,
    Again,
    ContainerLost,
    Crashed,
    Overran,
    Raised,
    Status,
    TimedOut,
    settle,
)
from cloudfn.providers.ledger import Claim
from cloudfn.sdk.client import Mailbox
from cloudfn.testing.attempts import ENDED, Attempt, End, Returned, end_of, failure
from cloudfn.testing.calls import OfflineCalls
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.generators import Generation
from cloudfn.testing.inprocess import InProcess
from cloudfn.testing.output import Output
from cloudfn.testing.pools import Pool, Pools
from cloudfn.testing.provider import MemoryProvider
from cloudfn.testing.schedules import OfflineSchedules
from cloudfn.testing.script import Script, ScriptedError, Step
from cloudfn.testing.stores import OfflineStores
from cloudfn.wire.codec import no_arguments
from cloudfn.wire.messages import BlobRef, is_blob
from cloudfn.worker.blobs import Blobs

#: id of the one container that everything runs in
CONTAINER = "offline"

#: inputs claimed at a time
_SLICE = 64
#: seconds by which a sum of times may fall short of what it should be
INSTANT = 1e-6

#: the inputs that this thread or task is running, the innermost last
_here: ContextVar[tuple[int, ...]] = ContextVar("cloudfn_offline_inputs", default=())


@dataclass(frozen=True, slots=True)
class _Slow:
    """An attempt that takes until a time of the fake clock."""

    until: float
    claim: Claim
    attempt: Attempt
    end: End


@dataclass(slots=True, eq=False)
class _Generator:
    """A generator that somebody reads."""

    generation: Generation
    attempt: Attempt
    step: Step


class Went(Enum):
    """What came of going on."""

    ON = "something happened"
    BEYOND = "the deadline passed"
    ELSEWHERE = "another thread runs an input"
    NOWHERE = "nothing can happen any more"


class OfflineEngine:
    """Everything below the `Client` of an offline run.

    Args:
        provider: Where everything is kept.
        stores: What programs share.
        clock: The time; it is moved from here.
        script: What attempts meet.
    """

    def __init__(
        self, provider: MemoryProvider, stores: OfflineStores, clock: FakeClock, script: Script
    ) -> None:
        self._stores = stores
        self.clock = clock
        #: every attempt so far, in the order in which they began
        self.attempts: list[Attempt] = []
        #: held for moments, never while user code runs: that may wait for other threads of its own
        self.changed = Condition()
        #: begun, by the number of the input
        self.running: dict[int, Claim] = {}
        agenda = Agenda(provider.schedules)
        self.pools = Pools(provider.catalog, clock, self._end_inputs, agenda)
        self.calls = OfflineCalls(provider, self.pools, clock, self.running, self._drop)
        self.schedules = OfflineSchedules(
            agenda, self.pools, self.calls, provider.ledger, clock, no_arguments
        )
        self._provider = provider
        self._ledger = provider.ledger
        self._script = script
        fast, durable = str(provider.folder / "fast"), str(provider.folder / "durable")
        self._code = InProcess(Blobs(CONTAINER, fast, durable))
        #: claimed, and not begun
        self._held: dict[str, deque[Claim]] = {}
        self._slow: list[_Slow] = []
        #: generators that have not ended, by call, and those whose reader is gone
        self._generators: dict[str, _Generator] = {}
        self._dropped: list[_Generator] = []
        #: (call, index) → how many attempts it had
        self._tries: dict[tuple[str, int], int] = {}
        #: app → whether each finished input returned
        self._done: dict[str, list[bool]] = {}
        self.output = Output(provider.logs, clock, CONTAINER)

    def close(self) -> None:
        """End it."""
        for call_id in list(self._generators):
            self._drop(call_id)
        self.close_generators()
        self._code.close()

    def held(self, pool: str) -> int:
        """Return how many inputs of a pool are claimed, and not begun."""
        return sum(claim.pool == pool for claims in self._held.values() for claim in claims)

    def take_summary(self, app_id: str) -> dict[str, int]:
        """Return what an app did, and forget it."""
        done = self._done.pop(app_id, [])
        return {"containers_peak": int(bool(done)), "done": len(done), "failed": done.count(False)}

    def run_pending(self) -> int:
        """Run all that waits or is due, however long it takes on the fake clock.

        Returns:
            How many attempts it took.
        """
        before = len(self.attempts)
        nobody = Mailbox()
        self.fire()
        while self.go_on(nobody, None) is Went.ON:
            pass
        return len(self.attempts) - before

    def fire(self) -> None:
        """Do what is due by schedule."""
        with self.changed:
            self.schedules.fire()

    def _end_inputs(self, function_id: str) -> None:
        self.calls.end_inputs(function_id)

    def _drop(self, call_id: str) -> None:
        """Claims of a call are void."""
        self._held.pop(call_id, None)
        self._slow = [slow for slow in self._slow if slow.claim.call_id != call_id]
        generator = self._generators.pop(call_id, None)
        if generator is not None:
            self._dropped.append(generator)

    def close_generators(self) -> None:
        """Let those end whose reader is gone; not while anything is held, since user code runs."""
        while self._dropped:
            generator = self._dropped.pop()
            generator.attempt.ended = "closed"
            generator.generation.close()

    # ------------------------------------------------------------------------------- going on

    def go_on(self, box: Mailbox, deadline: float | None) -> Went:
        """Do the next thing for the one who waits at `box`: run an attempt, or let time pass.

        Args:
            box: Where the mail goes that is waited for.
            deadline: Until when, on the monotonic clock; None for ever.
        """
        with self.changed:
            self._end_slow()
            self._end_overdue()
            if box.messages:
                return Went.ON
            generator = self._generator_of(box)
            claim = generator.generation.claim if generator else self._claim_for(box)
            if claim is None:
                return self._pass_time(deadline)
            self.running[claim.seq] = claim
        if generator is not None:
            self._go_on_with(generator)
        else:
            self._begin(claim)
        return Went.ON

    def _generator_of(self, box: Mailbox) -> _Generator | None:
        """Return the generator that this one reads, unless another thread is at it."""
        found = (self._generators.get(call_id) for call_id in self.calls.wanted_by(box))
        idle = (each for each in found if each and each.generation.claim.seq not in self.running)
        return next(idle, None)

    def _pass_time(self, deadline: float | None) -> Went:
        if self.running.keys() - set(_here.get()):
            return Went.ELSEWHERE
        now = self.clock.monotonic()
        moments = [slow.until for slow in self._slow]
        due = self._ledger.next_due(self.clock.wall())
        if due is not None:
            moments.append(now + due - self.clock.wall())
        until = min(moments, default=None)
        if until is not None and (deadline is None or until <= deadline):
            self.clock.advance(max(until - now, 0.0))
            left = 0.0 if due is None else due - self.clock.wall()
            if until > self.clock.monotonic() or 0 < left < INSTANT:
                self.clock.advance(INSTANT)  # the sum fell short of the moment, as floats do
            return Went.ON
        if deadline is None:
            return Went.NOWHERE
        self.clock.advance(max(deadline - now, 0.0))
        return Went.BEYOND

    def _end_slow(self) -> None:
        now = self.clock.monotonic()
        for slow in [slow for slow in self._slow if slow.until <= now]:
            self._slow.remove(slow)
            self._conclude(slow.claim, slow.attempt, slow.end)

    def _end_overdue(self) -> None:
        for claim in self._ledger.overdue(self.clock.wall()):
            pool = self.pools[claim.pool]
            self._record(claim, Status.TIMED_OUT, failure(pool, claim, OVERDUE, Overran()))

    # ------------------------------------------------------------------------------- claiming

    def _claim_for(self, box: Mailbox) -> Claim | None:
        """Claim what this one waits for; anything else only if that helps it on."""
        wanted = self.calls.wanted_by(box)
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
        pool = self.pools[claim.pool]
        attempt = self._new_attempt(claim, pool)
        step = self._script.step(attempt.function, attempt.number, attempt.attempt)
        if self._code.yields(pool, claim.payload) and self._scripted(pool, step) is None:
            self._go_on_with(self._new_generator(claim, attempt, pool, step))
            return
        outside = _here.set((*_here.get(), claim.seq))
        end: End | None = None
        try:
            started = self.clock.monotonic()
            end = self._run(claim, pool, step)
            if self.clock.monotonic() - started > pool.spec.timeout:
                end = TimedOut(pool.spec.timeout)
        finally:
            _here.reset(outside)
            with self.changed:
                del self.running[claim.seq]
                self._after(claim, attempt, pool, step, end)
                self.changed.notify_all()
        self.output.tell(pool.app_id)

    def _new_generator(self, claim: Claim, attempt: Attempt, pool: Pool, step: Step) -> _Generator:
        generation = Generation(
            self._code,
            self._equipped(pool),
            claim,
            self.clock.monotonic(),
            lambda source, text: self.output.print(claim, pool, source, text),
            lambda: self.output.is_heard(pool.app_id),
        )
        return _Generator(generation, attempt, step)

    def _go_on_with(self, generator: _Generator) -> None:
        """Have a generator yield once more, or end."""
        generation, claim = generator.generation, generator.generation.claim
        pool = generation.pool
        outside = _here.set((*_here.get(), claim.seq))
        told: bytes | Raised | None = None
        try:
            told = generation.step()
            if self.clock.monotonic() - generation.started > pool.spec.timeout:
                generation.close()
        finally:
            _here.reset(outside)
            with self.changed:
                del self.running[claim.seq]
                self._after_step(generator, told)
                self.changed.notify_all()
        self.output.tell(pool.app_id)

    def _after_step(self, generator: _Generator, told: bytes | Raised | None) -> None:
        generation, claim = generator.generation, generator.generation.claim
        pool = generation.pool
        late = self.clock.monotonic() - generation.started > pool.spec.timeout
        if isinstance(told, bytes) and not generation.over:
            self._generators[claim.call_id] = generator
            self.calls.yielded(claim, generation.length - 1, told)
            return
        self._generators.pop(claim.call_id, None)
        end: End | None = None
        if late:
            end = TimedOut(pool.spec.timeout)
        elif told is not None:
            end = end_of(generator.step, told)
        self._after(claim, generator.attempt, pool, generator.step, end)

    def _new_attempt(self, claim: Claim, pool: Pool) -> Attempt:
        key = claim.call_id, claim.index
        payload = claim.payload
        attempt = Attempt(
            self._code.name_of(pool, payload),
            self.calls.number(claim),
            self._tries.get(key, 0),
            "running",
            lambda: self._code.arguments(payload),
        )
        self._tries[key] = attempt.attempt + 1
        self.attempts.append(attempt)
        return attempt

    def _run(self, claim: Claim, pool: Pool, step: Step) -> End:
        scripted = self._scripted(pool, step)
        if scripted is not None:
            return scripted
        end = self._code.run(
            self._equipped(pool),
            (claim.seq, claim.fence),
            claim.payload,
            lambda source, text: self.output.print(claim, pool, source, text),
            quiet=self.output.is_heard(pool.app_id),
        )
        return end_of(step, end)

    def _equipped(self, pool: Pool) -> Pool:
        """Return a pool whose variables are those that its containers would have."""
        if not pool.spec.secrets:
            return pool
        secrets = self._stores.secrets.variables(pool.spec.secrets)
        return replace(pool, spec=replace(pool.spec, env={**secrets, **pool.spec.variables}))

    def _scripted(self, pool: Pool, step: Step) -> End | None:
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
                return self._code.failed(error, pool.spec, pool.module)
            case BaseException():
                return self._code.failed(step, pool.spec, pool.module)
            case type():
                return self._code.failed(step(), pool.spec, pool.module)
            case _:
                return None

    def _after(
        self, claim: Claim, attempt: Attempt, pool: Pool, step: Step, end: End | None
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
        left = _left(claim, self.clock)
        if seconds > left:
            seconds, end = left, Overran()
        if seconds > 0:
            self._slow.append(_Slow(self.clock.monotonic() + seconds, claim, attempt, end))
            return
        self._conclude(claim, attempt, end)

    def _conclude(self, claim: Claim, attempt: Attempt, end: End) -> None:
        attempt.ended = ENDED[type(end)]
        if isinstance(end, Returned):
            self._record(claim, Status.RETURNED, end.payload)
            return
        pool = self.pools[claim.pool]
        verdict = settle(claim.counters, end, pool.spec.retries, left=_left(claim, self.clock))
        if isinstance(verdict, Again):
            not_before = self.clock.wall() + verdict.delay if verdict.delay else 0.0
            self.calls.kept(
                lambda: self._ledger.retry(
                    claim.seq, claim.fence, verdict.counters, not_before, alone=verdict.alone
                )
            )
            return
        payload = verdict.payload or failure(pool, claim, verdict.reason, end)
        self._record(claim, verdict.status, payload)

    def _record(self, claim: Claim, status: Status, payload: bytes) -> None:
        if is_blob(payload):
            ref, durable = BlobRef.decode(payload), self.calls.is_durable(claim.call_id)
            payload = self._provider.blobs.adopt(ref, claim.call_id, durable=durable).encode()
        if self.calls.record(claim, status, payload):
            done = self._done.setdefault(self.pools[claim.pool].app_id, [])
            done.append(status == Status.RETURNED)


def _left(claim: Claim, clock: FakeClock) -> float:
    """Return the seconds until a claim's deadline."""
    return inf if claim.deadline is None else max(claim.deadline - clock.wall(), 0.0)
