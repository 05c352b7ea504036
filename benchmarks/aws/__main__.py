"""`python -m benchmarks.aws [paper|count|decide|run|rehearsal]`: prints tables as Markdown.

Without a word, all but `rehearsal`, which needs root and ten minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.aws import counting, deciding, scale
from benchmarks.aws.account import Account, Calls, total
from benchmarks.aws.counting import Size

#: what may grow so many times is not worth a line
_FAR = 100
_LOOKS = 30
_SIZES = (
    Size(apps=1, functions=1, machines=1, pools=1, waiting=1, inputs=10),
    Size(apps=10, functions=10, machines=100, pools=2, waiting=100, inputs=200),
    Size(apps=20, functions=10, machines=400, pools=2, waiting=200, inputs=200),
)


def main(wanted: Sequence[str]) -> int:
    """Print what is wanted; return the exit status."""
    unknown = set(wanted) - set(_PARTS)
    if unknown:
        sys.stderr.write(f"usage: python -m benchmarks.aws [{'|'.join(_PARTS)}]\n")
        return 2
    for name in wanted or _USUAL:
        _PARTS[name]()
    return 0


def _paper() -> None:
    for number in (100, 1_000, 10_000):
        fleet = scale.of_machines(number)
        _table(
            f"{number:,} machines, {fleet.functions:,} functions",
            ("asked of", "a second", "allowed", "may grow", "and then"),
            [
                (each.what, _short(each.per_second), _short(each.limit), _times(by), each.way_out)
                for by, each in scale.breaks_at(fleet)
                if by < _FAR
            ],
        )
    sizes = [scale.asleep(), scale.waiting(1)]
    sizes += [scale.of_machines(number) for number in (10, 100, 1_000, 10_000)]
    bills = [scale.bill(each) for each in sizes]
    lines = [
        (line[0].what, *(f"{each.dollars:.3f}" for each in line))
        for line in zip(*bills, strict=True)
    ]
    whole = ("all", *(f"{sum(line.dollars for line in each):.3f}" for each in bills))
    head = ("dollars an hour", "asleep", "1 idle", "10", "100", "1,000", "10,000")
    _table("Beside machines", head, [*lines, whole])


def _count() -> None:
    looks = []
    for size in _SIZES:
        calls = _fresh(partial(counting.planner_ticks, size=size, ticks=_LOOKS))
        what = f"{size.apps * size.functions} functions, {size.machines} machines"
        looks.append((what, f"{total(calls) / _LOOKS:.1f}"))
    _table("A look of the planner", ("of", "requests"), looks)
    ways = [("a machine in a minute", str(total(_fresh(counting.beats))))]
    for what, inputs, lot in (("tiny", 2_000, 128), ("run one by one", 200, 1)):
        calls = _fresh(partial(counting.whole_way, inputs=inputs, claimed=lot, told=lot))
        ways.append((f"an input of a map, {what}", f"{total(calls) / inputs:.2f}"))
    _table("Requests", ("of", "in all"), ways)


def _decide() -> None:
    rows = [
        (f"{pools:,} pools, {machines:,} machines", f"{deciding.seconds(pools, machines):.2f} s")
        for pools, machines in ((100, 1_000), (1_000, 2_000), (1_000, 10_000))
    ]
    _table("A decision of the planner", ("for", "takes"), rows)


def _run() -> None:
    from benchmarks.aws.end_to_end import measure

    with TemporaryDirectory() as folder:
        found = measure(Path(folder))
    rows = [
        (each.what, f"{each.seconds:.3f} s", str(total(each.calls)), f"{each.each:.2f}")
        for each in found
    ]
    _table("From client to container and back", ("", "takes", "requests", "for each input"), rows)


def _rehearsal() -> None:
    from benchmarks.aws.rehearsed import Missing, measure
    from benchmarks.aws.report import tables

    try:
        found = measure()
    except Missing as missing:
        sys.stderr.write(f"No rehearsal: {missing}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    for each in tables(found):
        _table(each.title, each.head, each.rows)


def _fresh(ask: Callable[[Account], Calls]) -> Calls:
    with TemporaryDirectory() as folder:
        return ask(Account(Path(folder)))


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [f"\n{title}\n", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    sys.stdout.write("\n".join(lines) + "\n")


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _times(factor: float) -> str:
    return f"{factor:.1f} times"


_PARTS: dict[str, Callable[[], None]] = {
    "paper": _paper,
    "count": _count,
    "decide": _decide,
    "run": _run,
    "rehearsal": _rehearsal,
}
_USUAL = ("paper", "count", "decide", "run")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
