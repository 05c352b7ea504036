"""joblib.Parallel with its default backend and its automatic batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from probe import System, Task, main, module


class Joblib(System):
    import_line = "import joblib"

    def open(self, workers: int, at_most: int) -> None:
        self._joblib = module("joblib")
        self._workers = workers
        self._parallel = self._joblib.Parallel(n_jobs=workers).__enter__()

    def close(self) -> None:
        self._parallel.__exit__(None, None, None)
        module("joblib.externals.loky").get_reusable_executor().shutdown()

    def call(self, task: Task, *args: Any) -> Any:
        return self._parallel([self._joblib.delayed(task)(*args)])[0]

    def map(self, task: Task, items: Sequence[Any]) -> list[Any]:
        return list(self._parallel(map(self._joblib.delayed(task), items)))

    def map_single(self, task: Task, items: Sequence[Any]) -> list[Any]:
        one_by_one = self._joblib.Parallel(n_jobs=self._workers, batch_size=1)
        return list(one_by_one(map(self._joblib.delayed(task), items)))

    def stream(self, task: Task, items: Iterable[Any]) -> Iterator[Any]:
        lazy = self._joblib.Parallel(n_jobs=self._workers, return_as="generator")
        return iter(lazy(map(self._joblib.delayed(task), items)))

    def resize(self, workers: int) -> None:
        """Nothing: each Parallel says how many workers it wants."""

    def spread(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        wide = self._joblib.Parallel(n_jobs=len(arguments), batch_size=1)
        return list(wide(self._joblib.delayed(task)(*args) for args in arguments))


if __name__ == "__main__":
    main(Joblib())
