"""The inside of one run: opens a system, does one measure with it, prints one JSON line."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import accounting
import tasks

MIB = 1 << 20
START_VARIABLE = "BENCH_START"
Metrics = dict[str, float]
Task = Callable[..., Any]


class UnsupportedError(Exception):
    """This system has no way of doing this; the message says why."""


class System:
    """One system under test; what it cannot do raises `UnsupportedError`.

    Attributes:
        import_line: What a user's script imports.
        help_command: The `--help` of its command line, empty for none.
        most_inputs: The largest map that ends in a bearable time.
    """

    import_line: str = ""
    help_command: Sequence[str] = ()
    most_inputs: int = 1_000_000_000

    def open(self, workers: int, at_most: int) -> None:
        """Start `workers` workers, which may later grow to `at_most`."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the workers."""
        raise NotImplementedError

    def call(self, task: Task, *args: Any) -> Any:
        """Run one task, return its result."""
        raise NotImplementedError

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        """Run the task over the items the system's default way, results in order."""
        raise NotImplementedError

    def map_single(self, task: Task, items: Sequence[Any]) -> list[Any]:
        """The same, one message per item."""
        return self.map(task, items)

    def map_chunked(self, task: Task, items: Sequence[Any]) -> list[Any]:
        """The same, in chunks that the caller asked for."""
        raise UnsupportedError("its map takes no chunk size")

    def stream(self, task: Task, items: Iterable[Any]) -> Iterator[Any]:
        """The same, lazily: neither inputs nor results are ever all in memory."""
        raise UnsupportedError("reads all inputs before it gives the first result")

    def resize(self, workers: int) -> None:
        """Ask for `workers` workers; may return before they are there."""
        raise UnsupportedError("cannot grow while it runs")

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run the task on as many workers as there are arguments, at the same time."""
        raise UnsupportedError("cannot grow while it runs")

    def measures(self) -> dict[str, Callable[[dict[str, int]], Metrics]]:
        """Measures that this system does in a way of its own."""
        return {}


@dataclass(slots=True)
class Region:
    """A stretch of time, and the CPU that the tree used in it."""

    tree: accounting.Tree = field(default_factory=accounting.own_tree)
    seconds: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> Self:
        self.cpu = -self.tree.cpu_seconds()
        self.seconds = -time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()
        self.cpu += self.tree.cpu_seconds()


def main(system: System) -> None:
    """Do the measure that the command line names, with the sizes it gives as JSON."""
    name, sizes = sys.argv[1], json.loads(sys.argv[2])
    own = system.measures().get(name)
    try:
        metrics = own(sizes) if own else _SHARED[name](system, sizes)
        answer: dict[str, Any] = {"metrics": metrics}
    except UnsupportedError as reason:
        answer = {"unsupported": str(reason)}
    print(json.dumps(answer), flush=True)


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return statistics.median(ordered) * 1e3, ordered[int(0.95 * (len(ordered) - 1))] * 1e3


def latencies(call: Callable[[int], object], count: int) -> Metrics:
    """Time `count` calls, one after the other."""
    times = []
    with Region() as region:
        for x in range(count):
            began = time.perf_counter()
            call(x)
            times.append(time.perf_counter() - began)
    p50, p95 = percentiles(times)
    return {"p50_ms": p50, "p95_ms": p95, "cpu_ms": region.cpu / count * 1e3}


def timed_map(
    system: System, mapper: Callable[[Task, Sequence[Any]], list[Any]], sizes: dict[str, int]
) -> Metrics:
    """Time one way to map over no-ops, warm."""
    items = range(min(sizes["n"], system.most_inputs))
    system.open(2, 2)
    _warm(system)
    mapper(tasks.noop, range(200))
    regions: list[Region] = []
    # A map that lasts less than a second is done three times, because one is too short to trust.
    while not regions or (len(regions) < 3 and regions[0].seconds < 1.0):
        with Region() as region:
            results = mapper(tasks.noop, items)
        if results != list(items):
            raise RuntimeError("the map gave wrong results")
        regions.append(region)
    system.close()
    seconds = statistics.median(region.seconds for region in regions)
    cpu = statistics.median(region.cpu for region in regions)
    return {"per_s": len(items) / seconds, "cpu_per_1k": cpu / len(items) * 1e3, "n": len(items)}


def median_wall_ms(argv: Sequence[str], count: int) -> float:
    """Median wall time of a command in milliseconds.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    times = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def beside_interpreter(script: str) -> str:
    """The path of a console script that was installed beside this interpreter."""
    return os.path.join(os.path.dirname(sys.executable), script)


def arrival_seconds(began: float, arrivals: Sequence[tuple[int, float]], count: int) -> float:
    """Seconds from `began` until the last of `count` distinct processes checked in."""
    processes = {process for process, _ in arrivals}
    if len(processes) < count:
        raise RuntimeError(f"only {len(processes)} of {count} workers ran at the same time")
    return max(moment for _, moment in arrivals) - began


def _warm(system: System) -> None:
    for x in range(20):
        system.call(tasks.noop, x)
    system.map(tasks.noop, range(200))


def _map_noop(system: System, sizes: dict[str, int]) -> Metrics:
    return timed_map(system, system.map, sizes)


def _map_single(system: System, sizes: dict[str, int]) -> Metrics:
    return timed_map(system, system.map_single, sizes)


def _map_chunked(system: System, sizes: dict[str, int]) -> Metrics:
    return timed_map(system, system.map_chunked, sizes)


