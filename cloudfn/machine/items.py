"""What generators on this machine yield, on its way to a stream that their clients read.

An item counts as taken when its reader, far away, has said so to the stream. Nobody tells this
machine of that: it asks, with each item, and now and then while some are not taken.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloudfn.errors import DataLossError, Error, InvalidError
from cloudfn.machine.threads import Threads
from cloudfn.providers.ledger import Claim
from cloudfn.providers.streams import Appended, Streams
from cloudfn.wire.messages import is_blob

_log = logging.getLogger(__name__)

#: seconds between two questions what was taken: at first, and at most
_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Ways:
    """What items need of the rest of a machine."""

    #: brings what lies in a blob to where all reach it, once; blocks; raises an Error
    store: Callable[[bytes], None]
    #: the client of a call may read up to a position; from any thread
    tell: Callable[[str, int], None]
    #: items of a call up to a position are wanted no more
    taken: Callable[[str, int], None]
    #: what lies here of these payloads is needed no more
    forget: Callable[[Sequence[bytes]], None]
    #: nobody takes what an attempt yields: another one does so, or its call is gone; or why its
    #: items are lost
    ended: Callable[[Claim, Error | None], None]


@dataclass(slots=True)
class _Flow:
    """The items of one attempt."""

    claim: Claim
    #: items that the stream does not have yet, and the position of the first of them
    waiting: deque[bytes] = field(default_factory=deque)
    next: int = 0
    #: those of them in blobs that are where all reach them
    stored: set[bytes] = field(default_factory=set)
    acknowledged: int = 0
    #: the stream is being asked
    busy: bool = False
    pause: float = _PAUSE
    over: bool = False


class Items:
    """All generators of one machine. Single-threaded, on the loop.

    Args:
        loop: The loop.
        streams: Where items go.
        threads: Where that happens.
        ways: The rest of the machine.
    """

    def __init__(
        self, loop: AbstractEventLoop, streams: Streams, threads: Threads, ways: Ways
    ) -> None:
        self._loop = loop
        self._streams = streams
        self._threads = threads
        self._ways = ways
        self._flows: dict[str, _Flow] = {}

    def yielded(self, claim: Claim, position: int, payload: bytes) -> int:
        """A generator yielded; return how many of its items are wanted no more, as is known."""
        flow = self._flows.get(claim.call_id)
        if flow is None or flow.claim.fence != claim.fence:
            self.forget(claim.call_id)
            flow = self._flows[claim.call_id] = _Flow(claim, next=position)
        flow.waiting.append(payload)
        self._push(flow)
        return flow.acknowledged

    def ended(self, claim: Claim) -> None:
        """An attempt has its outcome, or counts for nothing. Idempotent."""
        flow = self._flows.get(claim.call_id)
        if flow is not None and flow.claim.fence == claim.fence:
            self.forget(claim.call_id)

    def forget(self, call_id: str) -> None:
        """Nobody wants what a generator yields any more. Idempotent."""
        flow = self._flows.pop(call_id, None)
        if flow is not None:
            flow.over = True
            self._ways.forget(list(flow.waiting))

    def clear(self) -> None:
        """Nothing that runs here is this machine's any more."""
        for call_id in list(self._flows):
            self.forget(call_id)

    def _push(self, flow: _Flow) -> None:
        """Bring the stream what waits, or ask what was taken."""
        if flow.busy or flow.over:
            return
        flow.busy = True
        lot, first, claim = list(flow.waiting), flow.next, flow.claim

        def work() -> Appended:
            for payload in lot:
                if is_blob(payload) and payload not in flow.stored:
                    self._ways.store(payload)
                    flow.stored.add(payload)
            told = self._streams.append(claim.call_id, claim.fence, first, lot)
            if lot:
                self._ways.tell(claim.call_id, told.known)
            return told

        self._threads.do(
            work,
            lambda told: self._appended(flow, lot, told),
            lambda error: self._failed(flow, error),
        )

    def _appended(self, flow: _Flow, lot: Sequence[bytes], told: Appended) -> None:
        flow.busy = False
        if flow.over:
            return
        for _ in lot:
            flow.waiting.popleft()
        flow.stored.clear()
        flow.next += len(lot)
        if told.known < flow.next:
            self.forget(flow.claim.call_id)
            self._ways.ended(flow.claim, None)
            return
        news = told.acknowledged > flow.acknowledged
        flow.pause = _PAUSE if news or lot else min(flow.pause * 1.5, _LONGEST_PAUSE)
        if news:
            flow.acknowledged = told.acknowledged
            self._ways.taken(flow.claim.call_id, flow.acknowledged)
        if flow.waiting:
            self._push(flow)
        elif flow.acknowledged < flow.next:
            self._loop.call_later(flow.pause, self._push, flow)

    def _failed(self, flow: _Flow, error: Error) -> None:
        flow.busy = False
        call_id = flow.claim.call_id
        if isinstance(error, DataLossError | InvalidError):
            _log.error("items of %s are lost: %s", call_id, error)
            self.forget(call_id)
            self._ways.ended(flow.claim, error)
            return
        _log.warning("items of %s wait: %s", call_id, error)
        self._loop.call_later(_LONGEST_PAUSE, self._push, flow)
