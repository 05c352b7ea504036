"""How results and user exceptions are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudfn import errors
from cloudfn.cli import terminal


def show_result(result: Any, *, write_to: Path | None = None, as_json: bool = False) -> None:
    """Print a function's result, or write it to a file.

    Raises:
        InvalidError: It is to be written, and is neither str nor bytes; or it has no JSON.
        ExecutionError: The file cannot be written.
    """
    if write_to is not None:
        write_result(result, write_to)
    elif as_json:
        _print_as_json(result)
    elif result is not None:
        terminal.print_text(str(result))


def write_result(result: Any, path: Path) -> None:
    """Write `result` to the file `path`, in one piece.

    Raises:
        InvalidError: It is neither str nor bytes.
        ExecutionError: The file cannot be written.
    """
    if not isinstance(result, str | bytes):
        raise errors.InvalidError(
            f"The result is of type {type(result).__name__}; only str and bytes can be written.",
            hint="Return str or bytes, or leave --write-result away.",
        )
    data = result.encode() if isinstance(result, str) else result
    try:
        path.write_bytes(data)
    except OSError as error:
        raise errors.ExecutionError(
            f"{path} cannot be written: {error.strerror}.",
            hint="Name a file in a directory that exists and that you may write to.",
        ) from None


def tell_failure(error: BaseException, *, full: bool = False) -> None:
    """Print the traceback of what user code raised, without cloudfn's own frames unless `full`."""
    from cloudfn.sdk import program

    if full:
        import traceback

        text = "".join(traceback.format_exception(error))
    else:
        text = program.user_traceback(error)
    terminal.say(text.rstrip("\n"))


def _print_as_json(result: Any) -> None:
    import json

    try:
        json.dumps(result)
    except (TypeError, ValueError):
        raise errors.InvalidError(
            f"The result, of type {type(result).__name__}, cannot be written as JSON.",
            hint="Leave --json away to see it as text.",
        ) from None
    terminal.print_json(result)
