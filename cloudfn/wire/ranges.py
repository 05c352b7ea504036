"""Many numbers in few: ascending ones as [first, last] ranges, as messages carry them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Ranges = list[list[int]]


def ranges_of(indices: Iterable[int]) -> Ranges:
    """Return ascending numbers as [first, last] ranges."""
    ranges: Ranges = []
    for index in indices:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ranges


def numbers_in(ranges: Iterable[Sequence[int]]) -> Iterator[int]:
    """Yield the numbers that lie in [first, last] ranges."""
    for first, last in ranges:
        yield from range(first, last + 1)
