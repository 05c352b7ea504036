"""`python -m benchmarks.aws.calling WHAT`: a client of the program, in a process of its own.

Prints a line of JSON for each block of calls, as `reading.Block` has it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import cloudfn
from cloudfn.clock import SystemClock

#: seconds until what comes after a call is done
_SETTLED, _SHORT = 3.0, 0.5
_CLOCK = SystemClock()
_REMOTES, _TINY, _SLOW, _BUSY, _LARGE = 20, 10_000, 80, 140, 3


def main(words: Sequence[str]) -> int:
    """Call; return the exit status."""
    _CALLS[words[0]]()
    return 0


def _first() -> None:
    square = _function("square")
    _block("first", lambda: square.remote(1), 1, _SHORT)


def _large() -> None:
    _function("large_0").spawn()
    for number in range(1, _LARGE + 1):
        large = _function(f"large_{number}")
        _CLOCK.sleep(5.0)
        _block("large", lambda large=large: large.spawn(), 1, 0.0)  # type: ignore[misc]
    _CLOCK.sleep(5.0)


def _warm() -> None:
    square = _function("square")
    square.remote(1)
    _CLOCK.sleep(_SETTLED)
    for _ in range(_REMOTES):
        _block("warm", lambda: square.remote(2), 1, _SHORT)
    _block("idle", lambda: _CLOCK.sleep(10.0), 1, 0.0)


def _tiny() -> None:
    square = _function("square")
    _same(list(square.map(range(1_000))), [number**2 for number in range(1_000)])
    _CLOCK.sleep(_SETTLED)
    wanted = [number**2 for number in range(_TINY)]
    _block("tiny", lambda: _same(list(square.map(range(_TINY))), wanted), _TINY)


def _slow() -> None:
    slow = _function("slow")
    _same(list(slow.map(range(8))), list(range(8)))
    _CLOCK.sleep(_SETTLED)
    wanted = list(range(_SLOW))
    _block("slow", lambda: _same(list(slow.map(wanted)), wanted), _SLOW)


def _busy() -> None:
    slow = _function("slow")
    wanted = list(range(_BUSY))
    _block("busy", lambda: _same(list(slow.map(wanted)), wanted), _BUSY)


def _function(name: str) -> Any:
    return cloudfn.Function.from_name("bench", name)


def _same(found: list[int], wanted: list[int]) -> None:
    if found != wanted:
        raise RuntimeError("a map has not come out right")


def _block(what: str, act: Callable[[], Any], inputs: int, settled: float = _SETTLED) -> None:
    began = _CLOCK.wall()
    act()
    ended = _CLOCK.wall()
    _CLOCK.sleep(settled)
    told = {"what": what, "began": began, "ended": ended, "settled": _CLOCK.wall()}
    sys.stdout.write(json.dumps({**told, "inputs": inputs}) + "\n")
    sys.stdout.flush()


_CALLS: dict[str, Callable[[], None]] = {
    "first": _first,
    "large": _large,
    "warm": _warm,
    "tiny": _tiny,
    "slow": _slow,
    "busy": _busy,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
