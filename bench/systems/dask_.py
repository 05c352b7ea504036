"""Dask distributed: a LocalCluster of single-threaded worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probe import System, Task, beside_interpreter, main, module


class Dask(System):
    import_line = "import dask.distributed"
    help_command = (beside_interpreter("dask"), "--help")
    most_inputs = 4_000

    def open(self, workers: int, at_most: int) -> None:
        distributed = module("dask.distributed")
        self._cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self._client = distributed.Client(self._cluster)

    def close(self) -> None:
        self._client.close()
        self._cluster.close()

    def call(self, task: Task, *args: Any) -> Any:
        return self._client.submit(task, *args, pure=False).result()

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        # pure=False, else equal calls share one run.
        futures = self._client.map(task, items, pure=False)
        results: list[Any] = self._client.gather(futures)
        return results

    def resize(self, workers: int) -> None:
        self._cluster.scale(workers)
        self._client.wait_for_workers(workers)

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        futures = [
            self._client.submit(task, *args, pure=False, workers=[worker])
            for worker, args in zip(workers, arguments, strict=True)
        ]
        results: list[Any] = self._client.gather(futures)
        return results


if __name__ == "__main__":
    main(Dask())
