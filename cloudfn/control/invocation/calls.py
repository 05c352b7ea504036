"""Calls: begun by clients, heard of, cancelled and forgotten."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from cloudfn.clock import Clock
from cloudfn.control.calls.directory import find_call
from cloudfn.control.invocation.alarm import Alarm
from cloudfn.control.invocation.attendance import Attendance
from cloudfn.control.invocation.caller import Answer, Caller, Tell
from cloudfn.control.invocation.crew import Crew, Lane
from cloudfn.control.invocation.ending import cancel
from cloudfn.control.invocation.insisting import insist
from cloudfn.control.invocation.listening import Listening
from cloudfn.control.invocation.named import Functions, NamedCalls
from cloudfn.control.invocation.submissions import Own, Submissions
from cloudfn.control.invocation.watches import Deliveries, Seen, Watch, reject
from cloudfn.errors import Error
from cloudfn.model.call import CallKind
from cloudfn.providers.base import Cloud
from cloudfn.providers.wakeups import Note
from cloudfn.wire.messages import BlobRef, Submit, is_blob

_log = logging.getLogger(__name__)

#: outcomes that the ledger is told of together, when their client has them
_TELL = 512
#: seconds between looks at a call that another process made, which nobody tells us of
_FOREIGN = (0.25, 2.0)
#: seconds between looks for items of a generator
_STREAM = (0.5, 2.0)
#: spawned calls that are looked at to count their inputs
_COUNTED = 1_000


class Calls:
    """All calls of a process.

    Args:
        cloud: The ports.
        functions: Where calls go.
        crew: Works.
        clock: The time.
        attendance: Says that this client is there.
    """

    def __init__(
        self,
        cloud: Cloud,
        functions: Functions,
        crew: Crew,
        clock: Clock,
        attendance: Attendance,
    ) -> None:
        self._cloud = cloud
        self._ledger = cloud.ledger
        self._crew = crew
        self._attendance = attendance
        self._insist = partial(insist, clock)
        alarm = Alarm(cloud.ledger, cloud.doorbells, cloud.leadership, clock)
        self.alarm = alarm
        self.deliveries = Deliveries(cloud, crew, clock)
        self.listening = Listening(
            cloud.wakeups,
            crew,
            self.deliveries,
            attendance,
            alarm,
            clock,
            self._heard,
            self._lost,
        )
        self.named = NamedCalls(cloud.ledger, functions, self, clock)
        self._submissions = Submissions(
            cloud, alarm, self.listening, functions, self.named, crew, clock, self._sealed
        )
        self._own: dict[Watch, Own] = {}
        #: function → inputs that returned, and that failed, of calls that are over
        self._tally: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        #: functions of which calls were spawned here
        self._spawned: set[str] = set()

    # Of one client

    def begin(self, caller: Caller, tell: Tell, message: Submit, gone: Callable[[], object]) -> Own:
        """Take a call in, by its first message; its inputs are sent soon.

        Args:
            caller: Who makes it.
            tell: Hears of it.
            message: Opens it.
            gone: Is called when nothing more is heard of it.
        """
        header = message.header
        assert header is not None
        watch = Watch(
            message.ref,
            str(header["call"]),
            caller,
            tell,
            Lane(self._crew),
            Seen(),
            end=0 if "name" in header else None,
        )
        if header["kind"] == CallKind.REMOTE_GEN:
            watch.pause = watch.least = _STREAM[0]
            watch.most = _STREAM[1]
        own = Own(watch, header, Lane(self._crew), gone=gone)
        if header.get("parent") and caller.running(header["parent"]) is not None:
            own.parent = header["parent"]
            caller.waits(header["parent"], 1)
        self.deliveries.missing.called()
        self._own[watch] = own
        self._submissions.take(own, message)
        return own

    def send(self, own: Own, message: Submit) -> None:
        """Take further inputs of a call."""
        self._submissions.take(own, message)

    def attach(self, watch: Watch, answer: Answer) -> None:
        """Answer with what is known of a call, and tell of its outcomes from then on.

        Raises:
            NotFoundError: There is no such call.
        """
        record = find_call(self._ledger, watch.call_id)
        start, end = watch.seen.start, watch.end
        found = self._ledger.outcomes(watch.call_id, start, end)
        watch.kind, watch.opened = record.spec.kind, True
        if record.spec.reply != self.listening.known_address or not record.spec.reply:
            watch.pause = watch.least = _FOREIGN[0]
            watch.most = _FOREIGN[1]
        answer(
            {
                "known": record.known,
                "sealed": record.sealed,
                "cancelled": record.cancelled,
                "durable": record.spec.durable,
                "expired": record.lacks(len(found), start, end),
            }
        )
        self.listening.watch(watch)

        def push() -> None:
            self.deliveries.offer(
                watch,
                [each.index for each in found],
                [each.status for each in found],
                [each.payload for each in found],
            )

        watch.lane.do(push)

    def attached(self, caller: Caller, tell: Tell, fields: dict[str, Any]) -> Watch:
        """Return the watch that a request to attach asks for; see `attach`."""
        return Watch(
            fields["ref"],
            fields["call"],
            caller,
            tell,
            Lane(self._crew),
            Seen(fields.get("start") or 0),
            end=fields.get("end"),
            bare=bool(fields.get("bare")),
        )

    def delivered(self, own: Own, indices: Sequence[int]) -> None:
        """A client has outcomes: those of a transient call go, soon."""
        own.lane.do(partial(self._delivered, own, list(indices)))

    def taken(self, own: Own, end: int) -> None:
        """A client has items 0 … end − 1 of a generator."""

        def acknowledge() -> None:
            own.watch.items = max(own.watch.items, end)
            dropped = self._cloud.streams.acknowledge(own.watch.call_id, end)
            self._drop(own.watch.caller, [BlobRef.decode(e) for e in dropped if is_blob(e)])

        # The generator may wait for it, and its reader for the generator.
        own.watch.lane.do(lambda: self._insist(acknowledge))

    def release(self, own: Own, *, unfinished: bool) -> None:
        """A client wants no more of a call of its own: a transient one ends with that, soon."""
        own.watch.over = True
        own.fed.set()
        own.lane.do(partial(self._release, own, unfinished=unfinished))

    def leave(self, watch: Watch) -> None:
        """A client wants no more of a call that goes on."""
        self.listening.unwatch(watch)

    # Of everybody

    def cancel(self, call_id: str) -> None:
        """End all unfinished inputs of a call, and have their holders stop them. Idempotent."""
        self._insist(lambda: self._cancel(call_id))

    def _cancel(self, call_id: str) -> None:
        cancel(self._cloud, call_id)
        self.listening.look(call_id)
        reply = self._ledger.reply_to(call_id)
        if reply and reply != self.listening.known_address:
            self._cloud.wakeups.tell(reply, [Note(call_id, (), ())])

    def heard_of(self, function_ids: Collection[str]) -> tuple[int, int]:
        """Return how many inputs of functions returned, and failed, as far as was heard here."""
        counts = [self._tally[each] for each in function_ids]
        counts += [
            [own.watch.done, own.watch.failed]
            for own in list(self._own.values())
            if own.header["function"] in function_ids
        ]
        return sum(done for done, _ in counts), sum(failed for _, failed in counts)

    def counted(self, function_ids: Collection[str]) -> tuple[int, int]:
        """Return the same with what was spawned here, of which perhaps nobody wanted to hear.

        Of many spawned calls, the latest count.
        """
        done, failed = self.heard_of(function_ids)
        spawned = self._spawned.intersection(function_ids)
        for record in self._ledger.calls(limit=_COUNTED, functions=spawned) if spawned else ():
            if record.spec.durable and not record.spec.name:
                done += record.finished - record.failed
                failed += 0 if record.cancelled else record.failed
        return done, failed

    # What named calls need (Holders)

    def is_taken(self, call_id: str) -> bool:
        """Whether a client has a named call, here or elsewhere."""
        # One that is only about to be opened asks this about itself.
        mine = (own.watch for own in list(self._own.values()) if own.spec and own.spec.name)
        if any(watch.call_id == call_id and not watch.over for watch in mine):
            return True
        return any(call_id in row.owned for row in self._attendance.others())

    def write(self, change: Callable[[], object]) -> None:
        """Have a change of the ledger made."""
        change()

    def reply(self) -> str:
        """Return where this process hears of its calls."""
        return self.listening.address()

    def close(self, *, leave: bool) -> None:
        """Hear of nothing more; see `Listening.close`."""
        self.listening.close(leave=leave)

    # How

    def _delivered(self, own: Own, indices: list[int]) -> None:
        spec, watch = own.spec, own.watch
        if own.ended or spec is None or spec.durable:
            return
        own.delivered += len(indices)
        own.untold += indices
        refs = [ref for ref in (watch.blobs.pop(index, None) for index in indices) if ref]
        self._drop(watch.caller, refs)
        if own.sealed and own.delivered >= own.known:
            self._forget(own)
        elif len(own.untold) >= _TELL:
            self._ledger.delivered(watch.call_id, own.untold)
            own.untold = []

    def _sealed(self, own: Own) -> None:
        """The ledger has all inputs of a call, of which perhaps nothing more is to be heard."""
        assert own.spec is not None
        if own.spec.durable and not own.spec.name:
            self._spawned.add(own.spec.function_id)
            self._end(own)  # whoever wants its outcomes attaches to it
        elif not own.spec.durable and own.delivered >= own.known:
            self._forget(own)

    def _release(self, own: Own, *, unfinished: bool) -> None:
        spec = own.spec
        if spec is not None and spec.name:
            self._insist(lambda: self._attendance.disown(spec.call_id))
        if own.ended or spec is None or spec.durable:
            self._end(own)
        elif unfinished:
            self._end(own)
            self.cancel(spec.call_id)
            self._forget(own)
        else:
            self._forget(own)

    def _forget(self, own: Own) -> None:
        """Delete a transient call that nobody needs any more."""
        self._end(own)
        call_id = own.watch.call_id
        self._insist(lambda: self._ledger.forget(call_id))
        self._drop(own.watch.caller, [*own.watch.blobs.values(), *own.stored.values()])
        if own.header["kind"] == CallKind.REMOTE_GEN:
            self._cloud.streams.forget([call_id])

    def _end(self, own: Own) -> None:
        self._submissions.end(own)
        if self._own.pop(own.watch, None) is not None:
            counts = self._tally[own.header["function"]]
            counts[0] += own.watch.done
            counts[1] += own.watch.failed

    def _heard(self, watch: Watch) -> None:
        """There was something new of a call, and so there may be room for more of it."""
        own = self._own.get(watch)
        if own is not None:
            own.fed.set()

    def _lost(self, watch: Watch, error: Error) -> None:
        own = self._own.pop(watch, None)
        if own is not None:
            self._submissions.reject(own, error)
            return
        self.listening.unwatch(watch)
        reject(watch, error)

    def _drop(self, caller: Caller, refs: Sequence[BlobRef]) -> None:
        """Delete payloads, here and in the depot, which keeps none for ever anyway."""
        for ref in refs:
            caller.files.drop(ref)
        try:
            if refs:
                self._cloud.depot.delete(refs)
        except Error as error:
            _log.warning("payloads that nobody needs cannot be deleted: %s", error)
