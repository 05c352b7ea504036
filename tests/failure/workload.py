"""The mixed work of a kill campaign: every way to call, small and big payloads, nested calls."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.failure.daemon_fixtures import Background, World, collect

#: functions beside those of the usual program
MORE = """
@app.function(max_containers=2, scaledown_window=2)
def reverse(data):
    note("begin", "big")
    return data[::-1]
"""


@dataclass
class Report:
    """What a run under faults came to; everything but the first three must be zero."""

    inputs: int = 0
    executions: int = 0
    deaths: int = 0
    lost: int = 0
    double: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        self.inputs += other.inputs
        self.executions += other.executions
        self.deaths += other.deaths
        self.lost += other.lost
        self.double += other.double
        self.wrong += other.wrong
        self.problems += other.problems

    @property
    def clean(self) -> bool:
        return not (self.lost or self.double or self.wrong or self.problems)


class Workload:
    """Calls of all kinds, made at once; `check` waits for them and judges."""

    def __init__(self, world: World, size: int = 8, first: int = 0) -> None:
        self._world = world
        self._size = size
        self._first = first
        self._calls: dict[str, Background[list[Any]]] = {}

    def begin(self) -> None:
        """Make all calls, each by a client of its own."""
        for number, method in enumerate(("map", "spawn", "spawn_map", "remote", "nested", "big")):
            self._calls[method] = Background(self._call(method, self._items(number)))

    @property
    def done(self) -> bool:
        return all(call.done for call in self._calls.values())

    def _items(self, number: int) -> range:
        first = self._first + 1000 * number
        return range(first, first + self._size)

    def _call(self, method: str, items: range) -> Callable[[], list[Any]]:
        world = self._world
        match method:
            case "nested":
                return lambda: collect(world.function("parent"), "map", list(items))
            case "big":
                blocks = [item.to_bytes(4, "big") * 20_000 for item in items]
                return lambda: collect(world.function("reverse"), "map", blocks)
            case _:
                return lambda: collect(world.function("work"), method, list(items))

    def check(self, deaths: int) -> Report:
        """Wait for every call, and compare what callers saw with what user code did."""
        report = Report(deaths=deaths)
        for number, (method, call) in enumerate(self._calls.items()):
            items = self._items(number)
            report.inputs += len(items)
            try:
                results = call.result()
            except BaseException as error:  # noqa: BLE001 - it goes into the report
                report.lost += len(items)
                report.problems.append(f"{method}: {type(error).__name__}: {error}")
                continue
            if method == "big":
                wanted = [(item.to_bytes(4, "big") * 20_000)[::-1] for item in items]
                report.wrong += sum(a != b for a, b in zip(results, wanted, strict=True))
                continue
            report.wrong += sum(a[0] != b for a, b in zip(results, items, strict=True))
            report.double += len(items) - len({token for _, token in results})
        begun = self._world.trace("begin")
        report.executions = begun.total()
        begun.pop("big", None)
        # Those of `nested` have two lives to lose, their parent's and their own.
        nested = {str(item) for item in self._items(list(self._calls).index("nested"))}
        often = {i: n for i, n in begun.items() if n > 1 + deaths * (1 + (i in nested))}
        if often:
            report.problems.append(f"ran more often than losses explain: {often}")
        return report


def shuffled(seed: int, points: list[Any]) -> list[Any]:
    """Return the points in an order that the seed decides."""
    return random.Random(seed).sample(points, len(points))
