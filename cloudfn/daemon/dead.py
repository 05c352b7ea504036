"""Dead letters: inputs of durable calls that failed for good. Shown, run once more, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cloudfn.clock import Clock
from cloudfn.control.calls.dead import find_letters, move, new_call, no_room
from cloudfn.daemon.journal import Journal
from cloudfn.providers.blobs import Blobs
from cloudfn.providers.ledger import DeadLetter, Ledger
from cloudfn.wire.messages import BlobRef, is_blob


class Pools(Protocol):
    """What dead letters need of the rest of the daemon."""

    def pool_for(self, function_id: str) -> str:
        """Return the pool that new calls of a function go to; raises NotFoundError."""
        ...

    def inputs_arrived(self, pool: str) -> None:
        """Inputs wait in a pool."""
        ...

    def delete_blob(self, ref: BlobRef) -> None:
        """Delete a payload that nobody needs."""
        ...


class DeadLetters:
    """The dead letters of one environment."""

    def __init__(
        self, journal: Journal, ledger: Ledger, blobs: Blobs, pools: Pools, clock: Clock
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._blobs = blobs
        self._pools = pools
        self._clock = clock

    def retry(self, call_id: str, indices: Sequence[int] | None) -> tuple[str, int]:
        """Run dead letters of a call once more, as a new call of the function as it is now.

        They are dead letters no more; their outcomes stay.

        Args:
            call_id: The call.
            indices: Which of its inputs; None for all that are dead letters.

        Returns:
            The id of the new call, and how many inputs it has.

        Raises:
            NotFoundError: There are none, or the function is gone.
            ResourceExhaustedError: The function has as many waiting inputs as it may have.
        """
        letters = find_letters(self._ledger, call_id, indices)
        pool = self._pools.pool_for(letters[0].call.function_id)
        new = new_call(letters, pool, self._clock.wall())
        payloads = [self._copied(letter.payload, new.call_id) for letter in letters]
        moved: list[bool] = []
        self._journal.write(lambda: moved.append(move(self._ledger, letters, new, payloads)))
        if not moved[0]:
            raise no_room(len(letters))
        self._forget_payloads(letters)
        self._pools.inputs_arrived(new.pool)
        return new.call_id, len(letters)

    def drop(self, call_id: str, index: int) -> None:
        """Make an input a dead letter no more; raises NotFoundError if it is none."""
        letters = find_letters(self._ledger, call_id, [index])
        self._journal.write(lambda: self._ledger.bury(call_id, [index]))
        self._forget_payloads(letters)

    def _copied(self, payload: bytes, call_id: str) -> bytes:
        if not is_blob(payload):
            return payload
        return self._blobs.copy(BlobRef.decode(payload), call_id).encode()

    def _forget_payloads(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            if is_blob(letter.payload):
                self._pools.delete_blob(BlobRef.decode(letter.payload))
