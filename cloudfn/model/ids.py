"""Names of things: how they are minted and how they read."""

from __future__ import annotations

import os
from hashlib import blake2b

_ALPHABET = b"0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS = 20
#: for each byte the digit of its last five bits
_DIGIT_OF = _ALPHABET * 8


def mint(prefix: str) -> str:
    """Return a new name such as `fc-3k9…`: 100 random bits behind a prefix that tells its kind."""
    return f"{prefix}-{os.urandom(_DIGITS).translate(_DIGIT_OF).decode()}"


def derive(prefix: str, *parts: str) -> str:
    """Return the name that follows from what it names: the same parts, the same name."""
    digest = blake2b("\0".join(parts).encode(), digest_size=_DIGITS).digest()
    return f"{prefix}-{digest.translate(_DIGIT_OF).decode()}"


def input_id(call_id: str, index: int) -> str:
    """Return the name of input `index` of a call; stable over attempts."""
    return f"in-{call_id.removeprefix('fc-')}-{index}"


def parse_input_id(name: str) -> tuple[str, int]:
    """Return (call id, index) of an input's name; raises ValueError for anything else."""
    kind, _, rest = name.partition("-")
    body, _, index = rest.rpartition("-")
    if kind != "in" or not body or not (index.isascii() and index.isdecimal()):
        raise ValueError(f"{name!r} is not the id of an input")
    return f"fc-{body}", int(index)


def pool_name(function_id: str, revision: int) -> str:
    """Return the name of the pool that runs one function at one revision."""
    return f"{function_id}@{revision}"
