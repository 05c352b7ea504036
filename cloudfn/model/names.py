"""What apps, functions and shared objects may be called. Pure."""

from __future__ import annotations

from cloudfn.errors import InvalidError

NAME_MAX = 64
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def check_name(kind: str, name: object) -> str:
    """Return the name; raises InvalidError unless it is text."""
    if not isinstance(name, str):
        raise InvalidError(
            f"Invalid value for {kind} name: Must be string, not {type(name).__name__}."
        )
    return name


def check_characters(kind: str, name: str) -> None:
    """Raise InvalidError unless a name has 1 to 64 characters of the allowed ones."""
    if not 1 <= len(name) <= NAME_MAX or not _NAME_CHARACTERS.issuperset(name):
        raise InvalidError(
            f"Invalid {kind} name: {name!r}.",
            hint=f"Use 1 to {NAME_MAX} letters, digits, '-', '_' and '.'.",
        )
