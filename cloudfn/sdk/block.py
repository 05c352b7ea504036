"""What is open for as long as a `with` or `async with` block: two operations around user code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, TypeVar

from cloudfn.sdk.twins import Steps, run, run_async

T = TypeVar("T")


class Block(ABC, Generic[T]):
    """Opens something that the block gets, and closes it when the block ends."""

    @abstractmethod
    def _begin(self) -> Steps[T]:
        """Open it; what this returns is what `as` names."""

    @abstractmethod
    def _end(self, error: BaseException | None) -> Steps[None]:
        """Close it; `error` is what ended the block early, and goes on afterwards."""

    def __enter__(self) -> T:
        return run(self._begin())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run(self._end(error))

    async def __aenter__(self) -> T:
        return await run_async(self._begin())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await run_async(self._end(error))
