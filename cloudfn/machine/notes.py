"""Tells clients far away that outcomes exist."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from cloudfn.errors import Error
from cloudfn.providers.ledger import Entry
from cloudfn.providers.shared_ledger import SharedLedger
from cloudfn.providers.wakeups import Note, Printed, Wakeups

_log = logging.getLogger(__name__)

#: bytes of outcomes that travel with one note, and how many outcomes
_MOST_BYTES = 48 << 10
_MOST = 500
_THREADS = 4

#: (call id, index of the input, its outcome)
Ended = tuple[str, int, Entry]


def notes_of(ended: Iterable[Ended]) -> dict[str, list[Note]]:
    """Return what to tell of outcomes, by call; those that are small travel along."""
    notes: dict[str, list[Note]] = {}
    for call_id, group in groupby(sorted(ended, key=lambda each: each[:2]), lambda each: each[0]):
        for lot in _lots([each[1:] for each in group]):
            indices = tuple(index for index, _ in lot)
            statuses = tuple(entry.status for _, entry in lot)
            payloads = tuple(entry.payload for _, entry in lot)
            if sum(map(len, payloads)) > _MOST_BYTES:
                payloads = ()
            notes.setdefault(call_id, []).append(Note(call_id, indices, statuses, payloads))
    return notes


def _lots(outcomes: Sequence[tuple[int, Entry]]) -> list[list[tuple[int, Entry]]]:
    """Return outcomes in lots; one that is large is alone in its lot."""
    lots: list[list[tuple[int, Entry]]] = []
    size = 0
    for each in outcomes:
        size += len(each[1].payload)
        if not lots or size > _MOST_BYTES or len(lots[-1]) >= _MOST:
            lots.append([])
            size = len(each[1].payload)
        lots[-1].append(each)
    return lots


class Teller:
    """Tells, in threads. What it cannot tell, clients find in the ledger.

    Args:
        ledger: Knows where the client of a call waits.
        wakeups: Reach it there.
    """

    def __init__(self, ledger: SharedLedger, wakeups: Wakeups) -> None:
        self._ledger = ledger
        self._wakeups = wakeups
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tell")

    def ended(self, ended: Sequence[Ended], printed: Mapping[str, Printed]) -> None:
        """Outcomes are recorded.

        Args:
            ended: The outcomes.
            printed: How much output the apps of calls had.
        """
        notes = {
            call_id: [note._replace(printed=printed.get(call_id)) for note in found]
            for call_id, found in notes_of(ended).items()
        }
        self._threads.submit(self._tell, notes)

    def yielded(self, call_id: str, end: int) -> None:
        """A generator has items up to a position."""
        self._threads.submit(self._tell, {call_id: [Note(call_id, (), (), items=end)]})

    def _tell(self, notes: dict[str, list[Note]]) -> None:
        try:
            addressed: dict[str, list[Note]] = {}
            for call_id, each in notes.items():
                addressed.setdefault(self._ledger.reply_to(call_id), []).extend(each)
            for address, each in addressed.items():
                if address:
                    self._wakeups.tell(address, each)
        except Error as error:
            _log.warning("clients cannot be told of outcomes: %s", error)
        except Exception:  # noqa: BLE001 - the client looks into the ledger anyway
            _log.exception("telling clients failed")

    def close(self) -> None:
        """Tell what is left, and stop."""
        self._threads.shutdown()
