"""A Ledger in memory: strict, simple and slow, with a knob for the next failure. No I/O.

It is the oracle of the contract suite: every rule stands here once, plainly, over a list of inputs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, zip_longest

from cloudfn.errors import ConflictError, NotFoundError
from cloudfn.model.call import Again, ContainerLost, Counters, Status, settle
from cloudfn.providers.endings import cancelled_payload, lost_payload
from cloudfn.providers.ledger import (
    Admission,
    CallRecord,
    CallSpec,
    Claim,
    DeadLetter,
    Entry,
    Outcome,
    PoolCounts,
)
from cloudfn.settings import Limits
from cloudfn.testing.memory_records import Call, Input, Undo

_FENCES_PER_EPOCH = 1 << 10


class MemoryLedger:
    """The Ledger port without a disk; `crash` and `fail_next` do what happens to one.

    Args:
        limits: How many inputs a function may have.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._calls: dict[str, Call] = {}
        self._undo = Undo({})
        self._now = 0.0
        self._next_seq = 1
        self._epoch = 1
        self._turn: defaultdict[str, int] = defaultdict(int)
        self._level_turn: defaultdict[str, int] = defaultdict(int)
        self._failures: defaultdict[str, list[Exception]] = defaultdict(list)

    # Knobs

    def fail_next(self, method: str, error: Exception) -> None:
        """Let the next call of a method raise; for `commit`, everything is undone first."""
        self._failures[method].append(error)

    def crash(self, now: float = 0.0) -> None:
        """Die without a commit and come back: what ran then was lost once."""
        self._rollback()
        self._epoch += 1
        self._now = now
        for one in self._inputs(Status.RUNNING):
            self._lose(one)
        self._stamp(now)
        self.commit()

    def _lose(self, one: Input) -> None:
        if one.call.cancelled:
            self._finish(one, Status.CANCELLED, cancelled_payload(one.call.spec.call_id))
            return
        self._undo.keep(one)
        verdict = settle(one.counters, ContainerLost("its agent died"), None)
        one.counters, one.status, one.not_before = verdict.counters, Status.PENDING, 0.0
        if not isinstance(verdict, Again):
            payload = lost_payload(one.call.spec.call_id, one.index, verdict.reason)
            self._finish(one, verdict.status, payload)

    # The port

    def submit(
        self,
        call: CallSpec,
        first: int,
        payloads: Sequence[bytes],
        *,
        sealed: bool,
        now: float,
        digests: Sequence[bytes] = (),
    ) -> Admission:
        self._begin("submit", now)
        known = self._calls.get(call.call_id)
        have = len(known.inputs) if known else 0
        if known and known.spec.function_id != call.function_id:
            raise ConflictError(f"Call {call.call_id} is one of another function.")
        if first > have:
            return Admission(have)
        reaches_end = first + len(payloads) >= have
        payloads = payloads[have - first :]
        if known and known.sealed and payloads:
            raise ConflictError(f"Call {call.call_id} is sealed.")
        free, reason = self._room(call)
        if known and known.cancelled:
            free = len(payloads)
        refused = reason if free < len(payloads) else ""
        if refused and not free and not known:
            return Admission(0, refused)
        target = known or self._add_call(call)
        self._extend(target, payloads[:free], sealed=sealed and reaches_end and not refused)
        digests = digests[: max(len(target.inputs) - first, 0)]
        target.digests += tuple(digests[len(target.digests) - first :])
        return Admission(len(target.inputs), refused)

    def _add_call(self, spec: CallSpec) -> Call:
        call = Call(spec)
        self._calls = {**self._calls, spec.call_id: call}
        return call

    def _extend(self, call: Call, payloads: Sequence[bytes], *, sealed: bool) -> None:
        self._undo.keep(call)
        start = len(call.inputs)
        added = tuple(
            Input(
                self._next_seq + offset,
                call,
                start + offset,
                payload,
                not_before=call.spec.terms.not_before if call.spec.terms else 0.0,
            )
            for offset, payload in enumerate(payloads)
        )
        self._next_seq += len(added)
        call.inputs += added
        call.sealed = call.sealed or sealed
        for one in added:
            if one.index in call.settled:
                one.status, one.outcome = call.settled[one.index]
        for one in added if call.cancelled else ():
            self._finish(one, Status.CANCELLED, cancelled_payload(call.spec.call_id))

    def _room(self, spec: CallSpec) -> tuple[int, str]:
        spawn, limits = spec.kind.durable, self._limits
        mine = [
            one.status
            for one in self._inputs(Status.PENDING, Status.RUNNING)
            if one.call.spec.function_id == spec.function_id and one.call.spec.kind.durable == spawn
        ]
        waiting = mine.count(Status.PENDING)
        name = f"function {spec.function_id}"
        if spawn:
            reason = f"{waiting} pending spawned inputs, the limit is {limits.spawn_pending}"
            return max(limits.spawn_pending - waiting, 0), f"{name} has {reason}"
        free, free_in_total = limits.pending - waiting, limits.total - len(mine)
        if free <= free_in_total:
            reason = f"{waiting} pending inputs, the limit is {limits.pending}"
            return max(free, 0), f"{name} has {reason}"
        return max(free_in_total, 0), f"{name} has {len(mine)} inputs, the limit is {limits.total}"

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        self._begin("claim", now)
        waiting = [
            one
            for one in self._inputs(Status.PENDING)
            if one.call.spec.pool == pool and one.not_before <= now and not one.is_late(now)
        ]
        self._turn[pool] += 1
        chosen = self._choose(pool, waiting, limit)
        return [self._claim(one) for one in chosen]

    def overdue(self, now: float) -> list[Claim]:
        self._begin("overdue", now)
        return [self._claim(one) for one in self._inputs(Status.PENDING) if one.is_late(now)]

    def _choose(self, pool: str, waiting: Iterable[Input], limit: int) -> list[Input]:
        """Take calls in turns, and the two kinds of calls too; an `alone` input comes alone."""
        turn = self._turn[pool]
        alone: list[Input] = []
        others: dict[Call, list[Input]] = {}
        spawned: defaultdict[int, dict[Call, list[Input]]] = defaultdict(dict)
        for one in waiting:
            spec = one.call.spec
            if one.alone:
                alone.append(one)
            elif spec.kind.durable:
                priority = spec.terms.priority if spec.terms else 0
                spawned[priority].setdefault(one.call, []).append(one)
            else:
                others.setdefault(one.call, []).append(one)
        if alone and limit > 0 and (turn % 2 or not (others or spawned)):
            return alone[:1]
        levels = self._levels(pool, sorted(spawned, reverse=True))
        sides = [
            list(_in_turns(list(others.values()))),
            [one for level in levels for one in _in_turns(list(spawned[level].values()))],
        ]
        # With an `alone` input waiting, only every other turn comes here.
        if (turn // 2 if alone else turn) % 2:
            sides.reverse()
        return list(_in_turns(sides))[: max(limit, 0)]

    def _levels(self, pool: str, levels: list[int]) -> list[int]:
        """Return priorities in order; in one turn of eight, a lower one is first."""
        if len(levels) > 1:
            self._level_turn[pool] += 1
            turn, rest = divmod(self._level_turn[pool], 8)
            if not rest:
                levels.insert(0, levels.pop(1 + turn % (len(levels) - 1)))
        return levels

    def _claim(self, one: Input) -> Claim:
        self._undo.keep(one)
        one.status = Status.RUNNING
        one.fence = max(one.fence + 1, self._epoch * _FENCES_PER_EPOCH)
        spec = one.call.spec
        return Claim(
            one.seq,
            one.fence,
            spec.pool,
            spec.call_id,
            one.index,
            one.payload,
            one.counters,
            one.alone,
            spec.durable,
            one.deadline,
        )

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        self._begin("give_back")
        return [self._release(seq, fence) is not None for seq, fence in claims]

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        self._begin("retry")
        one = self._release(seq, fence)
        if one is None:
            return False
        if not one.status.terminal:
            one.counters, one.not_before, one.alone = counters, not_before, alone
        return True

    def _release(self, seq: int, fence: int) -> Input | None:
        """RUNNING → PENDING, or CANCELLED if the call is, for a claim that is not superseded."""
        one = self._held(seq, fence)
        if one is None:
            return None
        self._undo.keep(one)
        self._undo.ended_claims[one] = fence
        one.status = Status.PENDING
        if one.call.cancelled:
            self._finish(one, Status.CANCELLED, cancelled_payload(one.call.spec.call_id))
        return one

    def _held(self, seq: int, fence: int) -> Input | None:
        for one in self._inputs(Status.RUNNING):
            if (one.seq, one.fence) == (seq, fence):
                return one
        return None

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        self._begin("record")
        held = {(one.seq, one.fence): one for one in self._inputs(Status.RUNNING)}
        results = []
        for entry in entries:
            one = held.pop((entry.seq, entry.fence), None)
            valid = one is not None and entry.status.terminal
            if one is not None and valid:
                self._undo.ended_claims[one] = entry.fence
                self._finish(one, Status(entry.status), entry.payload)
            results.append(valid)
        return results

    def _finish(self, one: Input, status: Status, payload: bytes) -> None:
        self._undo.keep(one)
        one.status, one.outcome = status, payload

    def outcomes(self, call_id: str, start: int = 0, end: int | None = None) -> list[Outcome]:
        self._begin("outcomes")
        call = self._calls.get(call_id)
        if call is None:
            raise NotFoundError(f"There is no call {call_id}.")
        return [
            Outcome(one.index, one.status, one.outcome)
            for one in call.inputs[start:end]
            if one.outcome is not None
        ]

    def dead_letters(self, *, limit: int, call_id: str | None = None) -> list[DeadLetter]:
        self._begin("dead_letters")
        calls = [c for c in reversed(self._calls.values()) if call_id in (None, c.spec.call_id)]
        dead = [
            DeadLetter(call.spec, one.index, one.status, one.outcome, one.payload)
            for call in calls
            for one in call.inputs
            if call.spec.durable and one.status.dead and not one.buried and one.outcome is not None
        ]
        return dead[:limit]

    def bury(self, call_id: str, indices: Sequence[int]) -> None:
        self._begin("bury")
        call = self._calls.get(call_id)
        for one in call.inputs if call else ():
            if one.index in indices:
                self._undo.keep(one)
                one.buried = True

    def delivered(self, call_id: str, indices: Sequence[int]) -> None:
        self._begin("delivered")
        call = self._calls.get(call_id)
        if call is None or call.spec.durable:
            return
        for index in indices:
            if 0 <= index < len(call.inputs):
                self._undo.keep(call.inputs[index])
                call.inputs[index].outcome = None

    def cancel(self, call_id: str) -> list[tuple[int, int, int]]:
        self._begin("cancel")
        call = self._calls.get(call_id)
        if call is None or call.complete:
            return []
        self._undo.keep(call)
        call.cancelled = True
        running = []
        for one in call.unfinished:
            if one.status == Status.RUNNING:
                running.append((one.seq, one.fence, one.index))
            else:
                self._finish(one, Status.CANCELLED, cancelled_payload(call_id))
        return running

    def forget(self, call_id: str) -> None:
        self._begin("forget")
        call = self._calls.get(call_id)
        if call is None:
            return
        for one in call.unfinished:
            if one.status == Status.RUNNING:
                self._undo.ended_claims[one] = one.fence
        self._calls = {name: each for name, each in self._calls.items() if name != call_id}

    def expire(self, now: float, retention: float) -> list[str]:
        self._stamp(self._now)
        self._begin("expire", now)
        for call in self._ended_by(now - 2 * retention, expired=True):
            self.forget(call.spec.call_id)
        expired = self._ended_by(now - retention, expired=False)
        for call in expired:
            self._undo.keep(call)
            call.expired = True
            for one in call.inputs:
                self._undo.keep(one)
                one.outcome = None
        return [call.spec.call_id for call in expired]

    def _ended_by(self, moment: float, *, expired: bool) -> list[Call]:
        return [
            call
            for call in self._calls.values()
            if call.ended is not None and call.ended <= moment and call.expired == expired
        ]

    def call(self, call_id: str) -> CallRecord | None:
        self._begin("call")
        call = self._calls.get(call_id)
        return None if call is None else call.record()

    def named(self, name: str) -> str | None:
        self._begin("named")
        names = {call.spec.name: call.spec.call_id for call in self._calls.values()}
        return names.get(name)

    def digests(self, call_id: str, start: int, end: int) -> list[bytes]:
        self._begin("digests")
        call = self._calls.get(call_id)
        return list(call.digests[start:end]) if call else []

    def names(self) -> dict[str, str]:
        self._begin("names")
        calls = self._calls.values()
        return {call.spec.name: call.spec.call_id for call in calls if call.spec.name}

    def digest_count(self, call_id: str) -> int:
        self._begin("digest_count")
        call = self._calls.get(call_id)
        return len(call.digests) if call else 0

    def settled(self, call_id: str, start: int = 0, end: int | None = None) -> list[int]:
        self._begin("settled")
        call = self._calls.get(call_id)
        settled = sorted({*range(len(call.inputs)), *call.settled}) if call else []
        return [i for i in settled if start <= i and (end is None or i < end)]

    def reopen(self, call: CallSpec) -> None:
        self._begin("reopen")
        old = self._calls.get(call.call_id)
        if old is None:
            return
        ended = {
            one.index: (one.status, one.outcome)
            for one in old.inputs
            if one.status.terminal and one.status != Status.CANCELLED
        }
        earlier = {index: end for index, end in old.settled.items() if index >= len(old.inputs)}
        new = Call(call, digests=old.digests, settled={**earlier, **ended})
        new.total = len(old.inputs) if old.sealed else old.total
        self._calls = {**self._calls, call.call_id: new}

    def calls(
        self,
        *,
        limit: int,
        functions: Collection[str] | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[CallRecord]:
        self._begin("calls")
        records = [call.record() for call in reversed(self._calls.values())]
        return [
            r
            for r in records
            if (functions is None or r.spec.function_id in functions)
            and (since is None or r.spec.created >= since)
            and (until is None or r.spec.created <= until)
        ][:limit]

    def open_calls(self, function_id: str | None = None) -> list[CallRecord]:
        self._begin("open_calls")
        records = [call.record() for call in self._calls.values()]
        return [
            r
            for r in records
            if function_id in (None, r.spec.function_id)
            and (not r.spec.durable or not r.sealed or r.finished < r.known)
        ]

    def children(self, call_id: str) -> list[CallRecord]:
        self._begin("children")
        parents = ((call, call.spec.parent) for call in self._calls.values())
        return [call.record() for call, parent in parents if parent and parent[0] == call_id]

    def statuses(self, call_id: str) -> list[Status]:
        self._begin("statuses")
        call = self._calls.get(call_id)
        return [] if call is None else [one.status for one in call.inputs]

    def counts(self, pool: str) -> PoolCounts:
        self._begin("counts")
        mine = [
            one
            for one in self._inputs(Status.PENDING, Status.RUNNING)
            if one.call.spec.pool == pool
        ]
        running = sum(one.status == Status.RUNNING for one in mine)
        delayed = sum(one.status == Status.PENDING and one.not_before > self._now for one in mine)
        return PoolCounts(len(mine) - running - delayed, delayed, running)

    def pools(self) -> list[str]:
        self._begin("pools")
        unfinished = self._inputs(Status.PENDING, Status.RUNNING)
        return list(dict.fromkeys(one.call.spec.pool for one in unfinished))

    def next_due(self, now: float) -> float | None:
        self._begin("next_due", now)
        waiting = list(self._inputs(Status.PENDING))
        moments = [one.not_before for one in waiting if one.not_before > now]
        moments += [max(one.deadline, now) for one in waiting if one.deadline is not None]
        return min(moments, default=None)

    def commit(self) -> None:
        if self._failures["commit"]:
            self._undo_all_but_claims()
        self._begin("commit")
        self._undo = Undo(self._calls)

    def sync(self) -> None:
        self._begin("sync")

    def close(self) -> None:
        self._begin("close")
        self._rollback()

    # Within

    def _begin(self, method: str, now: float | None = None) -> None:
        if self._failures[method]:
            raise self._failures[method].pop(0)
        if now is not None:
            self._now = now
            self._stamp(now)

    def _stamp(self, now: float) -> None:
        for call in self._calls.values():
            if call.ended is None and call.complete:
                self._undo.keep(call)
                call.ended = now

    def _inputs(self, *statuses: Status) -> list[Input]:
        every = chain.from_iterable(call.inputs for call in self._calls.values())
        return [one for one in every if one.status in statuses]

    def _rollback(self) -> None:
        self._undo.restore()
        self._calls = self._undo.calls
        self._undo = Undo(self._calls)

    def _undo_all_but_claims(self) -> None:
        """As the port's adapters do: whoever holds or held a claim since, holds it."""
        held = self._undo.ended_claims
        held |= {one: one.fence for one in self._inputs(Status.RUNNING)}
        self._rollback()
        for one in self._inputs(Status.PENDING, Status.RUNNING):
            if one in held:
                self._undo.keep(one)
                one.status, one.fence = Status.RUNNING, held[one]
        self._stamp(self._now)


def _in_turns(groups: Iterable[Iterable[Input]]) -> Iterable[Input]:
    """Yield the first of each group, then the second of each, and so on."""
    rounds = zip_longest(*groups)
    return (one for each in rounds for one in each if one is not None)
