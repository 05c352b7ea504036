"""Retries of user failures: a policy, and how long to wait before each retry. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cloudfn.errors import FunctionTimeoutError, InvalidError

#: an exception's class, its name as `module:qualname`, or several of them
Kinds = type[BaseException] | str | Iterable[type[BaseException] | str]


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
        retry_on: Classes of exceptions that are run again; none for all. A timeout always is.
        give_up_on: Classes that are not, whatever `retry_on` says; a timeout counts as
            `FunctionTimeoutError`.

    Classes are kept by their names, so that whoever decides need not be able to import them.

    Raises:
        InvalidError: A value is out of its range.
        TypeError: `max_retries` is missing or an argument is given by position.
    """

    max_retries: int
    backoff_coefficient: float = 2.0
    initial_delay: float = 1.0
    max_delay: float = 60.0
    retry_on: Kinds = ()
    give_up_on: Kinds = ()

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
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _names_of(name, getattr(self, name)))

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

    def gives_up_on(self, kind: type[BaseException], main: str | None = None) -> bool:
        """Whether exceptions of a class end their input at once.

        Args:
            kind: The class.
            main: The name of the module that also goes by `__main__`.
        """
        names = {_name_of(each, main) for each in kind.__mro__}
        if not names.isdisjoint(_renamed(self.give_up_on, main)):
            return True
        return bool(self.retry_on) and names.isdisjoint(_renamed(self.retry_on, main))

    @property
    def gives_up_on_timeouts(self) -> bool:
        """Whether an input that ran longer than its function's timeout ends at once."""
        names = {_name_of(each, None) for each in FunctionTimeoutError.__mro__}
        return not names.isdisjoint(self.give_up_on)  # type: ignore[arg-type]  # a tuple by now

    def to_json(self) -> dict[str, Any]:
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


def _names_of(argument: str, kinds: Any) -> tuple[str, ...]:
    """Return the names of exceptions' classes, each once."""
    if isinstance(kinds, type | str):
        kinds = (kinds,)
    if not isinstance(kinds, tuple | list | set | frozenset):
        raise InvalidError(f"Invalid retries: {_what(argument)}, not {kinds!r}.")
    names = []
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseException):
            names.append(_name_of(kind, None))
        elif isinstance(kind, str) and all(kind.partition(":")):
            names.append(kind)
        else:
            raise InvalidError(f"Invalid retries: {_what(argument)}, not {kind!r}.")
    return tuple(dict.fromkeys(names))


def _what(argument: str) -> str:
    return f"`{argument}` must be an exception's class or a tuple of them"


def _name_of(kind: type, main: str | None) -> str:
    module = "__main__" if kind.__module__ == main else kind.__module__
    return f"{module}:{kind.__qualname__}"


def _renamed(names: Any, main: str | None) -> set[str]:
    if main is None:
        return set(names)
    return {
        f"__main__:{name.removeprefix(main + ':')}" if name.startswith(f"{main}:") else name
        for name in names
    }


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidError(f"Invalid retries: `{name}` must be a number, not {value!r}.")
    if not low <= value <= high:
        raise InvalidError(
            f"Invalid retries: `{name}` must be between {low} and {high}, not {value}."
        )
