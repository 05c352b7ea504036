"""Times as people write and read them. Pure: `now` is given."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def parse_moment(text: str, now: float) -> float:
    """Return the seconds since the epoch that `text` means.

    Args:
        text: A time span before now, as `30m`, `2h`, `1d`, or an ISO 8601 date and time; one
            without a zone is local time.
        now: Seconds since the epoch.

    Raises:
        ValueError: It is neither.
    """
    span = parse_span(text)
    if span is not None:
        return now - span
    return datetime.fromisoformat(text).timestamp()


def parse_span(text: str) -> float | None:
    """Return the seconds of `90s`, `1.5h` or `1d12h`, or None where `text` is no span."""
    total, number, seen = 0.0, "", False
    for character in text.strip().lower():
        if character.isdigit() or character == ".":
            number += character
            continue
        if character not in _UNITS or number.count(".") > 1 or not number.strip("."):
            return None
        total += float(number) * _UNITS[character]
        number, seen = "", True
    return total if seen and not number else None


def span(seconds: float) -> str:
    """Return a length of time: `0.31 s`, `3.2 s`, `4m 05s`, `2h 10m`, `3d 04h`."""
    if seconds < 1:
        return f"{max(seconds, 0.0):.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600:02d}h"


def ago(moment: float | None, now: float) -> str:
    """Return how long ago a moment was; `-` where there is none."""
    if not moment:
        return "-"
    seconds = max(now - moment, 0.0)
    return "just now" if seconds < 1 else f"{lasting(seconds)} ago"


def lasting(seconds: float) -> str:
    """Return a length of time in whole seconds: `40 s`, `4m 05s`."""
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else span(whole)


def stamp(moment: float) -> str:
    """Return a moment in local time with its offset, to the millisecond."""
    local = datetime.fromtimestamp(moment, tz=UTC).astimezone()
    return local.isoformat(sep=" ", timespec="milliseconds")
