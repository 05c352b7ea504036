"""Calls of an offline run: what was submitted, who waits for it, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cloudfn.clock import Clock
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.call import CallKind, Status
from cloudfn.model.terms import Terms
from cloudfn.providers.base import Provider
from cloudfn.providers.endings import cancelled_payload
from cloudfn.providers.ledger import CallRecord, CallSpec, Claim, Entry
from cloudfn.sdk.client import RESUMED, Mailbox
from cloudfn.testing.pools import Pools
from cloudfn.wire.messages import (
    Ack,
    BlobRef,
    Items,
    Kind,
    Outcomes,
    Submit,
    is_blob,
)

T = TypeVar("T")

#: seconds that results of spawned calls are kept
RETENTION = 7 * 86_400.0
#: times that a write is tried which a scripted failure hits
_TRIES = 10


@dataclass(slots=True, eq=False)
class _Watch:
    """Somebody's wish to have the outcomes of a call."""

    ref: int
    box: Mailbox
    call_id: str
    durable: bool
    #: it made the call
    owner: bool = False
    start: int = 0
    end: int | None = None
    #: a limit refused inputs
    starved: bool = False
    known: int = 0
    sealed: bool = False
    delivered: int = 0
    #: items of a generator that it was sent
    items: int = 0

    def put(
        self, indices: Sequence[int], statuses: Sequence[Status], payloads: Sequence[bytes]
    ) -> None:
        """Hand over outcomes, as far as they are wanted."""
        wanted = [
            each
            for each in zip(indices, statuses, payloads, strict=True)
            if each[0] >= self.start and (self.end is None or each[0] < self.end)
        ]
        if wanted:
            columns = [list(column) for column in zip(*wanted, strict=True)]
            self.box.put(Kind.OUTCOMES, Outcomes(self.ref, *columns).encode())


