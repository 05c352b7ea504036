"""A Function as a backend of joblib, which is imported when one is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.sdk.executor import Executor
from cloudfn.sdk.function import Function


@contextmanager
def joblib_backend(function: Function, *, n_jobs: int = -1) -> Iterator[None]:
    """While open, `joblib.Parallel` runs its tasks in the containers of a Function.

    Args:
        function: One that takes a callable and calls it; see `Executor`.
        n_jobs: How many tasks joblib takes for what can run at once; -1 for `max_containers`, or
            without one as many as this machine has cores. joblib dispatches twice as many.

    Raises:
        InvalidError: joblib is not installed.
    """
    try:
        from joblib import parallel_config
    except ImportError:
        raise InvalidError("joblib is not installed.", hint="Run `pip install joblib`.") from None
    with Executor(function) as executor:
        backend = _backend(executor, _width(function))
        with parallel_config(backend=backend, n_jobs=n_jobs):
            yield


def _width(function: Function) -> int:
    most = function.spec.autoscaler.max_containers if function.spec else None
    return most or os.cpu_count() or 1


def _backend(executor: Executor, width: int) -> Any:
    """Return a backend; its class cannot be made before joblib is imported."""
    from joblib import ParallelBackendBase

    class Backend(ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
        """Tasks of joblib as calls of a Function."""

        supports_retrieve_callback = True
        default_n_jobs = -1

        def __init__(self) -> None:
            super().__init__()
            self._unfinished: dict[Future[Any], None] = {}

        def effective_n_jobs(self, n_jobs: int | None) -> int:
            if n_jobs == 0:
                raise ValueError("n_jobs == 0 in Parallel has no meaning")
            return n_jobs if n_jobs is not None and n_jobs > 0 else width

        def submit(
            self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None
        ) -> Future[Any]:
            future = executor.submit(func)
            self._unfinished[future] = None
            future.add_done_callback(lambda done: self._unfinished.pop(done, None))
            if callback is not None:
                future.add_done_callback(callback)
            return future

        def retrieve_result_callback(self, out: Future[Any]) -> Any:
            return out.result()

        def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001, FBT002, ARG002 - as its base class has it
            for future in list(self._unfinished):
                future.cancel()

    return Backend()
