"""huey on SQLite with a consumer of two processes; polling delays are set to a millisecond."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import accounting
from probe import System, Task, UnsupportedError, beside_interpreter, main, module


class Huey(System):
    import_line = "from huey import SqliteHuey"
    help_command = (beside_interpreter("huey_consumer"), "--help")

    def open(self, workers: int, at_most: int) -> None:
        if at_most > workers:
            raise UnsupportedError("a consumer keeps its number of workers")
        self._consumer = subprocess.Popen(
            [
                *(sys.executable, "-m", "huey.bin.huey_consumer", "huey_tasks.huey"),
                *("--workers", str(workers), "--worker-type", "process", "--no-periodic"),
                *("--delay", "0.001", "--max-delay", "0.001", "--quiet"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=os.environ[accounting.FOLDER_VARIABLE],
        )
        self._tasks = module("huey_tasks")

    def close(self) -> None:
        self._consumer.terminate()
        self._consumer.wait()

    def call(self, task: Task, *args: Any) -> Any:
        return self._named(task)(*args).get(blocking=True, backoff=1.0, max_delay=0.001)

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        one = self._named(task)
        pending = [one(item) for item in items]
        return [answer.get(blocking=True, backoff=1.0, max_delay=0.001) for answer in pending]

    def _named(self, task: Task) -> Any:
        return getattr(self._tasks, task.__name__)


if __name__ == "__main__":
    main(Huey())
