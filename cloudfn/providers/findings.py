"""What a check of an environment, or of this machine, found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cloudfn.errors import Error, PermissionDeniedError

Level = Literal["ok", "warn", "fail"]

#: names that are shown of a longer list
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check; `hint` says what to do unless all is well."""

    check: str
    level: Level
    text: str
    hint: str = ""


def failed(check: str, error: Error) -> Finding:
    """Return the finding that an error is."""
    return Finding(check, "fail", error.message, error.hint or "")


def unanswered(check: str, error: Error) -> Finding:
    """Return the finding where a question was not answered.

    Not everybody may see everything, nor needs to: that is no failure.
    """
    if isinstance(error, PermissionDeniedError):
        return Finding(check, "warn", f"not known: {error.message}", error.hint or "")
    return failed(check, error)


def some(names: Iterable[str]) -> str:
    """Return the first of many names, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{', '.join(found[:_SHOWN])}{more}"
