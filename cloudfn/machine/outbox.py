"""What is told to the ledger behind the agent: in lots, in a thread, repeated until answered.

An outcome counts when the ledger has taken it; then its client is told. One that the ledger refuses
belongs to an attempt that somebody else has run meanwhile, and is dropped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from cloudfn.errors import (
    DataLossError,
    Error,
    InvalidError,
    NotFoundError,
    RequestSizeError,
    SerializationError,
)
from cloudfn.model.call import Counters, Status
from cloudfn.providers.doorbells import Doorbells
from cloudfn.providers.ledger import Claim, Entry
from cloudfn.providers.shared_ledger import SharedLedger
from cloudfn.wire.messages import encode_json

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: seconds that outcomes are gathered before they are written
LINGER = 0.003
#: entries that are written at a time
_LOT = 512
#: seconds until what failed is tried again, at first and at most
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: what trying again does not change
_FOR_GOOD = (DataLossError, InvalidError, NotFoundError, RequestSizeError, SerializationError)


class Recorded(NamedTuple):
    """An outcome that was told to the ledger."""

    claim: Claim
    entry: Entry
    #: False: it was refused, or never told; None: nobody knows, and nobody asks any more
    taken: bool | None


class _Retry(NamedTuple):
    claim: Claim
    counters: Counters
    not_before: float
    alone: bool
    done: Callable[[], object]


@dataclass(slots=True)
class _Letters:
    """What is to be written."""

    outcomes: list[tuple[Claim, Entry]] = field(default_factory=list)
    returned: list[tuple[int, int]] = field(default_factory=list)
    retries: list[_Retry] = field(default_factory=list)
    #: seconds that the first of them may wait for others, and whether one may not wait at all
    patience: float = 0.0
    urgent: bool = False

    def __len__(self) -> int:
        return len(self.outcomes) + len(self.returned) + len(self.retries)

    def take(self, limit: int) -> _Letters:
        """Remove and return some of them."""
        taken = _Letters(self.outcomes[:limit], self.returned[:limit], self.retries[:limit])
        del self.outcomes[:limit], self.returned[:limit], self.retries[:limit]
        self.urgent = len(self) > 0
        return taken


class _Dropped(Exception):  # noqa: N818 - not an error
    """What was being written is not this machine's any more."""