def _call_latency(system: System, sizes: dict[str, int]) -> Metrics:
    system.open(2, 2)
    _warm(system)
    metrics = latencies(lambda x: system.call(tasks.noop, x), sizes["n"])
    system.close()
    return metrics


def _generator(system: System, sizes: dict[str, int]) -> Metrics:
    count, read, first, ahead = sizes["n"], 0, 0.0, 0

    def inputs() -> Iterator[int]:
        nonlocal read
        for x in range(count):
            read += 1
            yield x

    system.open(2, 2)
    _warm(system)
    accounting.reset_peak()
    before = accounting.memory_mib("VmRSS")
    began = time.perf_counter()
    expected = 0
    for result in system.stream(tasks.noop, inputs()):
        if not expected:
            first, ahead = time.perf_counter() - began, read
        if result != expected:
            raise RuntimeError(f"result {expected} of the generator was {result}")
        expected += 1
    seconds = time.perf_counter() - began
    growth = accounting.memory_mib("VmHWM") - before
    system.close()
    if expected != count:
        raise RuntimeError(f"{expected} results for {count} inputs")
    return {
        "seconds": seconds,
        "per_s": count / seconds,
        "first_s": first,
        "read_ahead": ahead,
        "growth_mib": growth,
    }


def _echo(system: System, sizes: dict[str, int]) -> Metrics:
    payloads = [os.urandom(MIB) for _ in range(sizes["n"])]
    system.open(2, 2)
    _warm(system)
    with Region() as region:
        results = system.map(tasks.echo, payloads)
    if [len(result) for result in results] != [MIB] * len(payloads) or results[-1] != payloads[-1]:
        raise RuntimeError("the echo gave wrong payloads")
    memory = sum(accounting.own_tree().pss_mib().values())
    system.close()
    return {"mib_per_s": len(payloads) / region.seconds, "cpu_s": region.cpu, "pss_mib": memory}


def _argument(system: System, sizes: dict[str, int]) -> Metrics:
    payload = os.urandom(MIB) * sizes["mib"]
    system.open(2, 2)
    _warm(system)
    times, cpu = [], 0.0
    for _ in range(sizes["calls"]):
        with Region() as region:
            arrived = system.call(tasks.size, payload)
        if arrived != len(payload):
            raise RuntimeError(f"{arrived} of {len(payload)} bytes arrived")
        times.append(region.seconds)
        cpu += region.cpu / sizes["calls"]
    system.close()
    return {"median_s": statistics.median(times), "first_s": times[0], "cpu_s": cpu}


def _cold_start(system: System, _sizes: dict[str, int]) -> Metrics:
    system.open(2, 2)
    system.call(tasks.noop, 1)
    metrics = {"first_s": time.monotonic() - float(os.environ[START_VARIABLE])}
    system.close()
    return metrics


def _import_time(system: System, sizes: dict[str, int]) -> Metrics:
    bare, whole = [], []
    for _ in range(sizes["n"]):
        bare.append(median_wall_ms((sys.executable, "-c", "pass"), 1))
        whole.append(median_wall_ms((sys.executable, "-c", system.import_line), 1))
    middle = statistics.median(bare)
    return {"over_ms": statistics.median(whole) - middle, "bare_ms": middle}


def _help_time(system: System, sizes: dict[str, int]) -> Metrics:
    if not system.help_command:
        raise UnsupportedError("has no command line")
    return {"help_ms": median_wall_ms(system.help_command, sizes["n"])}


def _scale(system: System, _sizes: dict[str, int]) -> Metrics:
    tree = accounting.own_tree()
    system.open(2, 16)
    with tempfile.TemporaryDirectory() as folder:
        system.spread(tasks.arrive, [(folder, 2)] * 2)
    before = set(tree.pids())
    with tempfile.TemporaryDirectory() as folder, Region() as region:
        began = time.monotonic()
        system.resize(16)
        arrivals = system.spread(tasks.arrive, [(folder, 16)] * 16)
    memory = sum(tree.pss_mib().values())
    system.close()
    new = len({process for process, _ in arrivals} - before)
    if new < 14:
        raise RuntimeError(f"only {new} of the 16 workers were started after the measure began")
    return {
        "seconds": arrival_seconds(began, arrivals, 16),
        "new": new,
        "cpu_s": region.cpu,
        "pss_mib": memory,
    }


def _memory(system: System, sizes: dict[str, int]) -> Metrics:
    system.open(2, 2)
    _warm(system)
    system.map(tasks.noop, range(min(sizes["n"], system.most_inputs)))
    memory = accounting.own_tree().pss_mib()
    system.close()
    return {
        "pss_mib": sum(memory.values()),
        "client_mib": memory.get(os.getpid(), 0.0),
        "processes": len(memory),
    }


_SHARED: dict[str, Callable[[System, dict[str, int]], Metrics]] = {
    "map_noop": _map_noop,
    "map_single": _map_single,
    "map_chunked": _map_chunked,
    "call_latency": _call_latency,
    "generator_1m": _generator,
    "echo_1mib": _echo,
    "arg_100mib": _argument,
    "cold_start": _cold_start,
    "import_time": _import_time,
    "help_time": _help_time,
    "scale_2_to_16": _scale,
    "memory_pss": _memory,
}


def module(name: str) -> Any:
    """Import a system's own package, as late as its users would."""
    return importlib.import_module(name)
