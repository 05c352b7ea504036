"""concurrent.futures.ProcessPoolExecutor, with fork, as Linux has it by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probe import System, Task, main, module


class Futures(System):
    import_line = "from concurrent.futures import ProcessPoolExecutor"

    def open(self, workers: int, at_most: int) -> None:
        self._executor = module("concurrent.futures").ProcessPoolExecutor(at_most)

    def close(self) -> None:
        self._executor.shutdown()

    def call(self, task: Task, *args: Any) -> Any:
        return self._executor.submit(task, *args).result()

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._executor.map(task, items))

    def map_chunked(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._executor.map(task, items, chunksize=256))

    def grow(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        # The executor starts a process for a submission that finds none idle.
        pending = [self._executor.submit(task, *args) for args in arguments]
        return [answer.result() for answer in pending]


if __name__ == "__main__":
    main(Futures())
