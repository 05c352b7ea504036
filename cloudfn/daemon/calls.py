"""Calls under way: takes inputs in, and brings outcomes to whoever waits for them."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from cloudfn.clock import Clock
from cloudfn.control.calls.directory import PastCall, find_call
from cloudfn.daemon.journal import Journal
from cloudfn.daemon.named import Naming, confirmed
from cloudfn.daemon.past import PastCalls
from cloudfn.daemon.ports import Engine
from cloudfn.daemon.receipts import Receipts, acknowledged
from cloudfn.daemon.session import Session
from cloudfn.daemon.watches import Call, Watch
from cloudfn.errors import (
    ConflictError,
    Error,
    InvalidError,
    PermissionDeniedError,
)
from cloudfn.model.call import CallKind, Status
from cloudfn.model.terms import Terms
from cloudfn.providers.endings import cancelled_payload
from cloudfn.providers.ledger import CallSpec, Entry, Ledger
from cloudfn.wire.messages import (
    BlobRef,
    Delivered,
    Kind,
    Submit,
    is_blob,
)
from cloudfn.wire.ranges import numbers_in
from cloudfn.wire.replies import error_json

#: seconds that a Docker container has to read results of a call that it wants nothing more of
_READ_GRACE = 60.0


class Calls:
    """All calls under way of one environment."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        journal: Journal,
        ledger: Ledger,
        engine: Engine,
        clock: Clock,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._ledger = ledger
        self._engine = engine
        self._clock = clock
        self._calls: dict[str, Call] = {}
        self._by_ref: dict[tuple[Session, int], Watch] = {}
        self._dirty: list[Watch] = []
        self.receipts = Receipts(journal)
        #: calls that the engine itself made → whom to tell how their one input ended
        self._followed: dict[str, Callable[[Status], object]] = {}
        #: transient calls that containers made, for call graphs
        self.past = PastCalls()
        self.named = Naming(
            journal,
            ledger,
            engine,
            clock,
            self.find,
            lambda call_id: self.cancel(call_id, terminate=False),
        )

    @property
    def active(self) -> int:
        """How many calls somebody waits for or that are not delivered yet."""
        return len(self._calls)

    def find(self, call_id: str) -> Call | None:
        """Return a call under way."""
        return self._calls.get(call_id)

    def owner(self, session: Session, ref: int) -> Watch | None:
        """Return a client's watch of a call of its own."""
        watch = self._by_ref.get((session, ref))
        return watch if watch is not None and watch.owner else None

    # From clients

    def submit(self, session: Session, message: Submit) -> None:
        """Take inputs in; refusals and errors go to the client as outcomes or acknowledgements."""
        watch = self._by_ref.get((session, message.ref))
        try:
            if watch is None:
                watch = self._open(session, message)
            self._admit(watch, message)
        except Error as error:
            self._reject(session, message, error)

    def _open(self, session: Session, message: Submit) -> Watch:
        header = message.header
        if header is None:
            raise InvalidError(f"Inputs for a call that was not opened (ref {message.ref}).")
        call_id = str(header["call"])
        if header.get("parent") and not self._engine.holds(session.container_id, header["parent"]):
            header = {**header, "parent": None}  # it is over, or another one's
        end = None
        if "name" in header:
            call, end = self.named.open(call_id, header), 0
            self._calls[call_id] = call
            self._note_waiting(call, header.get("parent"))
        else:
            call = self._calls.get(call_id) or self._new_call(call_id, header)
        watch = Watch(session, message.ref, call, end=end, owner=True)
        call.watches.append(watch)
        call.orphaned, call.home = None, session.container_id
        self._by_ref[session, message.ref] = watch
        return watch

    def _new_call(self, call_id: str, header: dict[str, Any]) -> Call:
        kind = CallKind(header["kind"])
        parent_seq = header.get("parent")
        record = self._ledger.call(call_id)
        if record is not None:
            call = Call(record.spec, record.known, record.sealed)
        else:
            function_id = str(header["function"])
            spec = CallSpec(
                call_id=call_id,
                function_id=function_id,
                pool=self._engine.pool_for(function_id),
                kind=kind,
                created=self._clock.wall(),
                parent=self._engine.running(parent_seq) if parent_seq else None,
                durable=kind.durable,
                terms=Terms.from_json(header["terms"]) if "terms" in header else None,
            )
            call = Call(spec, made_at=self._journal.commits)
        if not kind.durable:
            self._note_waiting(call, parent_seq)
        self._calls[call_id] = call
        return call

    def _note_waiting(self, call: Call, parent_seq: int | None) -> None:
        """The input that makes a call waits for it."""
        if parent_seq:
            call.parent_seq = parent_seq
            self._engine.waits(parent_seq, 1)

    def _admit(self, watch: Watch, message: Submit) -> None:
        call = watch.call
        payloads: Sequence[bytes] = message.payloads
        digests: Sequence[bytes] = ()
        if call.spec.name:
            digests, payloads = self.named.checked(call, message)
        if watch.session.view is not None:
            payloads = [self._taken_in(watch, payload) for payload in payloads]
        admission = self._journal.submit(
            call.spec,
            message.first,
            payloads,
            lambda error: self._reject(watch.session, message, error),
            sealed=message.sealed,
            now=self._clock.wall(),
            digests=digests,
        )
        call.known = admission.known
        if watch.end is not None:
            self._confirm(watch, min(admission.known, message.first + len(payloads)))
        if any(map(is_blob, payloads)):
            call.has_blobs = True
        complete = admission.known >= message.first + len(message.payloads)
        call.sealed = call.sealed or (message.sealed and complete)
        # What follows on inputs that were refused is refused as well, or its client would send all
        # of it again at once, and so on without a pause.
        if admission.refused or (call.starved and not complete):
            self._starve(watch)
        elif call.spec.kind != CallKind.REMOTE:
            self.receipts.acknowledge(watch)
        if call.spec.terms is not None:
            self._engine.delayed()
        self._engine.inputs_arrived(call.spec.pool)
        # That nothing follows may be the last that was missing.
        self._forget_delivered(call)

    def _taken_in(self, watch: Watch, payload: bytes) -> bytes:
        """Return a payload that a Docker container sent, as it is to be kept."""
        assert watch.session.view is not None
        if not is_blob(payload):
            return payload
        if not watch.session.view.may_send(payload):
            raise PermissionDeniedError("A container sends a payload that it did not write.")
        spec = watch.call.spec
        return self._engine.take_in(spec.call_id, payload, durable=spec.durable)

    def _confirm(self, watch: Watch, end: int) -> None:
        """The inputs of a named call are those that it was begun with, up to here: tell of them."""
        begin = confirmed(watch)
        watch.end = max(begin, end)
        self._push_recorded(watch, lambda _index: True, begin)

    def _starve(self, watch: Watch) -> None:
        """A limit is reached: maps wait for room, a single input is refused for good."""
        call = watch.call
        self.receipts.refuse(watch)
        if call.spec.kind not in (CallKind.MAP, CallKind.SPAWN_MAP):
            self._discard(call.spec.call_id)
            self._drop(call)

    def _reject(self, session: Session, message: Submit, error: Error) -> None:
        """Tell the client that these inputs were not taken, which ends its call."""
        body = {"event": "rejected", "ref": message.ref, "error": error_json(error)}
        session.send_json(Kind.EVENT, body)
        watch = self._by_ref.get((session, message.ref))
        if watch is not None:
            self.release(session, message.ref)
            self._discard(watch.call.spec.call_id)

    def _discard(self, call_id: str) -> None:
        """A call that was refused as a whole leaves no payloads behind; they take room."""
        with suppress(Error):  # a ledger that cannot be read now; they are swept later
            if self._ledger.call(call_id) is None:
                self._engine.discard_blobs_of(call_id)

    def resume(
        self,
        session: Session,
        ref: int,
        call_id: str,
        have: Sequence[Sequence[int]],
        done: Sequence[Sequence[int]],
        confirmed_before: int = 0,
    ) -> dict[str, Any]:
        """A submitting client is back: push what it lacks, tell what the engine has.

        Args:
            session: The client.
            ref: Its number for the call.
            call_id: The call.
            have: Ranges of outcomes that it has.
            done: Those of them whose payloads it has read.
            confirmed_before: Of a named call, how many of its inputs were confirmed to it.

        Raises:
            ConflictError: Another client has taken the named call up meanwhile.
        """
        record = self._ledger.call(call_id)
        call = self._calls.get(call_id)
        if call is None:
            if record is None:
                return {"known": 0, "refused": False, "unknown": True}
            call = self._calls[call_id] = Call(record.spec, record.known, record.sealed)
            call.has_blobs = True
        if call.spec.name:
            self.named.check_free(call)
        end = confirmed_before if call.spec.name else None
        watch = Watch(session, ref, call, end=end, owner=True)
        call.watches.append(watch)
        call.orphaned, call.home = None, session.container_id
        self._by_ref[session, ref] = watch
        owned = set(numbers_in(have))
        self._push_recorded(watch, lambda index: index not in owned)
        # The engine may have died before it was told what is read, or before that held.
        read = list(numbers_in(done))
        call.delivered, call.resumed = 0, True
        self.delivered(session, Delivered(ref, read))
        # What else there is may not be on disk yet: the client sends it again, and is told then.
        return {"known": acknowledged(watch), "refused": False}

    def attach(
        self,
        session: Session,
        ref: int,
        call_id: str,
        start: int,
        end: int | None,
        *,
        bare: bool = False,
    ) -> dict[str, Any]:
        """Somebody asks for outcomes of a call; those recorded already are pushed at once.

        Args:
            session: The client.
            ref: Its number for the call; one that asked before asks anew.
            call_id: The call.
            start: The first input of interest.
            end: The one after the last; None for all.
            bare: Leave out what came of the inputs.

        Raises:
            NotFoundError: There is no such call.
        """
        record = find_call(self._ledger, call_id)
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = Call(record.spec, record.known, record.sealed)
        before = self._by_ref.get((session, ref))
        if before is not None:
            before.call.watches.remove(before)
        watch = Watch(session, ref, call, start, end, bare=bare)
        call.watches.append(watch)
        self._by_ref[session, ref] = watch
        pushed = self._push_recorded(watch, lambda _index: True)
        return {
            "known": record.known,
            "sealed": record.sealed,
            "cancelled": record.cancelled,
            "durable": record.spec.durable,
            "expired": record.lacks(pushed, start, end),
        }

    def _push_recorded(
        self, watch: Watch, wanted: Callable[[int], bool], start: int | None = None
    ) -> int:
        start = watch.start if start is None else start
        found = self._ledger.outcomes(watch.call.spec.call_id, start, watch.end)
        lacking = [outcome for outcome in found if wanted(outcome.index)]
        indices = [outcome.index for outcome in lacking]
        payloads = [outcome.payload for outcome in lacking]
        self._note_blobs(watch.call, indices, payloads)
        watch.add(indices, [outcome.status for outcome in lacking], payloads)
        if watch.indices:
            self._journal.after_commit(watch.flush)
        return len(found)

    def delivered(self, session: Session, message: Delivered) -> None:
        """A client has outcomes: those of a transient call go."""
        watch = self._by_ref.get((session, message.ref))
        if watch is None or not watch.owner:
            return
        call = watch.call
        if call.spec.durable:
            return
        self._journal.clear_up(lambda: self._ledger.delivered(call.spec.call_id, message.indices))
        call.delivered += len(message.indices)
        for index in message.indices if call.blobs else ():
            ref = call.blobs.pop(index, None)
            if ref is not None:
                self._engine.delete_blob(ref)
        if session.view is not None and call.delivered >= call.known:
            session.view.hide_call(call.spec.call_id)
        self._forget_delivered(call)

    def _forget_delivered(self, call: Call) -> None:
        """Forget a transient call whose client has every outcome."""
        if call.spec.durable or not call.sealed or call.delivered < call.known:
            return
        if call.resumed and not self._is_delivered(call.spec.call_id):
            return
        self._forget(call)

    def _is_delivered(self, call_id: str) -> bool:
        record = self._ledger.call(call_id)
        return record is None or (
            record.finished >= record.known and not self._ledger.outcomes(call_id)
        )

    def release(self, session: Session, ref: int) -> None:
        """A client wants no more of a call; a transient call of its own ends with that."""
        watch = self._by_ref.pop((session, ref), None)
        if watch is None:
            return
        self.receipts.forget(watch)
        call = watch.call
        if session.view is not None:
            # It may not have read yet what it was sent last.
            call_id, shown = call.spec.call_id, session.view.shown(call.spec.call_id)
            self._loop.call_later(_READ_GRACE, session.view.hide_call, call_id, shown)
        call.watches.remove(watch)
        if watch.owner and not call.spec.durable:
            self.cancel(call.spec.call_id, terminate=False)
            self._forget(call)
        elif not call.watches and call.spec.durable:
            self._drop(call)

    def closed(self, session: Session) -> None:
        """A client is gone: its calls wait for it for a while."""
        now = self._clock.monotonic()
        for key in [key for key in self._by_ref if key[0] is session]:
            watch = self._by_ref.pop(key)
            call = watch.call
            call.watches.remove(watch)
            if call.watches:
                continue
            if call.spec.durable:
                self._drop(call)
            else:
                call.orphaned = now

    def adopt_orphans(self) -> None:
        """After a start: transient calls of the ledger wait for their clients.

        Those that were made in containers wait for nobody: the containers died with the daemon, and
        their inputs, when they run again, make calls of their own.
        """
        now = self._clock.monotonic()
        for record in self._ledger.open_calls():
            if record.spec.durable or record.spec.call_id in self._calls:
                continue
            call = Call(record.spec, record.known, record.sealed, orphaned=now, has_blobs=True)
            self._calls[record.spec.call_id] = call
            if record.spec.parent is not None:
                self._end(call)

    def end_orphans(self, grace: float) -> None:
        """Cancel transient calls whose client has been gone for `grace` seconds, or died here.

        Those of a detached app are finished first, as far as they are known.
        """
        now = self._clock.monotonic()
        for call in list(self._calls.values()):
            if call.orphaned is None:
                continue
            died = call.home is not None and not self._engine.lives(call.home)
            if died or (now - call.orphaned >= grace and not self._goes_on(call)):
                self._end(call)

    def _goes_on(self, call: Call) -> bool:
        record = self._ledger.call(call.spec.call_id)
        unfinished = record is not None and record.finished < record.known
        return unfinished and self._engine.is_detached(call.spec.function_id)

    def _end(self, call: Call) -> None:
        """Cancel and forget a call that nobody will ask for."""
        self.cancel(call.spec.call_id, terminate=False)
        self._forget(call)

    # From the engine

    def recorded(
        self,
        call_id: str,
        indices: Sequence[int],
        statuses: Sequence[Status],
        payloads: Sequence[bytes],
    ) -> None:
        """Inputs of a call have these outcomes; they are sent after the commit."""
        self.receipts.places_freed()
        if self._followed and call_id in self._followed:
            self._journal.after_commit(partial(self._followed.pop(call_id), statuses[0]))
        call = self._calls.get(call_id)
        if call is None:
            self._journal.hurry()
            return
        call.finished += len(indices)
        at_once = self._is_its_own_receipt(call)
        is_last = call.sealed and call.finished >= call.known
        if call.spec.durable or (is_last and not at_once):
            # Anybody may ask how a spawned input is: one that was seen finished never runs again.
            # And with the last outcome of another call there is nothing more to gather.
            self._journal.hurry()
        self._note_blobs(call, indices, payloads)
        for watch in call.watches:
            if not watch.add(indices, statuses, payloads):
                continue
            if at_once:
                self._engine.delivering()
                watch.flush()
                watch.session.flush()
                continue
            self._dirty.append(watch)
            if len(self._dirty) == 1:
                self._journal.after_commit(self._flush)

    def _is_its_own_receipt(self, call: Call) -> bool:
        """Whether an outcome may be told before it is on disk.

        So it is while the disk does not know of the call at all, and its maker alone has heard of
        it: if we die, either the maker has the outcome and nobody will ask again, or it has not,
        and sends the input anew as if it had never come.
        """
        return (
            call.spec.kind == CallKind.REMOTE
            and call.made_at == self._journal.commits
            and len(call.watches) == 1
            and call.watches[0].owner
        )

    def _note_blobs(self, call: Call, indices: Sequence[int], payloads: Sequence[bytes]) -> None:
        for index, payload in zip(indices, payloads, strict=True):
            if is_blob(payload):
                call.blobs[index] = BlobRef.decode(payload)
                call.has_blobs = True

    def _flush(self) -> None:
        self._engine.delivering()
        dirty, self._dirty = self._dirty, []
        for watch in dirty:
            watch.flush()

    def drained(self, session: Session) -> None:
        """A slow client has read what it was sent: send what was left in the ledger for it."""
        for (owner, _), watch in self._by_ref.items():
            if owner is session and watch.late:
                self._catch_up(watch)

    def _catch_up(self, watch: Watch) -> None:
        while watch.late and not watch.session.congested:
            wanted = set(watch.take_late())
            start, end = min(wanted), max(wanted) + 1
            found = self._ledger.outcomes(watch.call.spec.call_id, start, end)
            watch.send([outcome for outcome in found if outcome.index in wanted])

    def follow(self, call_id: str, ended: Callable[[Status], object]) -> None:
        """Tell the status in which a call of one input ends, once that is committed."""
        statuses = self._ledger.statuses(call_id)
        if statuses and statuses[0].terminal:
            self._journal.after_commit(partial(ended, statuses[0]))
        else:
            self._followed[call_id] = ended

    def cancel(self, call_id: str, *, terminate: bool) -> None:
        """End all unfinished inputs of a call. Idempotent."""
        call = self._calls.get(call_id)
        watched = call_id in self._followed or (call is not None and bool(call.watches))
        statuses = self._ledger.statuses(call_id) if watched else []
        unfinished = [index for index, status in enumerate(statuses) if not status.terminal]
        running: list[tuple[int, int, int]] = []
        self._journal.write(lambda: running.extend(self._ledger.cancel(call_id)))
        self.receipts.places_freed()
        payload = cancelled_payload(call_id)
        entries = [Entry(seq, fence, Status.CANCELLED, payload) for seq, fence, _ in running]
        if entries:
            self._journal.record(entries)
        for seq, fence, _ in running:
            self._engine.stop_input(seq, fence, terminate=terminate)
        if unfinished:
            count = len(unfinished)
            self.recorded(call_id, unfinished, [Status.CANCELLED] * count, [payload] * count)

    def drop(self, call_id: str) -> str:
        """Forget a call that nobody waits for: what is unfinished is cancelled first.

        Raises:
            NotFoundError: There is no such call.
            ConflictError: Its client is there.
        """
        find_call(self._ledger, call_id)
        call = self._calls.get(call_id)
        if call is not None and any(watch.owner for watch in call.watches):
            raise ConflictError(
                f"The client of call {call_id} is there.",
                hint="End it first, or `cloudfn call cancel` the call.",
            )
        self.cancel(call_id, terminate=False)
        self._journal.write(lambda: self._ledger.forget(call_id))
        self._engine.delete_blobs_of(call_id)
        if call is not None:
            self._drop(call)
        return call_id

    def _forget(self, call: Call) -> None:
        """Delete a transient call that nobody needs any more."""
        call_id = call.spec.call_id
        if call.spec.parent is not None:
            self.past.add(PastCall(call.spec, self._ledger.statuses(call_id)))
        self._journal.clear_up(lambda: self._ledger.forget(call_id))
        if call.has_blobs:
            self._engine.delete_blobs_of(call_id)
        self._drop(call)

    def _drop(self, call: Call) -> None:
        for watch in call.watches:
            self._by_ref.pop((watch.session, watch.ref), None)
        call.watches.clear()
        self._calls.pop(call.spec.call_id, None)
        if call.parent_seq is not None:
            self._engine.waits(call.parent_seq, -1)
