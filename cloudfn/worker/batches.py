"""One call of user code for the inputs of a batch: lists of arguments in, a list of results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cloudfn.errors import InvalidError

_HAS_KWARGS = 0x08
_SHOWN = 3


def merged(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
) -> tuple[list[list[Any]], dict[str, list[Any]]]:
    """Return the arguments of one call for the (args, kwargs) of several inputs.

    Raises:
        InvalidError: The inputs do not bring the same arguments, or one that there is not.
    """
    code = function.__code__
    # A bound method has its first argument already.
    first = int(hasattr(function, "__self__"))
    positional = code.co_varnames[first : code.co_argcount]
    known = {*positional, *code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]}
    if code.co_flags & _HAS_KWARGS:
        known |= {name for call in calls for name in call[1]}
    named = [_named(function, positional, known, call[0], call[1]) for call in calls]
    names = named[0].keys()
    for each in named:
        if each.keys() != names:
            raise InvalidError(
                f"The inputs of a batch of {function.__qualname__} bring different arguments: "
                f"{_listed(names)} and {_listed(each)}.",
                hint="Call a batched function with the same arguments each time.",
            )
    in_order = [name for name in positional if name in names]
    args = [[each[name] for each in named] for name in in_order]
    rest = [name for name in names if name not in positional]
    return args, {name: [each[name] for each in named] for name in rest}


def split(function: Callable[..., Any], results: object, count: int) -> list[Any]:
    """Return the result of each input.

    Raises:
        InvalidError: What the function returned is no list of that many results.
    """
    if not isinstance(results, list):
        raise InvalidError(
            f"The batched function {function.__qualname__} returned a {type(results).__name__}, "
            "not a list.",
            hint="Return a list with one result for each input.",
        )
    if len(results) != count:
        raise InvalidError(
            f"The batched function {function.__qualname__} returned {len(results)} results for "
            f"{count} inputs.",
            hint="Return a list with one result for each input.",
        )
    return results


def _named(
    function: Callable[..., Any],
    positional: Sequence[str],
    known: set[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """Return the arguments of one input by name."""
    where = f"An input of the batched function {function.__qualname__}"
    if len(args) > len(positional):
        raise InvalidError(
            f"{where} brings {len(args)} arguments by position; it takes {len(positional)}."
        )
    named = dict(zip(positional, args, strict=False))
    for name, value in kwargs.items():
        if name not in known:
            raise InvalidError(f"{where} brings an argument {name!r} that it does not have.")
        if name in named:
            raise InvalidError(f"{where} brings the argument {name!r} twice.")
        named[name] = value
    # A gap would shift the later ones when they are given by position.
    missing = [name for name in positional[: _last(positional, named)] if name not in named]
    if missing:
        raise InvalidError(f"{where} lacks the argument {missing[0]!r}.")
    return named


def _last(positional: Sequence[str], named: dict[str, Any]) -> int:
    return max((i for i, name in enumerate(positional) if name in named), default=0)


def _listed(names: Any) -> str:
    shown = [repr(name) for name in sorted(names)]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return (", ".join(shown[:_SHOWN]) + more) or "none"
