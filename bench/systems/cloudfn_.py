"""cloudfn with its defaults: durable ledger on, one daemon in a private state directory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import cloudfn_starts
from probe import (
    START_VARIABLE,
    Metrics,
    Region,
    System,
    Task,
    beside_interpreter,
    latencies,
    main,
    module,
    percentiles,
    timed_map,
)

_APP_FILE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "apps", "noop.py")
_SETTLE_SECONDS = 3.0


def _command(*arguments: str) -> tuple[str, ...]:
    script = beside_interpreter("cloudfn")
    head = (script,) if os.path.exists(script) else (sys.executable, "-m", "cloudfn")
    return (*head, *arguments)


class Cloudfn(System):
    import_line = "import cloudfn"
    help_command = _command("--help")

    def open(self, workers: int, at_most: int) -> None:
        self._stack = ExitStack()
        self._stack.callback(_stop_daemon)
        self._functions = module("noop")
        self._stack.enter_context(self._functions.app.run())

    def close(self) -> None:
        self._stack.close()

    def call(self, task: Task, *args: Any) -> Any:
        return self._named(task).remote(*args)

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._named(task).map(items))

    def stream(self, task: Task, items: Iterable[Any]) -> Iterator[Any]:
        results: Iterator[Any] = self._named(task).map(items)
        return results

    def resize(self, workers: int) -> None:
        self._functions.arrive.update_autoscaler(min_containers=workers)

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        return list(self._named(task).starmap(arguments))

    def measures(self) -> dict[str, Any]:
        return {
            "map_single": self._map_single,
            "cold_start": self._cold_start,
            "method_cost": self._method_cost,
            "spawn_latency": self._spawn_latency,
            "idle_cpu": self._idle_cpu,
            "fairness": self._fairness,
            "take_back": self._take_back,
            "container_start": lambda sizes: cloudfn_starts.container_start(sizes, _run),
            "image_noop": lambda _: cloudfn_starts.image_noop(_run),
            "bundle": cloudfn_starts.bundle,
        }

    def _named(self, task: Task) -> Any:
        return getattr(self._functions, task.__name__)

    def _map_single(self, sizes: dict[str, int]) -> Metrics:
        os.environ["CLOUDFN_ONE_AT_A_TIME"] = "1"  # the daemon starts with it
        return timed_map(self, self.map, sizes)

    def _cold_start(self, _sizes: dict[str, int]) -> Metrics:
        """`cloudfn run`, first with nothing running, then with the daemon of the first."""
        try:
            first = _first_result(float(os.environ[START_VARIABLE]))
            again = _first_result(time.monotonic())
        finally:
            _stop_daemon()
        return {"first_s": first, "again_s": again}

    def _method_cost(self, sizes: dict[str, int]) -> Metrics:
        """Both in turn, so that a busy spell of the machine hits both."""
        self.open(2, 2)
        function, served = self._functions.noop, self._functions.Served
        method = served(kind="method").noop

        def fresh(x: int) -> Any:
            return served(kind="method").noop.remote(x)

        calls = (function.remote, method.remote, fresh)
        times: tuple[list[float], ...] = ([], [], [])
        for x in range(20 + sizes["n"]):
            for call, spent in zip(calls, times, strict=True):
                spent.append(_seconds(lambda call=call, x=x: call(x)))
        function_ms, method_ms, fresh_ms = (percentiles(spent[20:])[0] for spent in times)
        items = range(sizes["items"])
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(1 + sizes["maps"]):
            for mapped, found in zip((function.map, method.map), rates, strict=True):
                found.append(len(items) / _seconds(lambda mapped=mapped: list(mapped(items))))
        self.close()
        function_per_s, method_per_s = (statistics.median(found[1:]) for found in rates)
        return {
            "function_p50_ms": function_ms,
            "method_p50_ms": method_ms,
            "fresh_p50_ms": fresh_ms,
            "call_ratio": method_ms / function_ms,
            "function_per_s": function_per_s,
            "method_per_s": method_per_s,
            "map_ratio": function_per_s / method_per_s,
        }

    def _spawn_latency(self, sizes: dict[str, int]) -> Metrics:
        self.open(2, 2)
        spawn = self._functions.noop.spawn
        latencies(spawn, 20)
        metrics = latencies(spawn, sizes["n"])
        self.close()
        return metrics

    def _idle_cpu(self, sizes: dict[str, int]) -> Metrics:
        self.open(2, 2)
        self.map(self._functions.tasks.noop, range(1_000))
        time.sleep(_SETTLE_SECONDS)
        with Region() as region:
            time.sleep(sizes["seconds"])
        self.close()
        return {"percent": 100 * region.cpu / region.seconds}

    def _fairness(self, sizes: dict[str, int]) -> Metrics:
        self.open(2, 2)
        stamp = self._functions.stamp
        _waits(stamp, 20)
        _, alone = percentiles(_waits(stamp, sizes["n"]))
        crowd = self._functions.spin.spawn_map([0.005] * sizes["crowd"])
        time.sleep(1.0)
        _, beside = percentiles(_waits(stamp, sizes["n"]))
        crowd.cancel()
        self.close()
        return {"alone_p95_ms": alone, "beside_p95_ms": beside, "ratio": beside / alone}

    def _take_back(self, sizes: dict[str, int]) -> Metrics:
        self.open(2, 2)
        metrics = {
            f"{kind}_ms": self._wait_behind(kind, sizes["n"]) for kind in ("sleeping", "holding")
        }
        self.close()
        return metrics

    def _wait_behind(self, kind: str, count: int) -> float:
        """Milliseconds from the start of a slow input to the start of the last one after it."""
        mixed = self._functions.mixed
        # Tiny inputs first, so that batches are as large as they get when the slow one comes.
        kinds = ["tiny"] * count + [kind] + ["tiny"] * (count // 20)
        starts = list(mixed.map(kinds))
        return float(max(starts[count + 1 :]) - starts[count]) * 1e3


def _seconds(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _waits(stamp: Any, count: int) -> list[float]:
    """Seconds from a call until user code starts, with pauses between the calls."""
    waits = []
    for x in range(count):
        called = time.monotonic()
        waits.append(stamp.remote(x) - called)
        time.sleep(0.02)
    return waits


def _first_result(began: float) -> float:
    """Seconds from `began` until a `cloudfn run` has its first result."""
    run = subprocess.run(_command("run", _APP_FILE), check=True, stdout=subprocess.PIPE, text=True)
    for line in run.stdout.splitlines():
        if "first-result" in line:
            return float(line.split("first-result")[1]) - began
    raise RuntimeError(f"`cloudfn run` gave no first result: {run.stdout!r}")


def _stop_daemon() -> None:
    subprocess.run(_command("daemon", "stop", "--now"), check=False, stdout=subprocess.DEVNULL)


def _run(*arguments: str) -> None:
    subprocess.run(_command(*arguments), check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(Cloudfn())
