"""Retries of user failures: a policy, and how long to wait before each retry. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cloudfn.errors import InvalidError


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often and when a failed input is run again.

    The delay before retry n (n ≥ 1) is `initial_delay × backoff_coefficient^(n−1)` seconds, at
    most `max_delay`, and then shortened by up to a tenth at random so that many inputs that failed
    together do not come back together.

    Args:
        max_retries: Attempts after the first one, 0 or more.
        backoff_coefficient: Growth of the delay, 1 to 10.
        initial_delay: Seconds before the first retry, 0 to 60.
        max_delay: Longest delay in seconds, 1 to 60.

    Raises:
        InvalidError: A value is out of its range.
        TypeError: `max_retries` is missing or an argument is given by position.
    """

    max_retries: int
    backoff_coefficient: float = 2.0
    initial_delay: float = 1.0
    max_delay: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.max_retries, bool) or not isinstance(self.max_retries, int):
            raise InvalidError(
                f"Invalid retries: `max_retries` must be an int, not {self.max_retries!r}.",
                hint="It counts the attempts after the first one; 0 means that there are none.",
            )
        if self.max_retries < 0:
            raise InvalidError(
                f"Invalid retries: `max_retries` must be at least 0, not {self.max_retries}."
            )
        _check("backoff_coefficient", self.backoff_coefficient, 1, 10)
        _check("initial_delay", self.initial_delay, 0, 60)
        _check("max_delay", self.max_delay, 1, 60)

    def delay(self, retry: int, jitter: float = 0.0) -> float:
        """Return the seconds to wait before a retry.

        Args:
            retry: Its number, which counts from 1.
            jitter: A number in [0, 1); takes off up to a tenth of the delay.

        Raises:
            ValueError: `retry` is smaller than 1.
        """
        if retry < 1:
            raise ValueError(f"retries count from 1, not {retry}")
        if self.initial_delay == 0:
            return 0.0
        # A float overflows somewhere past 10^300; max_delay is reached long before.
        growth = float(self.backoff_coefficient) ** min(retry - 1, 300)
        return min(self.initial_delay * growth, self.max_delay) * (1 - jitter / 10)

    def to_json(self) -> dict[str, float]:
        """Return the policy as plain data, which are its arguments."""
        return asdict(self)


def parse_retries(value: object) -> Retries | None:
    """Return the policy that a decorator's `retries=` means; a number is a fixed delay of 1 s.

    Raises:
        InvalidError: It is neither a whole number of at least 0 nor a `Retries`.
    """
    if value is None or isinstance(value, Retries):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError(
            f"Invalid retries: {value!r} is not a whole number.",
            hint="Give a number of retries or a cloudfn.Retries(max_retries=…).",
        )
    return Retries(max_retries=value, backoff_coefficient=1.0, initial_delay=1.0)


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidError(f"Invalid retries: `{name}` must be a number, not {value!r}.")
    if not low <= value <= high:
        raise InvalidError(
            f"Invalid retries: `{name}` must be between {low} and {high}, not {value}."
        )
