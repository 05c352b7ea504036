"""Repetitions that botocore's own retry mode does not make.

botocore repeats what was throttled, what failed with a 5xx and what got no answer. It does not
repeat a request that met another one: DynamoDB's TransactionConflict, S3's
ConditionalRequestConflict, SSM's TooManyUpdates, Auto Scaling's ResourceContention and
ScalingActivityInProgress. Nor does it look into a transaction of which one part was throttled, and
into answers that are good in part: UnprocessedItems, UnprocessedKeys, Failed entries of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TypeVar

import tenacity

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError, ResourceExhaustedError
from cloudfn.providers.aws.codes import Kind
from cloudfn.providers.aws.errors import Where, error_code, kind

T = TypeVar("T")

#: tries in all; with the waits below, some 15 s on average
_ATTEMPTS = 10
_SHORTEST = 0.05
_LONGEST = 4.0


def conflicts(clock: Clock, attempts: int = _ATTEMPTS) -> tenacity.Retrying:
    """Return what repeats a call that met another one, for calls that are harmless to repeat.

    A conflict changed nothing, so every call with a condition is. The same is true of a transaction
    that was throttled in part. Anything else is raised as it is.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_met_another),
        wait=tenacity.wait_random_exponential(multiplier=_SHORTEST, max=_LONGEST),
        stop=tenacity.stop_after_attempt(attempts),
        sleep=clock.sleep,
        reraise=True,
    )


def _met_another(error: BaseException) -> bool:
    sort = kind(error)
    if sort is not Kind.THROTTLED:
        return sort is Kind.CONFLICT
    return error_code(error) == "TransactionCanceledException"


def tries(clock: Clock, number: int = 20) -> Iterator[int]:
    """Yield numbers of tries from 0, with a wait before each but the first.

    For what is read and decided anew because somebody else was first.
    """
    random = Random()
    for n in range(number):
        if n:
            clock.sleep(random.uniform(0, min(_SHORTEST * 2 ** (n - 2), 1.0)))
        yield n


def too_busy(what: str) -> ConflictError:
    """Return the error for what is still changed by others after all tries."""
    return ConflictError(f"Others change {what} all the time.", hint="Do it again a moment later.")


def to_the_last(
    send: Callable[[Sequence[T]], Sequence[T]],
    entries: Sequence[T],
    where: Where,
    clock: Clock,
    random: Random,
    attempts: int = _ATTEMPTS,
) -> None:
    """Send a batch until nothing of it is left.

    Args:
        send: Sends entries, and returns those that AWS did not take for now.
        entries: What to send.
        where: What is asked of whom.
        clock: Waits between two tries.
        random: Spreads the waits of many senders.
        attempts: Tries in a row that take nothing at all.

    Raises:
        ResourceExhaustedError: So many tries brought nothing.
    """
    left, tries = entries, 0
    while left := send(before := left):
        tries = tries + 1 if len(left) == len(before) else 1
        if tries >= attempts:
            raise ResourceExhaustedError(
                f"{where}: AWS left {len(left)} of {len(entries)} entries undone, {tries} times.",
                hint="Try again in a minute: it is asked more often than it allows.",
            )
        clock.sleep(random.uniform(0, min(_LONGEST, _SHORTEST * 2**tries)))
