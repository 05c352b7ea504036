"""Ray on one machine: plain tasks, and actors where the number of workers has to grow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import accounting
from probe import System, Task, beside_interpreter, main, module


class Runner:
    """An actor that runs any task, because an actor is a worker process of its own."""

    def run(self, task: Task, *args: Any) -> Any:
        return task(*args)


class Ray(System):
    import_line = "import ray"
    help_command = (beside_interpreter("ray"), "--help")

    def open(self, workers: int, at_most: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = module("ray")
        self._ray.init(
            num_cpus=at_most,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=2 << 30,
            _temp_dir=os.environ[accounting.FOLDER_VARIABLE],
        )
        self._pool: Any = None
        self._remotes: dict[Task, Any] = {}
        self._actors = [self._new_actor() for _ in range(workers)] if at_most > workers else []

    def close(self) -> None:
        self._ray.shutdown()

    def call(self, task: Task, *args: Any) -> Any:
        return self._ray.get(self._remote(task).remote(*args))

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        remote = self._remote(task)
        results: list[Any] = self._ray.get([remote.remote(item) for item in items])
        return results

    def map_chunked(self, task: Task, items: Sequence[Any]) -> list[Any]:
        if self._pool is None:
            self._pool = module("ray.util.multiprocessing").Pool(2)
        results: list[Any] = self._pool.map(task, items)
        return results

    def resize(self, workers: int) -> None:
        self._actors += [self._new_actor() for _ in range(len(self._actors), workers)]

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        pairs = zip(self._actors, arguments, strict=True)
        results: list[Any] = self._ray.get([a.run.remote(task, *args) for a, args in pairs])
        return results

    def _remote(self, task: Task) -> Any:
        if task not in self._remotes:
            self._remotes[task] = self._ray.remote(task)
        return self._remotes[task]

    def _new_actor(self) -> Any:
        return self._ray.remote(Runner).options(num_cpus=1).remote()


if __name__ == "__main__":
    main(Ray())
