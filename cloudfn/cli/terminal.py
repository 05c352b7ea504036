"""What commands print: results on stdout, messages on stderr.

Text from elsewhere loses its control characters before it reaches a terminal, so that no log line
can rewrite the screen. Rich renders the tables of a terminal, and is imported only then.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, TypeVar

T = TypeVar("T")

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor, erase
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # strings: titles, links, clipboard
    r"|\x1b[ -/]*[0-~]?"
)
# All controls but tab and newline, and the marks that turn the direction of writing around.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HIDDEN = re.compile(r"(?:^|;)0*8(?:;|$)")


def clean(text: str, *, colours: bool = False) -> str:
    """Return `text` without what moves the cursor or talks to the terminal.

    With `colours`, sequences that only set colours and weight stay, and end with the text.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x1b" not in text:
        return _CONTROLS.sub("", text)
    kept = 0
    parts: list[str] = []
    end = 0
    for match in _ESCAPES.finditer(text):
        parts.append(_CONTROLS.sub("", text[end : match.start()]))
        end = match.end()
        if colours and _COLOUR.fullmatch(match[0]) and not _HIDDEN.search(match[0][2:-1]):
            parts.append(match[0])
            kept += 1
    parts.append(_CONTROLS.sub("", text[end:]))
    if kept:
        body = "".join(parts)
        stripped = body.rstrip("\n")
        return f"{stripped}\x1b[0m{body[len(stripped) :]}"
    return "".join(parts)


def is_terminal(stream: IO[str]) -> bool:
    """Whether somebody looks at `stream`."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def say(message: str, *, err: bool = True) -> None:
    """Write one message for people."""
    stream = sys.stderr if err else sys.stdout
    print(clean(message, colours=True) if is_terminal(stream) else message, file=stream, flush=True)


def say_error(message: str, hint: str | None = None) -> None:
    """Write what went wrong and what to do about it."""
    say(f"error: {message}")
    if hint:
        say(f"hint: {hint}")


def print_json(document: Any) -> None:
    """Write one JSON document to stdout."""
    import json

    print(json.dumps(document, indent=2, default=str), flush=True)


def print_text(text: str) -> None:
    """Write a line to stdout, cleaned where somebody looks at it."""
    print(clean(text, colours=True) if is_terminal(sys.stdout) else text, flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Write aligned columns to stdout; `empty` goes to stderr where there are no rows.

    A terminal gets as much as it has room for, a pipe or file every character.
    """
    cells = [[clean(_cell(value)).replace("\n", " ") for value in row] for row in rows]
    if not cells:
        say(empty)
        return
    if is_terminal(sys.stdout):
        _print_fitting(columns, cells)
    else:
        _print_whole(columns, cells)


def print_listing(
    items: Sequence[T],
    columns: Sequence[str],
    row: Callable[[T], Sequence[object]],
    *,
    as_json: bool,
    empty: str,
) -> None:
    """Write items as one JSON document, or as a table with a row for each."""
    if as_json:
        print_json(items)
    else:
        print_table(columns, map(row, items), empty=empty)


def choose_keys(items: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return each item with exactly these keys, so that listings stay the same over versions."""
    return [{key: item.get(key) for key in keys} for item in items]


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _print_whole(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def _print_fitting(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, emoji=False, markup=False).print(table)
