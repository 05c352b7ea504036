"""Dead letters: inputs of durable calls that failed for good. Shown, run once more, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cloudfn.clock import Clock
from cloudfn.daemon.journal import Journal
from cloudfn.errors import NotFoundError, ResourceExhaustedError
from cloudfn.model import ids
from cloudfn.model.call import CallKind
from cloudfn.providers.blobs import Blobs
from cloudfn.providers.ledger import CallSpec, DeadLetter, Ledger
from cloudfn.wire.messages import BlobRef, is_blob

#: dead letters of one call that are looked at
_MOST = 1_000_000


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
        letters = self._letters(call_id, indices)
        function_id = letters[0].call.function_id
        new = CallSpec(
            call_id=ids.mint("fc"),
            function_id=function_id,
            pool=self._pools.pool_for(function_id),
            kind=CallKind.SPAWN_MAP,
            created=self._clock.wall(),
            durable=True,
            origin=call_id,
        )
        payloads = [self._copied(letter.payload, new.call_id) for letter in letters]
        taken = [letter.index for letter in letters]

        def move() -> bool:
            now = self._clock.wall()
            admission = self._ledger.submit(new, 0, payloads, sealed=True, now=now)
            if admission.refused:
                self._ledger.forget(new.call_id)
                return False
            self._ledger.bury(call_id, taken)
            return True

        moved: list[bool] = []
        self._journal.write(lambda: moved.append(move()))
        if not moved[0]:
            raise ResourceExhaustedError(
                f"The function has no room for {len(letters)} more waiting inputs.",
                hint="Try again when some are finished, or fewer at a time: `--input N`.",
            )
        self._forget_payloads(letters)
        self._pools.inputs_arrived(new.pool)
        return new.call_id, len(letters)

    def drop(self, call_id: str, index: int) -> None:
        """Make an input a dead letter no more; raises NotFoundError if it is none."""
        letters = self._letters(call_id, [index])
        self._journal.write(lambda: self._ledger.bury(call_id, [index]))
        self._forget_payloads(letters)

    def _letters(self, call_id: str, indices: Sequence[int] | None) -> list[DeadLetter]:
        letters = self._ledger.dead_letters(limit=_MOST, call_id=call_id)
        if indices is None:
            chosen = letters
        else:
            known = {letter.index: letter for letter in letters}
            absent = [index for index in indices if index not in known]
            if absent:
                raise NotFoundError(
                    f"Input {absent[0]} of call {call_id} is no dead letter.",
                    hint="See `cloudfn call dead`.",
                )
            chosen = [known[index] for index in dict.fromkeys(indices)]
        if not chosen:
            raise NotFoundError(
                f"Call {call_id} has no dead letters.", hint="See `cloudfn call dead`."
            )
        return chosen

    def _copied(self, payload: bytes, call_id: str) -> bytes:
        if not is_blob(payload):
            return payload
        return self._blobs.copy(BlobRef.decode(payload), call_id).encode()

    def _forget_payloads(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            if is_blob(letter.payload):
                self._pools.delete_blob(BlobRef.decode(letter.payload))
