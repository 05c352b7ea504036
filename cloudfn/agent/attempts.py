"""How attempts end: outcomes are recorded, failures settled, waiting inputs given up."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import compress
from math import inf

from cloudfn.agent.pool import Pool, PoolSpec
from cloudfn.agent.ports import AgentEvents, Claims
from cloudfn.clock import Clock
from cloudfn.errors import Error, ExecutionError
from cloudfn.model.call import Again, Crashed, Ending, Finish, Overran, Raised, Status, settle
from cloudfn.providers.ledger import Claim, Entry
from cloudfn.wire.messages import RAISED_FINAL, ContainerOutcome, encode_json, is_blob

_STATUSES = tuple(Status)
_RETURNED = Status.RETURNED
_RAISED = frozenset({int(Status.RAISED), RAISED_FINAL})
#: inputs that are given up at a time when no container can start
_GIVEN_UP_AT_ONCE = 10_000


class Attempts:
    """Writes to the ledger what became of the inputs that containers hold."""

    def __init__(self, ledger: Claims, events: AgentEvents, clock: Clock) -> None:
        self._ledger = ledger
        self._events = events
        self._clock = clock
        self._random = random.Random()

    def record(self, entries: list[Entry], claims: list[Claim], pool: Pool) -> None:
        """Record outcomes, and tell whoever waits for them."""
        if not entries:
            return
        verdicts = self._ledger.record(entries)
        ended = list(zip(claims, entries, strict=True))
        if not all(verdicts):
            for (_, entry), recorded in zip(ended, verdicts, strict=True):
                if not recorded and is_blob(entry.payload):
                    self._events.discarded(entry.payload)
            ended = list(compress(ended, verdicts))
        pool.done += len(ended)
        pool.failed += sum(entry.status != _RETURNED for _, entry in ended)
        self._events.recorded(ended)

    def conclude(self, pool: Pool, ended: Iterable[tuple[Claim, ContainerOutcome]]) -> None:
        """Record what attempts came to that user code ended; settle those that raised."""
        entries: list[Entry] = []
        claims: list[Claim] = []
        for claim, outcome in ended:
            if outcome.status in _RAISED:
                final = outcome.status == RAISED_FINAL
                self.record(entries, claims, pool)
                self.settle(pool, claim, Raised(outcome.payload, final))
                entries, claims = [], []
            else:
                entries.append(self._entry(claim, outcome))
                claims.append(claim)
        self.record(entries, claims, pool)

    def settle(self, pool: Pool, claim: Claim, ending: Ending) -> None:
        """Carry out what follows from an attempt that did not return."""
        left = inf if claim.deadline is None else claim.deadline - self._clock.wall()
        retries = pool.spec.function.retries
        verdict = settle(claim.counters, ending, retries, self._random.random(), left)
        match verdict:
            case Again(counters, delay, alone):
                not_before = self._clock.wall() + delay if delay else 0.0
                self._ledger.retry(claim.seq, claim.fence, counters, not_before, alone=alone)
                pool.hurry |= alone
                if delay:
                    self._events.delayed()
                self._events.changed()
            case Finish(_, status, payload, reason):
                body = payload or _failure(pool.spec, claim, status, reason, ending)
                entry = Entry(claim.seq, claim.fence, status, body)
                self.record([entry], [claim], pool)

    def _entry(self, claim: Claim, outcome: ContainerOutcome) -> Entry:
        """Return what is recorded for an attempt that user code ended."""
        payload, status = outcome.payload, _STATUSES[outcome.status]
        if is_blob(payload):
            try:
                payload = self._events.adopt(claim, payload)
            except Error as error:
                return _unable(claim, error)
        return Entry(claim.seq, claim.fence, status, payload)

    def fail(self, pool: Pool, claim: Claim, error: Error) -> None:
        """End an input with an error of ours, while user code may still run."""
        self.record([_unable(claim, error)], [claim], pool)

    def fail_waiting(self, pool: Pool, reason: str, packed: bytes) -> None:
        """No container of the pool can start: end its waiting inputs with the reason."""
        failure = start_failure(pool.spec, reason)
        claims = self._ledger.claim(pool.spec.pool, _GIVEN_UP_AT_ONCE, self._clock.wall())
        while claims:
            entries = [
                Entry(c.seq, c.fence, Status.RAISED, packed) if packed else _unable(c, failure)
                for c in claims
            ]
            self.record(entries, claims, pool)
            claims = self._ledger.claim(pool.spec.pool, _GIVEN_UP_AT_ONCE, self._clock.wall())

    def give_back(self, claims: Iterable[Claim]) -> None:
        """Return inputs that never started."""
        self._ledger.give_back([(claim.seq, claim.fence) for claim in claims])


def _unable(claim: Claim, error: Error) -> Entry:
    """Return the outcome of an input that we cannot carry on with."""
    body = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    return Entry(claim.seq, claim.fence, Status.LOST, encode_json(body))


def _failure(spec: PoolSpec, claim: Claim, status: Status, reason: str, ending: Ending) -> bytes:
    """Return the payload that explains an outcome which user code did not write itself."""
    name = f"{spec.shown}, input {claim.index} of {claim.call_id}"
    if isinstance(ending, Overran):
        kind, hint = "DeadlineExceededError", "Spawn it again with a later `deadline`."
    elif status == Status.TIMED_OUT:
        kind, hint = "FunctionTimeoutError", "Give the function a longer `timeout`."
    elif isinstance(ending, Crashed):
        kind, hint = (
            "ContainerCrashed",
            f"See `cloudfn call get {claim.call_id}` and the app's logs.",
        )
    else:
        kind, hint = "InputLost", "See `cloudfn app logs` for what happened to its containers."
    return encode_json({"error": kind, "message": f"{name}: {reason}.", "hint": hint})


def start_failure(spec: PoolSpec, reason: str) -> ExecutionError:
    """Return what those are told whose function has no container that starts."""
    return ExecutionError(
        f"No container of {spec.shown} can start: {reason}.",
        hint="See `cloudfn app logs` for what it printed.",
    )
