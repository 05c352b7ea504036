"""Patterns of files to leave out, as in a `.dockerignore`. Pure, but for `from_file`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from cloudfn.errors import InvalidError

#: whether to leave a file out, by its path relative to the folder
Ignore = Callable[[Path], bool]


class FilePatternMatcher:
    """Says of paths whether patterns match them; the last one that does decides.

    `*` and `?` stay within one name, `**` is any number of folders, `[…]` one of several
    characters. A pattern is relative to the folder, matches what is below it as well, and an
    exclamation mark before it takes back what earlier ones matched. `~matcher` is the opposite.
    """

    def __init__(self, *patterns: str) -> None:
        if not all(isinstance(each, str) for each in patterns):
            raise InvalidError(f"Patterns of files are text, not {patterns!r}.")
        self._patterns = tuple(filter(None, map(_cleaned, patterns)))
        self._inverted = False
        for each in self._patterns:
            _regex(each.removeprefix("!"))

    @classmethod
    def from_file(cls, file_path: str | Path) -> FilePatternMatcher:
        """Return the patterns of a file, one on each line; `#` begins a comment.

        Raises:
            InvalidError: The file cannot be read.
        """
        try:
            text = Path(file_path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidError(f"Patterns cannot be read from {file_path}: {error}.") from error
        return cls(*(line for line in text.splitlines() if not line.startswith("#")))

    @property
    def may_skip_folders(self) -> bool:
        """Whether what is below a folder that matches does so, too."""
        return not self._inverted and not any(each.startswith("!") for each in self._patterns)

    def __call__(self, file_path: PurePath) -> bool:
        """Whether a path, relative to the folder, matches."""
        path, matched = file_path.as_posix(), False
        for each in self._patterns:
            taken_back = each.startswith("!")
            if matched is taken_back and _regex(each.removeprefix("!")).match(path):
                matched = not taken_back
        return matched is not self._inverted

    def __invert__(self) -> FilePatternMatcher:
        """Return what matches everything that this does not."""
        other = FilePatternMatcher(*self._patterns)
        other._inverted = not self._inverted
        return other

    def __repr__(self) -> str:
        sign = "~" if self._inverted else ""
        return f"{sign}FilePatternMatcher({', '.join(map(repr, self._patterns))})"


def ignore_of(given: Any, what: str) -> Ignore:
    """Return the `ignore` argument of a method as a function of paths.

    Args:
        given: A list of patterns, a function of a Path, or None for nothing.
        what: The argument, for the text of an error.

    Raises:
        InvalidError: It is something else.
    """
    if given is None:
        return FilePatternMatcher()
    if callable(given):
        return given  # type: ignore[no-any-return]
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidError(
            f"{what} must be a list of patterns or a function of a Path, not {given!r}.",
            hint='Write it as ignore=["*.log", "!keep.log"].',
        )
    return FilePatternMatcher(*given)


def _cleaned(pattern: str) -> str:
    sign, text = ("!", pattern.strip()[1:]) if pattern.strip().startswith("!") else ("", pattern)
    parts = [part for part in text.strip().split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidError(
            f"The pattern {pattern!r} leads out of the folder.", hint="Leave `..` away."
        )
    return sign + "/".join(parts) if parts else ""


@lru_cache(512)
def _regex(pattern: str) -> re.Pattern[str]:
    """Return what matches the paths that a pattern names, and all below them."""
    found, rest = "", pattern
    while rest:
        for begin, meaning in _MEANINGS:
            if (token := begin.match(rest)) is not None:
                found += meaning(token)
                rest = rest[token.end() :]
                break
    try:
        return re.compile(f"(?:{found})(?:/.*)?\\Z", re.DOTALL)
    except re.error as error:
        raise InvalidError(f"The pattern {pattern!r} makes no sense: {error}.") from error


def _one_of(token: re.Match[str]) -> str:
    inside = token[1].replace("\\", "\\\\") if "\\" in token[1] else token[1]
    return f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]"


_MEANINGS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\*\*+/"), lambda _: "(?:.*/)?"),
    (re.compile(r"\*\*+"), lambda _: ".*"),
    (re.compile(r"\*"), lambda _: "[^/]*"),
    (re.compile(r"\?"), lambda _: "[^/]"),
    (re.compile(r"\[([^\]/]+)\]"), _one_of),
    (re.compile(r"\\(.)", re.DOTALL), lambda token: re.escape(token[1])),
    (re.compile(r".", re.DOTALL), lambda token: re.escape(token[0])),
)
