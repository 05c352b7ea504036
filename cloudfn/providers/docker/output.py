"""Reads what BuildKit prints with `--progress=plain`. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

#: `#12 what`, with the seconds of a step's own output in front of it
_LINE = re.compile(r"#(\d+) (?:(\d+\.\d+) )?(.*)", re.DOTALL)
#: `[2/4] RUN …`, `[stage-1 2/4] RUN …`, `[internal] load …`
_INTERNAL = "internal"
_STEP = re.compile(r"\[(internal|(?:\S+ )? *\d+/\d+)\] .*", re.DOTALL)
#: lines of a failed step's output that its error repeats
_TAIL = 20
#: what the recipe adds to a step: the name of its only stage, mounts, and how secrets get in
_NOISE = re.compile(r"(?<=\[)(?:stage-0)? +| --mount=\S+| \. /run/secrets/\S+ &&")
_ERROR = "ERROR: "
_CACHED = "CACHED"


class BuildOutput:
    """One build's output, line by line, and why it failed.

    Args:
        secrets: Values that nobody may see.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one may be part of another.
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)
        #: number → what the step is
        self._steps: dict[str, str] = {}
        #: number → the last that it printed
        self._tails: dict[str, deque[str]] = {}
        #: what belongs to no step
        self._rest: deque[str] = deque(maxlen=_TAIL)
        #: number of the first step that failed, and how
        self._failed: tuple[str, str] | None = None

    def line(self, raw: str) -> str | None:
        """Take a line; return what people shall see of it, None for nothing."""
        text = self._redacted(raw.rstrip())
        found = _LINE.fullmatch(text)
        if found is None:
            self._rest += [text] if text else []
            return None
        number, seconds, rest = found.groups()
        if seconds is not None:
            self._tails.setdefault(number, deque(maxlen=_TAIL)).append(rest)
            return f"  {rest}"
        if number not in self._steps and (step := _STEP.fullmatch(rest)):
            self._steps[number] = shown = _NOISE.sub("", rest)
            return None if step[1] == _INTERNAL else shown
        if rest.startswith(_ERROR):
            self._failed = self._failed or (number, rest.removeprefix(_ERROR))
            return f"  {rest}"
        return "  built already" if rest == _CACHED else None

    def failure(self) -> str:
        """Return why the build failed: which step, how, and the last lines of its output."""
        if self._failed is None:
            return "\n".join(self._rest) or "Docker says nothing"
        number, how = self._failed
        lines = "".join(f"\n  {line}" for line in self._tails.get(number, ()))
        return f"{self._steps.get(number, 'a step')}: {how}{lines}"

    def _redacted(self, text: str) -> str:
        for value in self._secrets:
            text = text.replace(value, "***")
        return text
