r"""Files of variables, as `.env`: found upward from a folder, and read strictly. Pure but for that.

One variable a line, `NAME=value` or `export NAME=value`; `#` begins a comment, in a value after a
space. Values may stand in single quotes, as they are, or in double quotes, with `\n`, `\"` and
`\\`, and over several lines. Nothing is expanded.
"""

from __future__ import annotations

import re
from pathlib import Path

from cloudfn.errors import InvalidError

_LINE = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*
    (?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<plain>[^'"\n][^\n]*|))
    (?P<rest>[^\n]*)(?:\n|$)""",
    re.VERBOSE | re.DOTALL,
)
_IGNORED = re.compile(r"[ \t]*(?:\#[^\n]*)?(?:\n|$)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def find(start: Path, filename: str) -> Path | None:
    """Return the file of that name in a folder or the nearest one above it."""
    for folder in (start, *start.parents):
        if (folder / filename).is_file():
            return folder / filename
    return None


def parse(text: str, where: str) -> dict[str, str]:
    """Return the variables of a file's text.

    Raises:
        InvalidError: A line makes no sense; the text tells its number, and never what it holds.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        skipped = _IGNORED.match(text, position)
        match = skipped or _LINE.match(text, position)
        if match is None or (match is not skipped and not _IGNORED.fullmatch(match["rest"])):
            number = text.count("\n", 0, position) + 1
            raise InvalidError(
                f"Line {number} of {where} is no NAME=value.",
                hint="Quote values with quotes or line breaks in them; comments begin with #.",
            )
        if match is not skipped:
            found[match["name"]] = _value(match)
        position = match.end()
    return found


def _value(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        return re.sub(
            r"\\(.)", lambda e: _ESCAPES.get(e[1], e[1]), match["double"], flags=re.DOTALL
        )
    return re.sub(r"(^|[ \t]+)#.*", "", match["plain"]).rstrip()
