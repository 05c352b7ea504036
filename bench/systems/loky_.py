"""loky's reusable executor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probe import System, Task, main, module


class Loky(System):
    import_line = "import loky"

    def open(self, workers: int, at_most: int) -> None:
        self._reusable = module("loky").get_reusable_executor
        self._executor = self._reusable(max_workers=workers)

    def close(self) -> None:
        self._executor.shutdown()

    def call(self, task: Task, *args: Any) -> Any:
        return self._executor.submit(task, *args).result()

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._executor.map(task, items))

    def map_chunked(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._executor.map(task, items, chunksize=256))

    def resize(self, workers: int) -> None:
        self._executor = self._reusable(max_workers=workers)

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        pending = [self._executor.submit(task, *args) for args in arguments]
        return [answer.result() for answer in pending]


if __name__ == "__main__":
    main(Loky())
