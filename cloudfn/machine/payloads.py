"""Payloads in files, between this machine and where all machines reach them."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from contextlib import suppress

from cloudfn.errors import DataLossError, Error, InvalidError
from cloudfn.machine.threads import Threads
from cloudfn.model.call import Status
from cloudfn.providers.depot import Depot
from cloudfn.providers.ledger import Claim, Entry
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.wire.messages import BlobRef, encode_json, is_blob

_log = logging.getLogger(__name__)

#: seconds until a result that could not be stored is stored again, at first and at most
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


class Payloads:
    """Brings arguments here and results away. Single-threaded but for the work itself.

    Args:
        loop: The loop.
        blobs: Payloads on this machine.
        depot: Payloads for all machines.
        threads: Where files travel.
        record: Takes outcomes whose payloads are where all reach them, and how many seconds they
            may wait for others.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        blobs: LocalBlobs,
        depot: Depot,
        threads: Threads,
        record: Callable[[Claim, Entry, float], None],
    ) -> None:
        self._loop = loop
        self._blobs = blobs
        self._depot = depot
        self._threads = threads
        self._record = record
        #: outcomes whose payloads are on their way
        self.under_way = 0
        self._era = 0

    def fetch(self, payload: bytes) -> None:
        """Bring what lies in a blob to this machine; blocks.

        Raises:
            DataLossError: There is no such payload.
            Error: It cannot be had now.
        """
        ref = BlobRef.decode(payload)
        with suppress(DataLossError):
            self._blobs.path(ref)
            return
        target = self._blobs.place(ref)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        # What is cut short, or from an earlier life, stands in the way.
        target.unlink(missing_ok=True)
        self._depot.fetch(ref, target)

    def store(self, payload: bytes) -> None:
        """Bring what lies in a blob of this machine to where all reach it, and only there; blocks.

        A container of this machine may be who reads it, and fetches it as any other client does.

        Raises:
            DataLossError: It is not here.
            Error: It cannot be stored now.
        """
        ref = BlobRef.decode(payload)
        self._depot.store(ref, self._blobs.path(ref))
        self._blobs.delete(ref)

    def ended(self, claim: Claim, entry: Entry, patience: float) -> None:
        """Record an outcome, once its payload is where all reach it.

        Args:
            claim: Of its input.
            entry: The outcome.
            patience: Seconds that it may wait for others; one that travels has waited.
        """
        if not is_blob(entry.payload):
            self._record(claim, entry, patience)
            return
        self.under_way += 1
        self._ship(claim, entry, self._era, 0)

    def _ship(self, claim: Claim, entry: Entry, era: int, failures: int) -> None:
        if era != self._era:
            return

        def stored(_: None) -> None:
            if era == self._era:
                self.under_way -= 1
                self._record(claim, entry, 0.0)

        def failed(error: Error) -> None:
            if isinstance(error, DataLossError | InvalidError):
                _log.error("a result of %s is lost: %s", claim.call_id, error)
                body = {"error": "DataLossError", "message": error.message, "hint": error.hint}
                lost = Entry(entry.seq, entry.fence, Status.LOST, encode_json(body))
                if era == self._era:
                    self.under_way -= 1
                    self._record(claim, lost, 0.0)
                return
            if not failures:
                _log.warning("a result cannot be stored, trying again: %s", error)
            pause = min(_LONGEST_PAUSE, _PAUSE * 2 ** min(failures, 10))
            self._loop.call_later(pause, self._ship, claim, entry, era, failures + 1)

        self._threads.do(lambda: self.store(entry.payload), stored, failed)

    def drop(self) -> None:
        """Nothing that is under way is this machine's any more."""
        self._era += 1
        self.under_way = 0

    def forget(self, payloads: Sequence[bytes]) -> None:
        """Delete what this machine has of payloads."""
        for payload in payloads:
            if is_blob(payload):
                with suppress(Error, OSError):
                    self._blobs.delete(BlobRef.decode(payload))

    def delete(self, payloads: Sequence[bytes]) -> None:
        """Delete payloads here and where all reach them; nobody needs them."""
        self.forget(payloads)
        refs = [BlobRef.decode(payload) for payload in payloads if is_blob(payload)]
        if refs:
            self._threads.do(
                lambda: self._depot.delete(refs),
                lambda _: None,
                lambda error: _log.warning("payloads cannot be deleted: %s", error),
            )
