"""What befalls the attempts of an offline run, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import cast

from cloudfn.errors import InvalidError

#: what an attempt may meet; a number lets it take that many seconds, an exception is raised
STEPS = ("ok", "raise", "timeout", "die", "lose", "lose late")

Key = str | tuple[str, int]
Step = str | float | BaseException | type[BaseException]


class ScriptedError(Exception):
    """Raised in the place of user code by the step "raise"."""


class Script(MutableMapping[Key, Iterable[Step]]):
    """For each function or input, what its attempts meet in turn; after the last step all is well.

    A key is the name of a function, meaning each of its inputs, or (name, n), meaning the n-th
    input of that function, counted from 0 in the order of their submission.

    - "ok": the function runs.
    - "raise": it raises a `ScriptedError` instead; an exception, or its class, is raised as it is.
    - "timeout": it runs into its timeout, on the fake clock.
    - a number: it runs, and takes that many seconds on the fake clock.
    - "die": it takes its container down.
    - "lose": its container is lost before it begins.
    - "lose late": it runs to its end, and then its container is lost with the result.

    Args:
        steps: The script; more can be set later, as in a dictionary.

    Raises:
        InvalidError: A key or a step is none of these.
    """

    def __init__(self, steps: Mapping[Key, Iterable[Step]] | None = None) -> None:
        self._steps: dict[Key, tuple[Step, ...]] = {}
        self._met: set[Key] = set()
        self.update(steps or {})

    def step(self, function: str, number: int, attempt: int) -> Step:
        """Return what the attempt meets; attempts and inputs are counted from 0."""
        keys: tuple[Key, Key] = (function, number), function
        self._met.update(keys)
        for key in keys:
            if key in self._steps:
                steps = self._steps[key]
                return steps[attempt] if attempt < len(steps) else "ok"
        return "ok"

    @property
    def unmet(self) -> list[Key]:
        """Keys of functions and inputs that no attempt belonged to."""
        return [key for key in self._steps if key not in self._met]

    def __getitem__(self, key: Key) -> tuple[Step, ...]:
        return self._steps[key]

    def __setitem__(self, key: Key, steps: Iterable[Step]) -> None:
        if not _is_key(key):
            raise InvalidError(
                f"A script cannot speak of {key!r}.",
                hint='Name a function, "f", or one of its inputs, ("f", 0).',
            )
        self._steps[key] = tuple(map(_checked, [steps] if isinstance(steps, str) else steps))

    def __delitem__(self, key: Key) -> None:
        del self._steps[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)


def _is_key(key: object) -> bool:
    match key:
        case str() | (str(), int()):
            return True
        case _:
            return False


def _checked(step: object) -> Step:
    if isinstance(step, str):
        valid = step in STEPS
    elif isinstance(step, (int, float)) and not isinstance(step, bool):
        valid = 0 <= step < float("inf")
    else:
        kind = step if isinstance(step, type) else type(step)
        valid = issubclass(kind, BaseException)
    if not valid:
        raise InvalidError(
            f"{step!r} is no step of a script.",
            hint=f"Use {', '.join(map(repr, STEPS))}, a number of seconds, or an exception.",
        )
    return cast("Step", step)
