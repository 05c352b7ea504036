"""The benchmark's app: the tasks of every system as functions of cloudfn, two containers each."""

from __future__ import annotations

import time

import tasks

import cloudfn

app = cloudfn.App("bench")


@app.function(max_containers=2)
def noop(x: int) -> int:
    return tasks.noop(x)


@app.function(max_containers=2)
def echo(payload: bytes) -> bytes:
    return tasks.echo(payload)


@app.function(max_containers=2)
def size(payload: bytes) -> int:
    return tasks.size(payload)


@app.function(max_containers=16)
def arrive(folder: str, count: int) -> tuple[int, float]:
    return tasks.arrive(folder, count)


@app.function()
def spin(seconds: float) -> float:
    return tasks.spin(seconds)


@app.function(max_containers=2)
def stamp(x: int) -> float:
    return tasks.stamp(x)


@app.function(max_containers=2)
def mixed(kind: str) -> float:
    return tasks.mixed(kind)


@app.cls(max_containers=2)
class Served:
    kind: str = cloudfn.parameter(default="plain")

    @cloudfn.method()
    def noop(self, x: int) -> int:
        return tasks.noop(x)


@app.local_entrypoint()
def main() -> None:
    noop.remote(1)
    print("first-result", time.monotonic(), flush=True)
