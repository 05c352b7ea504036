"""What is measured: names, metrics, sizes and limits, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a measure.

    Attributes:
        key: Its name in the JSON line of a run.
        label: The head of its column, unit included.
        better: "higher", "lower", or "" for a number that only informs and is never judged.
    """

    key: str
    label: str
    better: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """One piece of work that every system does.

    Attributes:
        title: What is done, in one line, with {placeholders} for the sizes.
        metrics: The numbers a run gives.
        full: Sizes of a normal run.
        quick: Sizes that a quick run has instead.
        limit: Seconds after which a run is killed.
        only: The systems that take part; empty for all.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    full: Mapping[str, int] = field(default_factory=dict)
    quick: Mapping[str, int] = field(default_factory=dict)
    limit: int = 120
    only: tuple[str, ...] = ()

    def sizes(self, quick: bool) -> dict[str, int]:
        """The sizes of a run."""
        return {**self.full, **(self.quick if quick else {})}


_MAP = (
    Metric("per_s", "inputs/s", "higher"),
    Metric("cpu_per_1k", "CPU-s per 1,000", "lower"),
    Metric("n", "inputs"),
)
_LATENCY = (
    Metric("p50_ms", "p50 ms", "lower"),
    Metric("p95_ms", "p95 ms", "lower"),
    Metric("cpu_ms", "CPU-ms per call", "lower"),
)

MEASURES: tuple[Measure, ...] = (
    Measure(
        "map_noop",
        "ordered map over {n} no-ops, warm, each system's default way",
        _MAP,
        {"n": 10_000},
        {"n": 2_000},
    ),
    Measure(
        "map_single",
        "ordered map over {n} no-ops, warm, one message per input",
        _MAP,
        {"n": 10_000},
        {"n": 2_000},
    ),
    Measure(
        "map_chunked",
        "ordered map over {n} no-ops, warm, chunked by hand where a system can",
        _MAP,
        {"n": 10_000},
        {"n": 2_000},
        only=("multiprocessing", "futures", "loky", "ray", "celery"),
    ),
    Measure(
        "call_latency",
        "{n} warm calls, one after the other",
        _LATENCY,
        {"n": 1_000},
        {"n": 200},
    ),
    Measure(
        "method_cost",
        "a method beside a function: {n} warm calls of each in turn, then {maps} maps over {items}",
        (
            Metric("function_p50_ms", "function p50 ms"),
            Metric("method_p50_ms", "method p50 ms"),
            Metric("fresh_p50_ms", "of a new instance each p50 ms"),
            Metric("call_ratio", "method / function", "lower"),
            Metric("function_per_s", "function mapped inputs/s"),
            Metric("method_per_s", "method mapped inputs/s"),
            Metric("map_ratio", "function / method", "lower"),
        ),
        {"n": 1_000, "maps": 5, "items": 10_000},
        {"n": 200, "maps": 3, "items": 2_000},
        only=("cloudfn",),
    ),
    Measure(
        "spawn_latency",
        "{n} `.spawn` calls until acknowledged, safe from a power cut",
        _LATENCY,
        {"n": 500},
        {"n": 100},
        only=("cloudfn",),
    ),
    Measure(
        "generator_1m",
        "a generator of {n} inputs, mapped lazily",
        (
            Metric("seconds", "s", "lower"),
            Metric("per_s", "inputs/s", "higher"),
            Metric("first_s", "first result s", "lower"),
            Metric("read_ahead", "inputs read by then"),
            Metric("growth_mib", "client grows MiB", "lower"),
        ),
        {"n": 1_000_000},
        {"n": 50_000},
        limit=300,
        only=("cloudfn", "multiprocessing", "joblib"),
    ),
    Measure(
        "echo_1mib",
        "map over {n} payloads of 1 MiB that come back",
        (
            Metric("mib_per_s", "MiB/s", "higher"),
            Metric("cpu_s", "CPU-s", "lower"),
            Metric("pss_mib", "tree PSS MiB after"),
        ),
        {"n": 200},
        {"n": 50},
    ),
    Measure(
        "arg_100mib",
        "one argument of {mib} MiB, warm",
        (
            Metric("median_s", "s, median of {calls}", "lower"),
            Metric("first_s", "s, first", "lower"),
            Metric("cpu_s", "CPU-s per call"),
        ),
        {"mib": 100, "calls": 3},
    ),
    Measure(
        "cold_start",
        "from nothing to the first result of a script with two workers",
        (
            Metric("first_s", "first result s", "lower"),
            Metric("again_s", "with a running daemon s", "lower"),
            Metric("exit_s", "to exit s"),
            Metric("cpu_s", "CPU-s"),
        ),
    ),
    Measure(
        "import_time",
        "importing it in a fresh interpreter, median of {n}",
        (
            Metric("over_ms", "ms over bare Python", "lower"),
            Metric("bare_ms", "bare Python ms"),
        ),
        {"n": 7},
        {"n": 3},
    ),
    Measure(
        "help_time",
        "`--help` of its command line, median of {n}",
        (Metric("help_ms", "ms", "lower"),),
        {"n": 5},
        {"n": 2},
        only=("cloudfn", "ray", "dask", "celery", "huey"),
    ),
    Measure(
        "scale_2_to_16",
        "from 2 to 16 workers that all run a task at the same time",
        (
            Metric("seconds", "s", "lower"),
            Metric("new", "new processes among the 16"),
            Metric("cpu_s", "CPU-s", "lower"),
            Metric("pss_mib", "tree PSS MiB after"),
        ),
    ),
    Measure(
        "memory_pss",
        "memory of everything with two workers, after {n} no-ops",
        (
            Metric("pss_mib", "tree PSS MiB", "lower"),
            Metric("client_mib", "of it the client", "lower"),
            Metric("processes", "processes"),
        ),
        {"n": 10_000},
        {"n": 1_000},
    ),
    Measure(
        "idle_cpu",
        "an idle daemon with two idle containers, over {seconds} s",
        (Metric("percent", "% of a core", "lower"),),
        {"seconds": 20},
        {"seconds": 5},
        only=("cloudfn",),
    ),
    Measure(
        "fairness",
        "wait of a second pool beside a pool of {crowd} queued inputs, {n} probes",
        (
            Metric("alone_p95_ms", "p95 alone ms", "lower"),
            Metric("beside_p95_ms", "p95 beside ms", "lower"),
            Metric("ratio", "ratio", "lower"),
        ),
        {"n": 200, "crowd": 10_000},
        {"n": 50, "crowd": 10_000},
        only=("cloudfn",),
    ),
    Measure(
        "container_start",
        "from a call to user code in a new container; `docker run` of a Python beside it",
        (
            Metric("process_cold_ms", "process, first ms", "lower"),
            Metric("process_next_ms", "process, next ms", "lower"),
            Metric("process_reuse_ms", "process, warm ms", "lower"),
            Metric("docker_cold_ms", "docker, first ms", "lower"),
            Metric("docker_next_ms", "docker, next ms", "lower"),
            Metric("docker_reuse_ms", "docker, warm ms", "lower"),
            Metric("docker_run_ms", "`docker run` ms"),
        ),
        {"calls": 20},
        {"calls": 5},
        only=("cloudfn",),
    ),
    Measure(
        "image_noop",
        "deploying an unchanged app with an image again",
        (
            Metric("process_s", "process runtime s", "lower"),
            Metric("docker_s", "docker runtime s", "lower"),
        ),
        only=("cloudfn",),
    ),
    Measure(
        "bundle",
        "collecting and storing a program of {files} files",
        (
            Metric("first_s", "first time s", "lower"),
            Metric("again_s", "unchanged s", "lower"),
            Metric("mib", "MiB"),
        ),
        {"files": 1_000},
        only=("cloudfn",),
    ),
    Measure(
        "take_back",
        "longest wait of what was handed over behind an input of 1 s, {n} inputs",
        (
            Metric("sleeping_ms", "it sleeps: ms", "lower"),
            Metric("holding_ms", "it holds the GIL: ms", "lower"),
        ),
        {"n": 2_000},
        {"n": 500},
        only=("cloudfn",),
    ),
)


def named(names: list[str]) -> tuple[Measure, ...]:
    """The measures of these names, all for an empty list.

    Raises:
        ValueError: A name is unknown.
    """
    unknown = set(names) - {measure.name for measure in MEASURES}
    if unknown:
        known = ", ".join(measure.name for measure in MEASURES)
        raise ValueError(f"unknown measure {', '.join(sorted(unknown))}; there are: {known}")
    return tuple(measure for measure in MEASURES if not names or measure.name in names)
