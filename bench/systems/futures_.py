"""concurrent.futures.ProcessPoolExecutor, with fork, as Linux has it by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probe import System, Task, main, module


class Futures(System):
    import_line = "from concurrent.futures import ProcessPoolExecutor"

    def open(self, workers: int, at_most: int) -> None:
        self._new_executor = module("concurrent.futures").ProcessPoolExecutor
        self._executor = self._wider = self._new_executor(workers)

    def close(self) -> None:
        self._executor.shutdown()
        self._wider.shutdown()

    def call(self, task: Task, *args: Any) -> Any:
        return self._executor.submit(task, *args).result()

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._executor.map(task, items))

    def map_chunked(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._executor.map(task, items, chunksize=256))

    def resize(self, workers: int) -> None:
        # With fork an executor starts all its processes at once and keeps them; so a second one.
        self._wider = self._new_executor(workers - 2)

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        pending = [self._executor.submit(task, *args) for args in arguments[:2]]
        pending += [self._wider.submit(task, *args) for args in arguments[2:]]
        return [answer.result() for answer in pending]


if __name__ == "__main__":
    main(Futures())
