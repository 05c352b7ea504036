"""What a check of an environment, or of this machine, found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

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


def some(names: Iterable[str]) -> str:
    """Return the first of many names, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{', '.join(found[:_SHOWN])}{more}"
