"""What a rehearsal showed, as tables: aims, and who asked for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.aws.reading import (
    Block,
    Reaction,
    by_caller,
    called,
    emulated,
    in_sequence,
    per_million,
    within,
    woken,
    work,
)
from benchmarks.aws.rehearsed import Found
from cloudfn.rehearsal.requests import Caller, Request, summary

_MOST_LINES = 12


class Table(NamedTuple):
    """A table of texts."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def tables(found: Found) -> list[Table]:
    """Return everything that is to be said."""
    return [_aims(found), _callers(found), _kinds(found)]


def _aims(found: Found) -> Table:
    (tiny,), (slow,) = (_blocks(found, what) for what in ("tiny", "slow"))
    of_tiny, of_slow = (work(_settled(found.requests, each)) for each in (tiny, slow))
    warm = _blocks(found, "warm")
    chains = [in_sequence(called(found.requests, each)) for each in warm]
    dollars = per_million(of_tiny, tiny.inputs)
    rows = [
        _row("requests for a tiny input", 0.3, len(of_tiny) / tiny.inputs, _of(found, [tiny])),
        _row("dollars for a million of them, by the model", 1.20, dollars, ""),
        _row(
            "requests for an input of a second", 4.0, len(of_slow) / slow.inputs, _of(found, [slow])
        ),
        _row(
            "`.remote`, warm: requests one after the other, in the middle",
            5,
            median(chains),
            f"{_of(found, warm)}; by their times {min(chains)} to {max(chains)}",
        ),
        _asleep(found),
        _reaction("asked for a machine, awake", 1.0, found.awake),
        _reaction("acted on an update, nothing runs", 2.0, found.idle_updates),
        _reaction("acted on an update, a map runs", 2.0, found.busy_updates),
        _row(
            f"machines left, of {found.most}", 0, found.left, f"gone after {found.gone_after:.0f} s"
        ),
    ]
    return Table(
        f"Aims, on a rehearsal; load of this machine: {found.load[0]:.1f} to {found.load[1]:.1f}",
        ("", "aim", "measured", "holds", "time, and emulators' part"),
        rows,
    )


def _row(what: str, aim: float, measured: float, more: str) -> tuple[str, ...]:
    return what, f"≤ {aim:g}", f"{measured:.3g}", "yes" if measured <= aim else "**no**", more


def _reaction(what: str, aim: float, found: Sequence[Reaction | None]) -> tuple[str, ...]:
    """Return a row of times, the longest first."""
    seen = sorted((each for each in found if each is not None), key=lambda each: -each.seconds)
    if len(seen) < len(found) or not seen:
        return what, f"≤ {aim:g} s", "not seen", "**no**", ""
    times = ", ".join(f"{each.seconds:.2f}" for each in seen)
    parts = ", ".join(f"{each.emulator:.2f}" for each in seen)
    holds = "yes" if seen[0].seconds <= aim else "**no**"
    return what, f"≤ {aim:g} s", f"{times} s", holds, f"emulators: {parts} s"


def _asleep(found: Found) -> tuple[str, ...]:
    (first,) = _blocks(found, "first")
    *row, emulators = _reaction("asked for a machine, asleep", 3.0, [found.asleep])
    start = woken(found.requests, first.began)
    return *row, emulators if start is None else f"{emulators}, Lambda's start: {start:.2f} s"


def _of(found: Found, blocks: Sequence[Block]) -> str:
    """Return how long something took in the middle, and the emulators' part of it."""
    took = median(each.ended - each.began for each in blocks)
    theirs = [
        emulated(work(_settled(found.requests, each)), (each.began, each.ended)) for each in blocks
    ]
    return f"{took:.2f} s, emulators: {median(theirs):.2f} s"


def _callers(found: Found) -> Table:
    rows = []
    for what in ("idle", "warm", "tiny", "slow"):
        blocks = _blocks(found, what)
        noted = [each for block in blocks for each in _settled(found.requests, block)]
        inputs = sum(block.inputs for block in blocks)
        seconds = sum(block.settled - block.began for block in blocks)
        of = by_caller(work(noted))
        idle = (len(noted) - sum(of.values())) / seconds
        counts = ("0", "0") if what == "idle" else (str(of[Caller.CLIENT]), str(of[Caller.AGENT]))
        rows.append((what, str(inputs) if what != "idle" else "", *counts, f"{idle:.1f}"))
    return Table(
        "Requests",
        ("", "inputs", "of the client", "of machines", "background, a second"),
        rows,
    )


def _kinds(found: Found) -> Table:
    (tiny,) = _blocks(found, "tiny")
    lines = summary(work(_settled(found.requests, tiny)))[:_MOST_LINES]
    rows = [
        (
            each.caller,
            f"{each.service}:{each.action}",
            str(each.number),
            f"{1e3 * each.emulator / each.number:.0f} ms",
        )
        for each in lines
    ]
    return Table(
        f"What a map of {tiny.inputs:,} asks for most",
        ("who", "what", "requests", "in an emulator, each"),
        rows,
    )


def _blocks(found: Found, what: str) -> list[Block]:
    return [each for each in found.blocks if each.what == what]


def _settled(requests: Iterable[Request], block: Block) -> list[Request]:
    return within(requests, block.began, block.settled)
