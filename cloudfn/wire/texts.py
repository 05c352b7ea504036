"""Payloads as text, for messages of plain data. Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable


def to_text(payload: bytes) -> str:
    """Return a payload as text."""
    return b64encode(payload).decode("ascii")


def from_text(text: str) -> bytes:
    """Return the payload of `to_text`; raises ValueError for anything else."""
    return b64decode(text, validate=True)


def to_texts(payloads: Iterable[bytes | None]) -> list[str | None]:
    """Return payloads as text; None stays None."""
    return [None if payload is None else to_text(payload) for payload in payloads]


def from_texts(texts: Iterable[str]) -> list[bytes]:
    """Return the payloads of texts."""
    return [from_text(text) for text in texts]
