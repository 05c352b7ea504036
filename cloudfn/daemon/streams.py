"""Streams of generators between the agent and clients: items out, acknowledgements back."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Sequence
from typing import Protocol

from cloudfn.daemon.session import Session
from cloudfn.daemon.watches import Call, Watch
from cloudfn.errors import InvalidError
from cloudfn.model.call import CallKind
from cloudfn.providers import streams as ports
from cloudfn.providers.ledger import Claim
from cloudfn.wire.messages import Items, Kind, Taken, is_blob


class Readers(Protocol):
    """What streams need of the rest of the daemon."""

    def find_call(self, call_id: str) -> Call | None:
        """Return a call under way."""
        ...

    def find_owner(self, session: Session, ref: int) -> Watch | None:
        """Return a client's watch of a call of its own."""
        ...

    def printed_before(self) -> None:
        """Items are about to go out: what was printed goes first."""
        ...

    def taken(self, call_id: str, end: int) -> None:
        """A client has items 0 … end − 1 of a call."""
        ...

    def discarded(self, payload: bytes) -> None:
        """An item that lies in a blob is needed no more."""
        ...


class Streams:
    """All streams of one environment. Single-threaded."""

    def __init__(self, loop: AbstractEventLoop, store: ports.Streams, readers: Readers) -> None:
        self._loop = loop
        self._store = store
        self._readers = readers
        #: calls with items that were not sent
        self._dirty: dict[str, None] = {}

    def yielded(self, claim: Claim, position: int, payload: bytes) -> int:
        """A generator yielded; return how many of its items, from 0 on, are wanted no more.

        Raises:
            InvalidError: The call expects no items.
        """
        call = self._readers.find_call(claim.call_id)
        if call is None:  # it is being cancelled
            self._discard([payload])
            return 0
        if call.spec.kind != CallKind.REMOTE_GEN:
            self._discard([payload])
            raise InvalidError(
                "A generator function can only be called with `.remote_gen(...)`.",
                hint="The function was deployed anew since it was looked up: look it up again.",
            )
        call.has_blobs = True
        appended = self._store.append(claim.call_id, claim.fence, position, [payload])
        self._discard(appended.dropped)
        if not self._dirty:
            self._loop.call_soon(self.flush)
        self._dirty[claim.call_id] = None
        return appended.acknowledged

    def taken(self, session: Session, message: Taken) -> None:
        """A client has items, and needs them no more."""
        watch = self._readers.find_owner(session, message.ref)
        if watch is not None:
            watch.items = max(watch.items, message.end)
            watch.call.has_blobs = True
            self._acknowledge(watch.call.spec.call_id, message.end)

    def resume(self, session: Session, ref: int, have: int, taken: int) -> None:
        """A client is back that has items 0 … have − 1, and has read 0 … taken − 1 of them."""
        watch = self._readers.find_owner(session, ref)
        if watch is None:
            return
        watch.items = max(have, taken)
        watch.call.has_blobs = True
        self._acknowledge(watch.call.spec.call_id, taken)
        # At once: an outcome is about to follow, perhaps.
        self._dirty[watch.call.spec.call_id] = None
        self.flush()

    def flush(self) -> None:
        """Send the items that arrived."""
        if not self._dirty:
            return
        self._readers.printed_before()
        dirty, self._dirty = self._dirty, {}
        for call_id in dirty:
            call = self._readers.find_call(call_id)
            for watch in call.watches if call is not None else ():
                if watch.owner:
                    self._send(watch)

    def forget(self, call_id: str) -> None:
        """Nobody wants anything of a call any more; its blobs are deleted with it."""
        self._store.forget([call_id])

    def _send(self, watch: Watch) -> None:
        payloads = self._store.read(watch.call.spec.call_id, watch.items)
        if payloads:
            watch.session.show(payloads)
            watch.session.send(Kind.ITEMS, Items(watch.ref, watch.items, payloads).encode())
            watch.items += len(payloads)

    def _acknowledge(self, call_id: str, end: int) -> None:
        self._discard(self._store.acknowledge(call_id, end))
        self._readers.taken(call_id, end)

    def _discard(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            if is_blob(payload):
                self._readers.discarded(payload)