class Outbox:
    """Writes to the ledger. Methods may be called from any thread.

    Args:
        ledger: The ledger.
        doorbells: Are rung for what may run again.
        told: Is called with what the ledger has answered, in the writing thread.
        back: Has a function called on the loop.
    """

    def __init__(
        self,
        ledger: SharedLedger,
        doorbells: Doorbells,
        told: Callable[[Sequence[Recorded]], object],
        back: Callable[[Callable[[], object]], object],
    ) -> None:
        self._ledger = ledger
        self._doorbells = doorbells
        self._told = told
        self._back = back
        self._letters = _Letters()
        self._changed = threading.Condition()
        #: grows when all is dropped
        self._era = 0
        self._writing = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def record(self, claim: Claim, entry: Entry, patience: float = 0.0) -> None:
        """Have an outcome recorded.

        Args:
            claim: Of its input.
            entry: The outcome.
            patience: Seconds that it may wait for others, to be one request with them.
        """
        with self._changed:
            letters = self._letters
            if not letters:
                letters.patience = patience
            letters.outcomes.append((claim, entry))
            letters.urgent |= not patience or len(letters) >= _LOT
            self._changed.notify_all()

    def give_back(self, claims: Sequence[tuple[int, int]]) -> None:
        """Have inputs given back that never started, as (seq, fence)."""
        with self._changed:
            self._letters.returned += claims
            self._letters.urgent = True
            self._changed.notify_all()

    def retry(
        self,
        claim: Claim,
        counters: Counters,
        not_before: float,
        *,
        alone: bool,
        done: Callable[[], object],
    ) -> None:
        """Have an input run again; `done` is called on the loop when it may be claimed."""
        with self._changed:
            self._letters.retries.append(_Retry(claim, counters, not_before, alone, done))
            self._letters.urgent = True
            self._changed.notify_all()

    def drop(self) -> None:
        """Write nothing of what is here: it is not this machine's any more."""
        with self._changed:
            self._era += 1
            dropped, self._letters = self._letters, _Letters()
            self._changed.notify_all()
        self._told([Recorded(*each, taken=False) for each in dropped.outcomes])

    @property
    def empty(self) -> bool:
        """Whether the ledger has answered everything."""
        with self._changed:
            return not self._letters and not self._writing

    def flush(self, seconds: float) -> bool:
        """Wait up to `seconds` until the ledger has answered everything; return whether it has."""
        with self._changed:
            self._letters.urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._letters and not self._writing, seconds)

    def close(self) -> None:
        """Write nothing any more. Idempotent."""
        self._over.set()
        with self._changed:
            self._changed.notify_all()

    # In the thread

    def _run(self) -> None:
        while not self._over.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._letters or self._over.is_set())
                self._changed.wait_for(self._is_urgent, self._letters.patience)
            self._over.wait(LINGER)
            with self._changed:
                letters, era = self._letters.take(_LOT), self._era
                self._writing = len(letters)
            try:
                self._write(letters, era)
            except _Dropped:
                self._told([Recorded(*each, taken=None) for each in letters.outcomes])
            except Exception:  # noqa: BLE001 - what follows is to be written all the same
                _log.exception("outcomes could not be written")
            finally:
                with self._changed:
                    self._writing = 0
                    self._changed.notify_all()

    def _is_urgent(self) -> bool:
        return self._letters.urgent or self._over.is_set()

    def _write(self, letters: _Letters, era: int) -> None:
        if letters.outcomes:
            self._record(letters.outcomes, era)
        if letters.returned:
            self._for_sure(lambda: self._ledger.give_back(letters.returned), era)
        for each in letters.retries:
            self._retry(each, era)
        if letters.returned or letters.retries:
            self._ring()

    def _record(self, outcomes: Sequence[tuple[Claim, Entry]], era: int) -> None:
        """Record outcomes that were not recorded yet, in the order of the ledger's pages."""
        ordered = sorted(outcomes, key=lambda each: each[0].seq)
        entries = [entry for _, entry in ordered]
        try:
            verdicts = self._until_answered(lambda: self._ledger.record(entries), era)
        except _FOR_GOOD as error:
            if len(outcomes) > 1:
                for each in outcomes:
                    self._record([each], era)
                return
            claim, entry = outcomes[0]
            _log.error("an outcome of %s cannot be recorded: %s", claim.call_id, error)
            lost = Entry(entry.seq, entry.fence, Status.LOST, _unrecordable(error))
            ordered = [(claim, lost)]
            self._told([Recorded(claim, entry, taken=False)])
            verdicts = self._for_sure(lambda: self._ledger.record([lost]), era) or [False]
        self._told(
            [
                Recorded(claim, entry, taken)
                for (claim, entry), taken in zip(ordered, verdicts, strict=True)
            ]
        )

    def _retry(self, letter: _Retry, era: int) -> None:
        claim, counters = letter.claim, letter.counters
        self._for_sure(
            lambda: self._ledger.retry(
                claim.seq, claim.fence, counters, letter.not_before, alone=letter.alone
            ),
            era,
        )
        self._back(letter.done)

    def _ring(self) -> None:
        try:
            self._doorbells.ring(self._ledger.rings())
        except Error as error:  # the janitor rings as well, later
            _log.warning("doorbells cannot be rung: %s", error)

    def _for_sure(self, work: Callable[[], T], era: int) -> T | None:
        try:
            return self._until_answered(work, era)
        except _FOR_GOOD:
            _log.exception("the ledger refuses what this machine writes")
            return None

    def _until_answered(self, work: Callable[[], T], era: int) -> T:
        """Do work until there is an answer.

        Raises:
            _Dropped: It is not to be done any more.
            Error: One that trying again does not change.
        """
        failures = 0
        while True:
            if era != self._era or self._over.is_set():
                raise _Dropped
            try:
                answer = work()
            except _FOR_GOOD:
                raise
            except Error as error:
                if not failures:
                    _log.warning("the ledger does not answer, asking again: %s", error)
                failures += 1
                self._over.wait(min(_LONGEST_PAUSE, _PAUSE * 2 ** min(failures, 10)))
            else:
                if failures:
                    _log.info("the ledger answers again")
                return answer


def _unrecordable(error: Error) -> bytes:
    return encode_json(
        {
            "error": type(error).__name__,
            "message": f"What the input came to cannot be recorded: {error.message}",
            "hint": error.hint,
        }
    )
