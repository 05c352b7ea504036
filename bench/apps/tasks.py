"""The work that every system of the benchmark does, as plain functions of the standard library."""

from __future__ import annotations

import os
import time


def noop(x: int) -> int:
    """Give the input back."""
    return x


def echo(payload: bytes) -> bytes:
    """Give the payload back."""
    return payload


def size(payload: bytes) -> int:
    """How many bytes arrived."""
    return len(payload)


def arrive(folder: str, count: int, limit: float = 60.0) -> tuple[int, float]:
    """Check in and stay until `count` processes did so, or `limit` seconds passed.

    Returns:
        The process and the moment at which it checked in, by the monotonic clock.
    """
    arrived = time.monotonic()
    with open(os.path.join(folder, str(os.getpid())), "w"):
        pass
    while len(os.listdir(folder)) < count and time.monotonic() < arrived + limit:
        time.sleep(0.01)
    return os.getpid(), arrived


def spin(seconds: float) -> float:
    """Keep a core busy for `seconds`, return the moment of the start by the monotonic clock."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        pass
    return started


def stamp(_x: int) -> float:
    """The moment at which this input started, by the monotonic clock."""
    return time.monotonic()


def mixed(kind: str) -> float:
    """Start a tiny input ("tiny"), or one of about a second that sleeps or holds the GIL.

    Returns:
        The moment of the start, by the monotonic clock.
    """
    started = time.monotonic()
    if kind == "sleeping":
        time.sleep(1.0)
    if kind == "holding":
        # One long call into C: no other thread of the process runs meanwhile.
        sum(range(60_000_000))
    return started
