"""GPU requests: `TYPE[:COUNT]`, one or several in order of preference. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.errors import InvalidError


def parse_gpus(value: object) -> tuple[str, ...]:
    """Return the GPUs that a decorator asks for, upper-cased, the preferred one first.

    Raises:
        InvalidError: It is neither None, nor a string or list of strings of that form.
    """
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (_parse(value),)
    if not value:
        raise InvalidError(
            "Invalid GPU config: []. A list has to name at least one GPU.",
            hint="Leave `gpu` away for functions that need none.",
        )
    return tuple(_parse(each) for each in value)


def parse_gpu(value: object) -> tuple[str, ...]:
    """Do the same where one GPU may be named and no list of them."""
    if isinstance(value, str | None):
        return parse_gpus(value)
    raise InvalidError(
        f"Invalid GPU config: {value!r}. Value must be a string or None.",
        hint="A list of GPUs can be given in the decorator only.",
    )


def _parse(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"Invalid GPU config: {value!r}. Value must be a string or None.")
    kind, colon, count = value.strip().upper().partition(":")
    if not kind:
        raise InvalidError(
            f"Invalid GPU config: {value!r}. There is no type.", hint='Write "A100" or "A100:2".'
        )
    if not colon:
        return kind
    if not count.isdecimal():
        raise InvalidError(
            f"Invalid GPU count in {value!r}: {count!r}. Value must be an integer.",
            hint=f'Write "{kind}:2" for two of them.',
        )
    if int(count) < 1:
        raise InvalidError(
            f"Invalid GPU count in {value!r}: it must be at least 1.",
            hint="Leave `gpu` away for functions that need none.",
        )
    return f"{kind}:{int(count)}"
