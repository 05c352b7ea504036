"""Group commit: everything that was written since the last one becomes durable together.

Whoever writes registers what may happen only afterwards: acknowledgements and deliveries. A commit
comes at the end of the turn of the loop in which somebody asked for it; what nobody waits for may
linger for that of somebody else. When a commit fails, submissions are refused, and what containers
achieved is written again until it holds.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Handle
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from cloudfn.errors import Error
from cloudfn.model.call import Counters
from cloudfn.providers.ledger import Admission, CallSpec, Claim, Entry, Ledger, PoolCounts

_log = logging.getLogger(__name__)

#: seconds between two tries to commit or sync while the disk is full or the file locked
_RETRY = 0.5
#: longest time that writes nobody waits for stay uncommitted
_LINGER = 0.01
#: shortest time between two commits: a busy daemon has more in each
_PACE = 0.002

Hook = Callable[[], object]
Refusal = Callable[[Error], None]


class Journal:
    """The ledger as the daemon writes to it. Single-threaded, on an event loop."""

    def __init__(self, loop: AbstractEventLoop, ledger: Ledger) -> None:
        self._loop = loop
        self._ledger = ledger
        #: the next commit, and whether it comes at the end of this turn
        self._timer: Handle | None = None
        self._hurries = self._hurries_most = False
        self._last = float("-inf")
        self._committed: list[Hook] = []
        self._refusals: list[Refusal] = []
        #: what was written since the last commit, to be repeated when it fails
        self._redo: list[Hook] = []
        self._sync_thread = ThreadPoolExecutor(1, thread_name_prefix="sync")
        #: the sync under way, and the hooks that wait for it
        self._sync: Future[None] | None = None
        self._syncing: list[Hook] = []
        #: the hooks that wait for the next one
        self._unsynced: list[Hook] = []
        self._closed = False
        #: how many commits there were
        self.commits = 0
        #: why nothing can be written at present
        self.trouble: Error | None = None

    # What holders of claims write

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        """See `Ledger.claim`. A claim outlives a failed commit: its holder keeps it."""
        claims = self._ledger.claim(pool, limit, now)
        if claims:
            self._linger()
        return claims

    def overdue(self, now: float) -> list[Claim]:
        """See `Ledger.overdue`."""
        claims = self._ledger.overdue(now)
        if claims:
            self._linger()
        return claims

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        """See `Ledger.give_back`."""
        given_back = self._ledger.give_back(claims)
        self._redo_later(lambda: self._ledger.give_back(claims))
        self._hurry()
        return given_back

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        """See `Ledger.retry`."""
        accepted = self._ledger.retry(seq, fence, counters, not_before, alone=alone)
        self._redo_later(lambda: self._ledger.retry(seq, fence, counters, not_before, alone=alone))
        self._hurry()
        return accepted

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        """See `Ledger.record`."""
        recorded = self._ledger.record(entries)
        self._redo_later(lambda: self._ledger.record(entries))
        return recorded

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
        digests: Sequence[bytes] = (),
    ) -> Admission:
        """Admit inputs; `refusal` is called when they cannot be kept after all.

        Raises:
            Error: Nothing can be written at present, or the call is another one.
        """
        if self.trouble is not None:
            # One error is raised many times: each with the traceback of its own.
            raise self.trouble.with_traceback(None)
        admission = self._ledger.submit(
            call, first, payloads, sealed=sealed, now=now, digests=digests
        )
        self._refusals.append(refusal)
        self._linger()
        return admission

    def write(self, action: Hook) -> None:
        """Carry out another write, one that may be repeated."""
        self.clear_up(action)
        self._hurry()

    def clear_up(self, action: Hook) -> None:
        """Carry out a write, one that may be repeated, whose loss in a crash changes nothing."""
        action()
        self._redo_later(action)

    # When it holds

    def after_commit(self, hook: Hook) -> None:
        """Call `hook` when everything written so far survives the death of this process."""
        self._committed.append(hook)
        self._hurry()

    def after_sync(self, hook: Hook) -> None:
        """Call `hook` when everything written so far survives a power cut."""
        self.after_commit(lambda: self._unsynced.append(hook))
        if self._sync is None:
            self.hurry()  # the sync takes its time; who comes meanwhile shares the next one

    def hurry(self) -> None:
        """Commit at the end of this turn, however long ago the last time was: others may look."""
        if self._hurries_most or self._closed or self.trouble is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._hurries = self._hurries_most = True
        self._timer = self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Commit and sync what there is, and stop; what fails now is not tried again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        while self._sync is not None:
            wait([self._sync])
            self._sync_ended(self._sync)
        self._sync_thread.shutdown()

    def _redo_later(self, write: Hook) -> None:
        self._redo.append(write)
        self._linger()

    def _linger(self) -> None:
        """Commit with the next one who is in a hurry, or soon."""
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(_LINGER, self._flush)

    def _hurry(self) -> None:
        """Commit at the end of this turn of the loop, unless one has just been or is due."""
        if self._hurries or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._hurries = True
        due = self._last + _PACE
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._flush)
        else:
            self._timer = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._hurries = self._hurries_most = False
        try:
            self._ledger.commit()
        except Error as error:
            self._failed(error)
            return
        if self.trouble is not None:
            _log.info("the ledger can be written again")
            self.trouble = None
        self.commits += 1
        self._last = self._loop.time()
        self._redo.clear()
        self._refusals.clear()
        hooks, self._committed = self._committed, []
        _call(hooks)
        self._start_sync()

    def _failed(self, error: Error) -> None:
        """The ledger is as it was at its last commit: repeat what was done, refuse what is new."""
        if self.trouble is None:
            _log.error("the ledger cannot be written: %s", error)
        self.trouble = error
        if not self._closed:
            # Before anybody writes again: their writes are for that try.
            self._timer, self._hurries = self._loop.call_later(_RETRY, self._flush), True
        refusals, self._refusals = self._refusals, []
        _call(list(self._redo))
        _call([partial(refuse, error) for refuse in refusals])

    def _start_sync(self) -> None:
        """Sync in the other thread, for all who wait; who comes meanwhile shares the next one."""
        if self._sync is not None or not self._unsynced:
            return
        self._syncing, self._unsynced = self._unsynced, []
        self._sync = self._sync_thread.submit(self._ledger.sync)
        if not self._closed:
            self._sync.add_done_callback(
                lambda sync: self._loop.call_soon_threadsafe(self._sync_ended, sync)
            )

    def _sync_ended(self, sync: Future[None]) -> None:
        if sync is not self._sync:
            return
        self._sync = None
        hooks, self._syncing = self._syncing, []
        error = sync.exception()
        if error is None:
            _call(hooks)
            self._start_sync()
            return
        _log.error("the ledger cannot be synced: %s", error)
        if not self._closed:
            self._unsynced = hooks + self._unsynced
            self._loop.call_later(_RETRY, self._start_sync)


def _call(hooks: Sequence[Hook]) -> None:
    """Call all; one that fails keeps no other from being called."""
    for hook in hooks:
        try:
            hook()
        except Exception:  # noqa: BLE001 - one client's trouble
            _log.exception("a hook of the journal failed")
