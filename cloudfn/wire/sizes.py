"""How large an object is at least, told without pickling it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from types import NoneType

_DEEPEST = 3
_FEW = 256
_SMALL = frozenset((int, float, bool, NoneType))
_TEXTS = frozenset((str, bytes, bytearray))


def size_hint(obj: object) -> int:
    """Return a cheap lower bound, in bytes, of what the object takes once pickled.

    Looks at strings, bytes and arrays, in tuples, lists and dicts three levels deep, so that the
    values inside `(args, kwargs)` are seen, and at the first items only of long ones.
    """
    return _size_of_items((obj,), 1, _DEEPEST, set()) - 1


def _size_of_items(items: Iterable[object], count: int, depth: int, seen: set[int]) -> int:
    total = count  # an item takes a byte at least
    for item in items if count <= _FEW else islice(items, _FEW):
        kind = type(item)
        if kind in _SMALL:
            continue
        if kind is tuple or kind is list or kind is dict:
            if item and depth:
                total += _size_of_container(item, depth, seen)
            continue
        # A pickle holds an object once, however often it occurs.
        if id(item) not in seen:
            seen.add(id(item))
            total += len(item) if kind in _TEXTS else _size_of_array(item)  # type: ignore[arg-type]
    return total


def _size_of_container(container: object, depth: int, seen: set[int]) -> int:
    if id(container) in seen:
        return 0
    seen.add(id(container))
    if isinstance(container, dict):
        return _size_of_items(container.values(), len(container), depth - 1, seen)
    if isinstance(container, (tuple, list)):
        return _size_of_items(container, len(container), depth - 1, seen)
    return 0


def _size_of_array(obj: object) -> int:
    # The class is asked first: an instance may answer to any name, and at some cost.
    if not hasattr(type(obj), "nbytes"):
        return 0
    size = getattr(obj, "nbytes", 0)
    return size if type(size) is int else 0