class OfflineCalls:
    """All calls of an offline run. The caller sees to it that one thread at a time is in here.

    Args:
        provider: Where they are kept.
        pools: The functions.
        clock: The time.
        running: The inputs that run, by number.
        dropped: Called with a call that was cancelled: its claims are void.
    """

    def __init__(
        self,
        provider: Provider,
        pools: Pools,
        clock: Clock,
        running: Mapping[int, Claim],
        dropped: Callable[[str], None],
    ) -> None:
        self._ledger = provider.ledger
        self._blobs = provider.blobs
        self._streams = provider.streams
        self._pools = pools
        self._clock = clock
        self._running = running
        self._dropped = dropped
        self._specs: dict[str, CallSpec] = {}
        self._watches: dict[int, _Watch] = {}
        #: (call, index) → which input of its function it is, in the order of submission
        self._numbers: dict[tuple[str, int], int] = {}
        #: function → inputs so far
        self._counts: dict[str, int] = {}

    # Those who wait

    def wanted_by(self, box: Mailbox) -> list[str]:
        """Return the calls whose outcomes go to a mailbox."""
        watches = (watch for watch in self._watches.values() if watch.box is box)
        return list(dict.fromkeys(watch.call_id for watch in watches))

    def submit(self, box: Mailbox, message: Submit) -> None:
        """Take inputs in, as many as the limits allow, and say so.

        Raises:
            Exception: What the store raises; nothing of the message is kept.
        """
        try:
            self._admit(self._watches.get(message.ref) or self._open(box, message), message)
        except BaseException:
            self._watches.pop(message.ref, None)
            raise

    def make(self, call_id: str, function_id: str, payload: bytes) -> None:
        """Make a durable call of one input, for which nobody waits.

        Raises:
            NotFoundError: There is no such function now.
        """
        pool, now = self._pools.live(function_id), self._clock.wall()
        spec = CallSpec(call_id, pool.function_id, pool.name, CallKind.SPAWN, now, durable=True)
        self._specs[call_id] = spec
        self.kept(lambda: self._ledger.submit(spec, 0, [payload], sealed=True, now=now))
        self._count(spec, 0, 1)

    def attach(self, box: Mailbox, ref: int, call_id: str, start: int, end: int | None) -> None:
        """Somebody asks for outcomes of a call; those that are there come at once.

        Raises:
            NotFoundError: There is no such call.
        """
        record = self.record_of(call_id)
        watch = _Watch(ref, box, call_id, durable=True, start=start, end=end)
        self._watches[ref] = watch
        found = self._ledger.outcomes(call_id, start, end)
        told = {
            "known": record.known,
            "sealed": record.sealed,
            "cancelled": record.cancelled,
            "durable": record.spec.durable,
            "expired": record.lacks(len(found), start, end),
        }
        box.put(RESUMED, told)
        for outcome in found:
            watch.put([outcome.index], [outcome.status], [outcome.payload])

    def release(self, ref: int, *, tell: bool) -> None:
        """Somebody wants no more; a call that is theirs alone ends with that."""
        watch = self._watches.pop(ref, None)
        if watch is not None and watch.owner and tell and not watch.durable:
            self.cancel(watch.call_id)
            self.kept(lambda: self._ledger.forget(watch.call_id))
            self._forget_payloads(watch.call_id)

    def delivered(self, ref: int, indices: Sequence[int]) -> None:
        """Outcomes have arrived: those of a call that nobody else can ask for go."""
        watch = self._watches.get(ref)
        if watch is None or watch.durable or not watch.owner:
            return
        self.kept(lambda: self._ledger.delivered(watch.call_id, indices))
        watch.delivered += len(indices)
        if watch.sealed and watch.delivered >= watch.known:
            self.kept(lambda: self._ledger.forget(watch.call_id))
            self._forget_payloads(watch.call_id)

    def _forget_payloads(self, call_id: str) -> None:
        self._streams.forget([call_id])
        self._blobs.delete_call(call_id)

    # What becomes of inputs

    def number(self, claim: Claim) -> int:
        """Return which input of its function a claim is for, counted from 0."""
        return self._numbers[claim.call_id, claim.index]

    def is_durable(self, call_id: str) -> bool:
        """Whether the outcomes of a call stay after their delivery."""
        return self._specs[call_id].durable

    def record(self, claim: Claim, status: Status, payload: bytes) -> bool:
        """Record an outcome and deliver it; False when the input has one already."""
        entry = Entry(claim.seq, claim.fence, status, payload)
        if not self.kept(lambda: self._ledger.record([entry]))[0]:
            return False
        self._deliver(claim.call_id, [claim.index], [status], [payload])
        self._feed_starved()
        return True

    def yielded(self, claim: Claim, position: int, payload: bytes) -> None:
        """A generator yielded: deliver what its reader lacks."""
        call_id = claim.call_id
        if is_blob(payload):
            ref = self._blobs.adopt(BlobRef.decode(payload), call_id, durable=False)
            payload = ref.encode()
        self._delete(self._streams.append(call_id, claim.fence, position, [payload]).dropped)
        for watch in self._watches.values():
            if watch.call_id == call_id and watch.owner:
                items = self._streams.read(call_id, watch.items)
                if items:
                    watch.box.put(Kind.ITEMS, Items(watch.ref, watch.items, items).encode())
                watch.items += len(items)

    def taken(self, ref: int, end: int) -> None:
        """A reader has items 0 … end − 1."""
        watch = self._watches.get(ref)
        if watch is not None:
            self._delete(self._streams.acknowledge(watch.call_id, end))

    def _delete(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            if is_blob(payload):
                self._blobs.delete(BlobRef.decode(payload))

    def cancel(self, call_id: str) -> None:
        """Cancel what is unfinished; code that runs goes on, and nobody hears of it."""
        statuses = self._ledger.statuses(call_id)
        payload = cancelled_payload(call_id)
        running = self.kept(lambda: self._ledger.cancel(call_id))
        entries = [Entry(seq, fence, Status.CANCELLED, payload) for seq, fence, _ in running]
        self.kept(lambda: self._ledger.record(entries))
        self._dropped(call_id)
        indices = [index for index, status in enumerate(statuses) if not status.terminal]
        many = len(indices)
        self._deliver(call_id, indices, [Status.CANCELLED] * many, [payload] * many)

    def end_inputs(self, function_id: str) -> None:
        """Cancel everything unfinished of a function."""
        for record in self._ledger.calls(limit=1_000_000, functions=[function_id]):
            if record.finished < record.known or not record.sealed:
                self.cancel(record.spec.call_id)

    def record_of(self, call_id: str) -> CallRecord:
        """Return what is known of a call; raises NotFoundError."""
        self._ledger.expire(self._clock.wall(), RETENTION)
        record = self._ledger.call(call_id)
        if record is None:
            raise NotFoundError(f"There is no call {call_id} in this offline run.")
        return record

    def kept(self, write: Callable[[], T]) -> T:
        """Write and commit, again where a scripted failure hits."""
        for _ in range(_TRIES - 1):
            try:
                result = write()
                self._ledger.commit()
            except Exception:  # noqa: BLE001, S112 - a scripted failure is any exception
                continue
            return result
        result = write()
        self._ledger.commit()
        return result

    # How

    def _open(self, box: Mailbox, message: Submit) -> _Watch:
        header = message.header
        if header is None:
            raise InvalidError(f"Inputs for a call that was not opened: {message.ref}.")
        kind = CallKind(header["kind"])
        pool = self._pools.live(str(header["function"]))
        parent = self._running.get(header.get("parent") or 0)
        spec = CallSpec(
            call_id=str(header["call"]),
            function_id=pool.function_id,
            pool=pool.name,
            kind=kind,
            created=self._clock.wall(),
            parent=(parent.call_id, parent.index) if parent else None,
            durable=kind.durable,
            terms=Terms.from_json(header["terms"]) if "terms" in header else None,
        )
        self._specs[spec.call_id] = spec
        watch = _Watch(message.ref, box, spec.call_id, durable=kind.durable, owner=True)
        self._watches[message.ref] = watch
        return watch

    def _admit(self, watch: _Watch, message: Submit) -> None:
        spec = self._specs[watch.call_id]
        admission = self._ledger.submit(
            spec, message.first, message.payloads, sealed=message.sealed, now=self._clock.wall()
        )
        self._ledger.commit()
        if watch.durable:
            self._ledger.sync()
        self._count(spec, watch.known, admission.known)
        complete = admission.known >= message.first + len(message.payloads)
        watch.known = admission.known
        watch.sealed = watch.sealed or (message.sealed and complete)
        # What follows on inputs that were refused is refused as well.
        watch.starved = bool(admission.refused) or (watch.starved and not complete)
        if watch.starved or spec.kind != CallKind.REMOTE:
            ack = Ack(message.ref, admission.known, refused=watch.starved)
            watch.box.put(Kind.ACK, ack.encode())

    def _count(self, spec: CallSpec, first: int, end: int) -> None:
        name = self._pools[spec.pool].spec.name
        number = self._counts.get(name, 0)
        for index in range(first, end):
            self._numbers[spec.call_id, index] = number + index - first
        self._counts[name] = number + max(end - first, 0)

    def _deliver(
        self, call_id: str, indices: list[int], statuses: list[Status], payloads: list[bytes]
    ) -> None:
        for watch in self._watches.values():
            if watch.call_id == call_id:
                watch.put(indices, statuses, payloads)

    def _feed_starved(self) -> None:
        """Tell those whose inputs a limit refused that there is room again."""
        for watch in self._watches.values():
            if watch.starved:
                watch.starved = False
                watch.box.put(Kind.ACK, Ack(watch.ref, watch.known).encode())
