"""Errors as the plain data of a reply. Pure."""

from __future__ import annotations

from typing import Any

from cloudfn.errors import Error


def error_json(error: Error) -> dict[str, Any]:
    """Return an error as the plain data of a REPLY."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}
