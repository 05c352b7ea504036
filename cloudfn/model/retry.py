"""Retries of user failures: a policy, and how long to wait before each retry. Pure."""

from __future__ import annotations

from cloudfn.errors import InvalidError


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

    __slots__ = ("backoff_coefficient", "initial_delay", "max_delay", "max_retries")

    def __init__(
        self,
        *,
        max_retries: int,
        backoff_coefficient: float = 2.0,
        initial_delay: float = 1.0,
        max_delay: float = 60.0,
    ) -> None:
        if isinstance(max_retries, bool) or not isinstance(max_retries, int):
            raise InvalidError(
                f"Invalid retries: `max_retries` must be an int, not {max_retries!r}."
            )
        _within("max_retries", max_retries, 0, None)
        _within("backoff_coefficient", backoff_coefficient, 1, 10)
        _within("initial_delay", initial_delay, 0, 60)
        _within("max_delay", max_delay, 1, 60)
        self.max_retries = max_retries
        self.backoff_coefficient = float(backoff_coefficient)
        self.initial_delay = float(initial_delay)
        self.max_delay = float(max_delay)

    def delay(self, retry: int, jitter: float = 0.0) -> float:
        """Return the seconds to wait before retry number `retry`, which counts from 1.

        Args:
            jitter: A number in [0, 1); takes off up to a tenth of the delay.

        Raises:
            ValueError: `retry` is smaller than 1.
        """
        if retry < 1:
            raise ValueError(f"retries count from 1, not {retry}")
        if self.initial_delay == 0:
            return 0.0
        # Past some 2,000 doublings a float overflows; max_delay is reached long before.
        growth = self.backoff_coefficient ** min(retry - 1, 300)
        return min(self.initial_delay * growth, self.max_delay) * (1 - jitter / 10)

    def to_json(self) -> dict[str, float]:
        """Return the policy as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Retries) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.to_json().items())))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in sorted(self.__slots__))
        return f"Retries({fields})"


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


def _within(name: str, value: float, low: float, high: float | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidError(f"Invalid retries: `{name}` must be a number, not {value!r}.")
    if value != value or value < low or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise InvalidError(f"Invalid retries: `{name}` must be {bounds}, not {value}.")
