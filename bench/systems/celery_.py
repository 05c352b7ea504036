"""Celery with one prefork worker of two processes, on a broker that only this run uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import accounting
from probe import System, Task, beside_interpreter, main, module


class CeleryWorker(System):
    import_line = "from celery import Celery"
    help_command = (beside_interpreter("celery"), "--help")
    most_inputs = 4_000

    def open(self, workers: int, at_most: int) -> None:
        folder = os.environ[accounting.FOLDER_VARIABLE]
        self._redis = _start_redis(folder)
        self._worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "celery_tasks", "worker"),
                *("--concurrency", str(workers), "--loglevel", "ERROR"),
            ],
            stdout=subprocess.DEVNULL,
            cwd=folder,
            # Celery refuses pickle to root; this broker has one client, which we are.
            env={**os.environ, "C_FORCE_ROOT": "1"},
        )
        self._tasks = module("celery_tasks")

    def close(self) -> None:
        self._worker.terminate()
        self._worker.wait()
        if self._redis is not None:
            self._redis.terminate()
            self._redis.wait()

    def call(self, task: Task, *args: Any) -> Any:
        return self._named(task).delay(*args).get()

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        one = self._named(task)
        results: list[Any] = module("celery").group(one.s(item) for item in items)().get()
        return results

    def map_chunked(self, task: Task, items: Sequence[Any]) -> list[Any]:
        chunks = self._named(task).chunks(zip(items, strict=True), 256)
        return [result for chunk in chunks().get() for result in chunk]

    def resize(self, workers: int) -> None:
        self._tasks.app.control.pool_grow(workers - 2)

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        pending = [self._named(task).delay(*args) for args in arguments]
        return [answer.get() for answer in pending]

    def _named(self, task: Task) -> Any:
        return getattr(self._tasks, task.__name__)


def _start_redis(folder: str) -> subprocess.Popen[bytes] | None:
    """Start a Redis that keeps nothing on disk; None where the machine has none."""
    server = shutil.which("redis-server")
    if server is None:
        return None
    path = os.path.join(folder, "redis.sock")
    os.environ["BENCH_CELERY_REDIS"] = path
    process = subprocess.Popen(
        [
            *(server, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"),
            # By default a client with 32 MiB of results to read is cut off, and waits for ever.
            *("--client-output-buffer-limit", "pubsub 0 0 0"),
        ],
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    while not os.path.exists(path) and process.poll() is None:
        time.sleep(0.002)
    return process


if __name__ == "__main__":
    main(CeleryWorker())
