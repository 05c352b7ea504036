"""Dead letters on a cloud: run once more, or forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.errors import NotFoundError, ResourceExhaustedError
from cloudfn.model import ids
from cloudfn.model.call import CallKind
from cloudfn.providers.base import Cloud
from cloudfn.providers.ledger import CallSpec, DeadLetter

#: dead letters of one call that are looked at
_MOST = 1_000_000


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
    letters = _letters(cloud, call_id, indices)
    new = CallSpec(
        call_id=ids.mint("fc"),
        function_id=letters[0].call.function_id,
        pool=pool,
        kind=CallKind.SPAWN_MAP,
        created=now,
        durable=True,
        origin=call_id,
    )
    payloads = [letter.payload for letter in letters]
    if cloud.ledger.submit(new, 0, payloads, sealed=True, now=now).refused:
        cloud.ledger.forget(new.call_id)
        raise ResourceExhaustedError(
            f"The function has no room for {len(letters)} more waiting inputs.",
            hint="Try again when some are finished, or fewer at a time: `--input N`.",
        )
    cloud.ledger.bury(call_id, [letter.index for letter in letters])
    return new.call_id, len(letters)


def drop_letter(cloud: Cloud, call_id: str, index: int) -> None:
    """Make an input a dead letter no more; raises NotFoundError if it is none."""
    _letters(cloud, call_id, [index])
    cloud.ledger.bury(call_id, [index])


def _letters(cloud: Cloud, call_id: str, indices: Sequence[int] | None) -> list[DeadLetter]:
    letters = {
        letter.index: letter for letter in cloud.ledger.dead_letters(limit=_MOST, call_id=call_id)
    }
    wanted = list(letters) if indices is None else list(dict.fromkeys(indices))
    for index in wanted:
        if index not in letters:
            raise NotFoundError(
                f"Input {index} of call {call_id} is no dead letter.",
                hint="See `cloudfn call dead`.",
            )
    if not wanted:
        raise NotFoundError(f"Call {call_id} has no dead letters.", hint="See `cloudfn call dead`.")
    return [letters[index] for index in wanted]
