"""Attempts of an offline run, and how they end. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloudfn.model.call import ContainerLost, Crashed, Ending, Overran, Raised, TimedOut
from cloudfn.providers.ledger import Claim
from cloudfn.testing.pools import Pool
from cloudfn.testing.script import Step
from cloudfn.wire.messages import encode_json


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt of an offline run."""

    function: str
    #: which input of that function, counted from 0 in the order of submission
    number: int
    #: which attempt of that input, counted from 0
    attempt: int
    #: running | returned | raised | timed out | crashed | lost | overran | closed
    ended: str
    _arguments: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]

    @property
    def args(self) -> tuple[Any, ...]:
        """The input's positional arguments, as a fresh copy."""
        return self._arguments()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The input's keyword arguments, as a fresh copy."""
        return self._arguments()[1]

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} of {self.function}[{self.number}]: {self.ended}>"


@dataclass(frozen=True, slots=True)
class Returned:
    """User code came to its end; what follows is recorded."""

    payload: bytes


End = Returned | Ending

ENDED = {
    Returned: "returned",
    Raised: "raised",
    TimedOut: "timed out",
    Crashed: "crashed",
    ContainerLost: "lost",
    Overran: "overran",
}


def end_of(step: Step, end: bytes | Raised) -> End:
    """Return how an attempt ends that user code ended, unless its step says otherwise."""
    if step == "lose late":
        return ContainerLost("the script of the test took its container")
    return end if isinstance(end, Raised) else Returned(end)


def failure(pool: Pool, claim: Claim, reason: str, end: End) -> bytes:
    """Return the payload of an outcome that user code did not write itself."""
    if isinstance(end, Overran):
        kind, hint = "DeadlineExceededError", "Spawn it again with a later `deadline`."
    elif isinstance(end, TimedOut):
        kind, hint = "FunctionTimeoutError", "Give the function a longer `timeout`."
    elif isinstance(end, Crashed):
        kind, hint = "ContainerCrashed", "The script of the test says so."
    else:
        kind, hint = "InputLost", "The script of the test says so."
    name = f"{pool.spec.name}, input {claim.index} of {claim.call_id}"
    return encode_json({"error": kind, "message": f"{name}: {reason}.", "hint": hint})
