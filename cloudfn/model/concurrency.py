"""How many inputs one container runs at once, singly or in batches. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cloudfn.errors import InvalidError

MOST_INPUTS = 1_000
MOST_IN_BATCH = 1_000
#: ten minutes
LONGEST_WAIT_MS = 600_000


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many inputs a container runs at once."""

    #: never more than these
    max_inputs: int
    #: no more than these while there is another container with room; None: as many as `max_inputs`
    target_inputs: int | None = None

    def __post_init__(self) -> None:
        _within("max_inputs", self.max_inputs, 1, MOST_INPUTS)
        if self.target_inputs is None:
            return
        _within("target_inputs", self.target_inputs, 1, MOST_INPUTS)
        if self.target_inputs > self.max_inputs:
            raise InvalidError(
                f"`target_inputs` ({self.target_inputs}) cannot be greater than "
                f"`max_inputs` ({self.max_inputs})."
            )

    @property
    def target(self) -> int:
        """The inputs that a container should have when there is work enough."""
        return self.max_inputs if self.target_inputs is None else self.target_inputs


@dataclass(frozen=True, slots=True)
class Batching:
    """How inputs are put together for one call of the user's function."""

    max_batch_size: int
    #: milliseconds that the first input of a batch waits for others
    wait_ms: int

    def __post_init__(self) -> None:
        _within("max_batch_size", self.max_batch_size, 1, MOST_IN_BATCH)
        _within("wait_ms", self.wait_ms, 0, LONGEST_WAIT_MS)


def _within(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError(f"`{name}` must be an int, not {type(value).__name__}.")
    if not low <= value <= high:
        raise InvalidError(f"`{name}` must be between {low} and {high}, not {value}.")
