"""Dead letters on a cloud: run once more, or forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.control.calls.dead import find_letters, move, new_call, no_room
from cloudfn.providers.base import Cloud


def retry_letters(
    cloud: Cloud, call_id: str, indices: Sequence[int] | None, pool: str, now: float
) -> tuple[str, int]:
    """Run dead letters of a call once more, as a new call; their outcomes stay.

    Big payloads are shared with the old call: the depot keeps them for their time.

    Args:
        cloud: Where they are.
        call_id: The call.
        indices: Which of its inputs; None for all that are dead letters.
        pool: The function as it is now.
        now: Seconds since the epoch.

    Returns:
        The id of the new call, and how many inputs it has.

    Raises:
        NotFoundError: There are none.
        ResourceExhaustedError: The function has as many waiting inputs as it may have.
    """
    letters = find_letters(cloud.ledger, call_id, indices)
    new = new_call(letters, pool, now)
    if not move(cloud.ledger, letters, new, [letter.payload for letter in letters]):
        raise no_room(len(letters))
    return new.call_id, len(letters)


def drop_letter(cloud: Cloud, call_id: str, index: int) -> None:
    """Make an input a dead letter no more; raises NotFoundError if it is none."""
    find_letters(cloud.ledger, call_id, [index])
    cloud.ledger.bury(call_id, [index])
