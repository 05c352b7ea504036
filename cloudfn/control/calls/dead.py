"""Dead letters: inputs of durable calls that failed for good, found and run once more."""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.errors import NotFoundError, ResourceExhaustedError
from cloudfn.model import ids
from cloudfn.model.call import CallKind
from cloudfn.providers.ledger import CallSpec, DeadLetter, Ledger

#: dead letters of one call that are looked at
_MOST = 1_000_000


def find_letters(ledger: Ledger, call_id: str, indices: Sequence[int] | None) -> list[DeadLetter]:
    """Return dead letters of a call, at least one.

    Args:
        ledger: Has them.
        call_id: The call.
        indices: Which of its inputs; None for all that are dead letters.

    Raises:
        NotFoundError: There are none, or an input is none.
    """
    letters = {each.index: each for each in ledger.dead_letters(limit=_MOST, call_id=call_id)}
    wanted = list(letters if indices is None else dict.fromkeys(indices))
    for index in wanted:
        if index not in letters:
            raise NotFoundError(
                f"Input {index} of call {call_id} is no dead letter.",
                hint="See `cloudfn call dead`.",
            )
    if not wanted:
        raise NotFoundError(f"Call {call_id} has no dead letters.", hint="See `cloudfn call dead`.")
    return [letters[index] for index in wanted]


def new_call(letters: Sequence[DeadLetter], pool: str, now: float) -> CallSpec:
    """Return the call that runs dead letters of one call once more, in a pool."""
    old = letters[0].call
    return CallSpec(
        call_id=ids.mint("fc"),
        function_id=old.function_id,
        pool=pool,
        kind=CallKind.SPAWN_MAP,
        created=now,
        durable=True,
        origin=old.call_id,
    )


def move(
    ledger: Ledger, letters: Sequence[DeadLetter], new: CallSpec, payloads: Sequence[bytes]
) -> bool:
    """Make a new call of dead letters, which are none from then on; their outcomes stay.

    Returns:
        False where the function has no room for them: then nothing is changed.
    """
    if ledger.submit(new, 0, payloads, sealed=True, now=new.created).refused:
        ledger.forget(new.call_id)
        return False
    ledger.bury(new.origin, [letter.index for letter in letters])
    return True


def no_room(count: int) -> ResourceExhaustedError:
    """Return the error for so many dead letters that do not fit."""
    return ResourceExhaustedError(
        f"The function has no room for {count} more waiting inputs.",
        hint="Try again when some are finished, or fewer at a time: `--input N`.",
    )
