"""Group commit: everything that one turn of the loop wrote becomes durable together.

Whoever writes registers what may happen only afterwards: acknowledgements and deliveries. When a
commit fails, submissions are refused, and what containers achieved is written again until it holds.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from cloudfn.errors import Error
from cloudfn.model.call import Counters
from cloudfn.providers.base import Admission, CallSpec, Claim, Entry, Ledger, PoolCounts

_log = logging.getLogger(__name__)

#: seconds between two tries to commit while the disk is full or the file locked
_RETRY = 0.5

Refusal = Callable[[Error], None]


class Journal:
    """The ledger as the daemon writes to it."""

    def __init__(self, loop: AbstractEventLoop, ledger: Ledger) -> None:
        self._loop = loop
        self._ledger = ledger
        self._scheduled = False
        self._committed: list[Callable[[], None]] = []
        self._synced: list[Callable[[], None]] = []
        self._refusals: list[Refusal] = []
        #: writes of holders since the last commit, to be repeated when it fails
        self._redo: list[Callable[[], object]] = []
        self._syncing = False
        self._closed = False
        self._sync_thread = ThreadPoolExecutor(1, thread_name_prefix="sync")
        #: why nothing can be written at present
        self.trouble: Error | None = None

    # What holders of claims write

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        """See `Ledger.claim`."""
        claims = self._ledger.claim(pool, limit, now)
        if claims:
            self._touch()
        return claims

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        """See `Ledger.give_back`."""
        self._redo.append(lambda: self._ledger.give_back(claims))
        self._touch()
        return self._ledger.give_back(claims)

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        """See `Ledger.retry`."""
        self._redo.append(lambda: self._ledger.retry(seq, fence, counters, not_before, alone=alone))
        self._touch()
        return self._ledger.retry(seq, fence, counters, not_before, alone=alone)

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        """See `Ledger.record`."""
        self._redo.append(lambda: self._ledger.record(entries))
        self._touch()
        return self._ledger.record(entries)

    def counts(self, pool: str) -> PoolCounts:
        """See `Ledger.counts`."""
        return self._ledger.counts(pool)

    # What clients write

    def submit(
        self,
        call: CallSpec,
        first: int,
        payloads: Sequence[bytes],
        refusal: Refusal,
        *,
        sealed: bool,
        now: float,
    ) -> Admission:
        """Admit inputs; `refusal` is called instead of the hooks when they cannot be kept.

        Raises:
            Error: Nothing can be written at present, or the call is another one.
        """
        if self.trouble is not None:
            raise self.trouble
        admission = self._ledger.submit(call, first, payloads, sealed=sealed, now=now)
        self._refusals.append(refusal)
        self._touch()
        return admission

    def write(self, action: Callable[[], object]) -> None:
        """Carry out another write, one that may be repeated."""
        self._redo.append(action)
        self._touch()
        action()

    # When it holds

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call `hook` when everything written so far survives the death of this process."""
        self._committed.append(hook)
        self._touch()

    def after_sync(self, hook: Callable[[], None]) -> None:
        """Call `hook` when everything written so far survives a power cut."""
        self.after_commit(lambda: self._sync_then(hook))

    def close(self) -> None:
        """Commit what there is and stop."""
        self._flush()
        self._closed = True
        self._sync_thread.shutdown(wait=True)

    def _touch(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._closed:
            return
        self._scheduled = False
        try:
            self._ledger.commit()
        except Error as error:
            self._failed(error)
            return
        if self.trouble is not None:
            _log.info("the ledger can be written again")
            self.trouble = None
        self._redo.clear()
        self._refusals.clear()
        hooks, self._committed = self._committed, []
        for hook in hooks:
            hook()

    def _failed(self, error: Error) -> None:
        """The ledger is as it was at its last commit: refuse what is new, repeat what was done."""
        if self.trouble is None:
            _log.error("the ledger cannot be written: %s", error)
        self.trouble = error
        refusals, self._refusals = self._refusals, []
        for refuse in refusals:
            refuse(error)
        redo = list(self._redo)
        for write in redo:
            write()
        self._scheduled = True
        self._loop.call_later(_RETRY, self._flush)

    def _sync_then(self, hook: Callable[[], None]) -> None:
        self._synced.append(hook)
        if not self._syncing:
            self._sync()

    def _sync(self) -> None:
        """Sync in the other thread; whoever asks meanwhile shares the next one."""
        self._syncing = True
        hooks, self._synced = self._synced, []
        future = self._sync_thread.submit(self._ledger.sync)

        def done() -> None:
            self._syncing = False
            error = future.exception()
            if error is not None:
                _log.error("the ledger cannot be synced: %s", error)
                self._synced = hooks + self._synced
                self._loop.call_later(_RETRY, self._sync)
                return
            for hook in hooks:
                hook()
            if self._synced and not self._syncing:
                self._sync()

        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(done))
