"""What a check of an environment, or of this machine, found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check; `hint` says what to do unless all is well."""

    check: str
    level: Level
    text: str
    hint: str = ""
