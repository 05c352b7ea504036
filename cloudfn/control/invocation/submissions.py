"""Inputs on their way to the ledger: in lots, in order, and again where the network fails."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock
from typing import Any

from cloudfn.clock import Clock
from cloudfn.control.invocation.alarm import Alarm
from cloudfn.control.invocation.crew import Crew, Lane
from cloudfn.control.invocation.insisting import insist
from cloudfn.control.invocation.listening import Listening
from cloudfn.control.invocation.named import Functions, NamedCalls
from cloudfn.control.invocation.watches import Watch, reject
from cloudfn.errors import Error, InternalError
from cloudfn.model.call import CallKind
from cloudfn.model.terms import Terms
from cloudfn.providers.base import Cloud
from cloudfn.providers.ledger import Admission, CallSpec
from cloudfn.wire.messages import Ack, BlobRef, Kind, Submit, is_blob

_log = logging.getLogger(__name__)

#: inputs and bytes of payloads that go to the ledger at once
_LOT = 512
_LOT_BYTES = 4 << 20
#: kinds of calls whose clients wait for room; those of the others are refused for good
_WAIT_FOR_ROOM = (CallKind.MAP, CallKind.SPAWN_MAP)
#: seconds after which a client whose inputs were refused tries again: at first, and at most
_HUNGER = (1.0, 5.0)


def _nothing() -> None:
    """Nobody wants to know."""


@dataclass(slots=True, eq=False)
class Own:
    """A call that a client makes: what waits to be sent, and what became of it."""

    watch: Watch
    header: dict[str, Any]
    #: what is sent goes in order
    lane: Lane
    spec: CallSpec | None = None
    waiting: deque[Submit] = field(default_factory=deque)
    lock: Lock = field(default_factory=Lock)
    known: int = 0
    sealed: bool = False
    #: a limit refused inputs, and its client waits for room
    starved: bool = False
    #: the outcomes that its client has
    delivered: int = 0
    #: of those, which the ledger was not told of
    untold: list[int] = field(default_factory=list)
    #: payloads of its inputs that the depot has
    stored: dict[str, BlobRef] = field(default_factory=dict)
    #: the number of the input that waits for it
    parent: int | None = None
    #: there may be room again
    fed: Event = field(default_factory=Event)
    #: seconds after which there may be room, when nobody says so
    hunger: float = _HUNGER[0]
    ended: bool = False
    #: is called when nothing more is heard of it
    gone: Callable[[], object] = _nothing


class Submissions:
    """Sends inputs.

    Args:
        cloud: Its ledger takes them, and its depot their big payloads.
        alarm: Tells others.
        listening: Hears of their outcomes.
        functions: Know where calls go.
        named: Named calls.
        crew: Stores several at a time.
        clock: The time.
        sealed: Is called with a call that the ledger has all inputs of.
    """

    def __init__(
        self,
        cloud: Cloud,
        alarm: Alarm,
        listening: Listening,
        functions: Functions,
        named: NamedCalls,
        crew: Crew,
        clock: Clock,
        sealed: Callable[[Own], object],
    ) -> None:
        self._ledger = cloud.ledger
        self._depot = cloud.depot
        self._alarm = alarm
        self._listening = listening
        self._functions = functions
        self._named = named
        self._crew = crew
        self._clock = clock
        self._sealed = sealed

    def take(self, own: Own, message: Submit) -> None:
        """Take inputs; they are sent soon."""
        with own.lock:
            own.waiting.append(message)
        own.lane.do(partial(self._send, own))

    def _wait_for_room(self, own: Own) -> None:
        """Tell a client whose inputs a limit refused that there may be room again, when it may."""
        own.fed.wait(own.hunger)
        own.fed.clear()
        own.hunger = min(own.hunger * 2, _HUNGER[1])
        if not own.ended:
            own.starved = False
            own.watch.tell(Kind.ACK, Ack(own.watch.ref, own.known).encode())

    def _send(self, own: Own) -> None:
        while not own.ended and (lot := self._next_lot(own)) is not None:
            try:
                insist(self._clock, partial(self._admit, own, lot))
            except Error as error:
                self.reject(own, error)
            except Exception as error:  # noqa: BLE001 - its client must hear of it
                _log.exception("inputs of %s cannot be sent", own.watch.call_id)
                self.reject(own, InternalError(f"The inputs could not be sent: {error!r}"))

    @staticmethod
    def _next_lot(own: Own) -> Submit | None:
        """Return what waits and goes together, as one message."""
        with own.lock:
            if not own.waiting:
                return None
            begin = own.waiting.popleft()
            payloads, sealed = list(begin.payloads), begin.sealed
            size = sum(map(len, payloads))
            while own.waiting:
                more = own.waiting[0]
                size += sum(map(len, more.payloads))
                many = len(payloads) + len(more.payloads) > _LOT or size > _LOT_BYTES
                if many or more.first != begin.first + len(payloads):
                    break
                own.waiting.popleft()
                payloads += more.payloads
                sealed = more.sealed
            return Submit(begin.ref, begin.first, payloads, None, sealed)

    def _admit(self, own: Own, lot: Submit) -> None:
        spec = own.spec or self._open(own)
        digests: Sequence[bytes] = ()
        payloads: Sequence[bytes] = lot.payloads
        if spec.name:
            digests, payloads = self._named.checked(spec, lot)
        self._store(own, payloads)
        admission = self._ledger.submit(
            spec, lot.first, payloads, sealed=lot.sealed, now=self._clock.wall(), digests=digests
        )
        self._admitted(own, spec, lot, admission)
        self._alarm.ring()

    def _open(self, own: Own) -> CallSpec:
        header = own.header
        if "name" in header:
            spec = self._take(own.watch.call_id, header)
        else:
            kind = CallKind(header["kind"])
            function_id, parent = str(header["function"]), header.get("parent")
            pool, reply = self._places(function_id, durable=kind.durable)
            spec = CallSpec(
                call_id=own.watch.call_id,
                function_id=function_id,
                pool=pool,
                kind=kind,
                created=self._clock.wall(),
                parent=own.watch.caller.running(parent) if parent else None,
                durable=kind.durable,
                terms=Terms.from_json(header["terms"]) if "terms" in header else None,
                reply=reply,
            )
        own.spec, own.watch.kind = spec, spec.kind
        if spec.name or not spec.durable:
            self._listening.watch(own.watch)
        return spec

    def _take(self, call_id: str, header: dict[str, Any]) -> CallSpec:
        """Begin a named call, or take it up.

        First it is ours and then others are asked: of two that do so in one moment, none misses
        the other.
        """
        self._listening.own(call_id)
        try:
            spec, _ = self._named.begin(call_id, header)
        except Error:
            self._listening.disown(call_id)
            raise
        return spec

    def _places(self, function_id: str, *, durable: bool) -> tuple[str, str]:
        """Return the pool of a function, and where outcomes are told; asks for both at once."""
        found = ["", self._listening.known_address]

        def pool() -> None:
            found[0] = self._functions.pool_for(function_id)

        def reply() -> None:
            found[1] = self._listening.address()

        # A spawn alone opens no mailbox, as nobody may wait for it.
        self._crew.map(lambda ask: ask(), [pool] if durable else [pool, reply])
        return found[0], found[1]

    def _store(self, own: Own, payloads: Sequence[bytes]) -> None:
        refs = [BlobRef.decode(each) for each in payloads if is_blob(each)]
        files = own.watch.caller.files

        def store(ref: BlobRef) -> None:
            self._depot.store(ref, files.path(ref))
            own.stored[ref.name] = ref
            files.drop(ref)

        self._crew.map(store, [ref for ref in refs if ref.name not in own.stored])

    def _admitted(self, own: Own, spec: CallSpec, lot: Submit, admission: Admission) -> None:
        own.known = admission.known
        own.watch.opened = admission.known > 0 or own.watch.opened
        if own.watch.end is not None:
            self._confirm(own, min(admission.known, lot.first + len(lot.payloads)))
        complete = admission.known >= lot.first + len(lot.payloads)
        own.sealed = own.sealed or (lot.sealed and complete)
        # What follows on inputs that were refused is refused as well, or its client would send all
        # of it again at once, and so on without a pause.
        if admission.refused or (own.starved and not complete):
            own.starved = True
            own.watch.tell(Kind.ACK, Ack(own.watch.ref, own.known, refused=True).encode())
            if spec.kind in _WAIT_FOR_ROOM:
                own.lane.do(partial(self._wait_for_room, own))
            else:
                self.discard(own)
            return
        own.hunger = _HUNGER[0]
        if spec.kind != CallKind.REMOTE:
            own.watch.tell(Kind.ACK, Ack(own.watch.ref, own.known).encode())
        if own.sealed:
            self._sealed(own)

    def _confirm(self, own: Own, end: int) -> None:
        """The inputs of a named call are those that it was begun with, up to here: tell of them."""
        assert own.watch.end is not None
        if end > own.watch.end:
            own.watch.end = end
            self._listening.look(own.watch.call_id)

    def reject(self, own: Own, error: Error) -> None:
        """Tell the client that its call is over, since its inputs were not taken."""
        reject(own.watch, error)
        self.discard(own)

    def discard(self, own: Own) -> None:
        """Let go of a call; what the ledger does not know of leaves no payloads behind."""
        self.end(own)
        if own.stored and not own.known:
            self._depot.delete(list(own.stored.values()))

    def end(self, own: Own) -> None:
        """Send nothing more of a call, and hear of it no more. Idempotent."""
        if own.ended:
            return
        own.ended = True
        own.fed.set()
        self._listening.unwatch(own.watch)
        own.gone()
        if own.parent is not None:
            own.watch.caller.waits(own.parent, -1)
            own.parent = None
