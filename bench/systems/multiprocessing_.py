"""multiprocessing.Pool, with fork, as Linux has it by default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from probe import System, Task, main, module


class Multiprocessing(System):
    import_line = "import multiprocessing.pool"

    def open(self, workers: int, at_most: int) -> None:
        self._new_pool = module("multiprocessing").Pool
        self._pools = [self._new_pool(workers)]

    def close(self) -> None:
        for pool in self._pools:
            pool.close()
            pool.join()

    def call(self, task: Task, *args: Any) -> Any:
        return self._pools[0].apply(task, args)

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        result: list[Any] = self._pools[0].map(task, items)
        return result

    def map_single(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._pools[0].imap(task, items, 1))

    def map_chunked(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._pools[0].imap(task, items, 256))

    def stream(self, task: Task, items: Iterable[Any]) -> Iterator[Any]:
        results: Iterator[Any] = self._pools[0].imap(task, items)
        return results

    def resize(self, workers: int) -> None:
        # A Pool keeps its size; a second one beside it is the way to more workers.
        self._pools.append(self._new_pool(workers - 2))

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        pending = [self._pools[0].apply_async(task, args) for args in arguments[:2]]
        pending += [self._pools[-1].apply_async(task, args) for args in arguments[2:]]
        return [answer.get() for answer in pending]


if __name__ == "__main__":
    main(Multiprocessing())
