"""What a Function tells of itself: its output, its figures, what the engine knows of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

from cloudfn.errors import UnimplementedError
from cloudfn.sdk.absent import no_dashboard
from cloudfn.sdk.client import Client
from cloudfn.sdk.twins import Steps, twin

if TYPE_CHECKING:
    from cloudfn.sdk.logs import Logs
    from cloudfn.sdk.records import FunctionCurrentStats, FunctionInfo
    from cloudfn.sdk.target import Target


class FunctionFacts(ABC):
    """The part of a Function that only looks."""

    name: str
    _app_id: str | None

    @abstractmethod
    def target(self) -> Steps[Target]:
        """Return what a call is aimed at."""

    @twin
    def get_current_stats(self) -> Steps[FunctionCurrentStats]:
        """Return how many inputs and containers the function has right now."""
        return (yield from self.current_stats())

    @property
    def logs(self) -> Logs:
        """What its containers print."""
        from cloudfn.sdk.logs import Logs

        return Logs(self._log_scope)

    @twin
    def info(self, refresh: bool = False) -> Steps[FunctionInfo]:  # noqa: ARG002, FBT001, FBT002
        """Return what the engine knows of the function, always as it is now."""
        from cloudfn.sdk.records import FunctionInfo

        target = yield from self.target()
        told = yield from target.client.ask("function_lookup", function_id=target.function_id)
        return FunctionInfo(
            function_id=told["function_id"],
            name=told["name"],
            app_id=told["app_id"],
            app_name=told["app_name"],
            version=told["revision"],
            definition=told["spec"],
        )

    @twin
    def stats(
        self, /, *, since: Any = None, until: Any = None, **_: Any
    ) -> Steps[FunctionCurrentStats]:
        """Return the figures of this moment, as `get_current_stats` does.

        Raises:
            UnimplementedError: Figures of the past were asked for.
        """
        from cloudfn.sdk.app_lookup import check_times

        check_times(since, until)
        return (yield from self.current_stats())

    @property
    def metrics(self) -> NoReturn:
        """Raise UnimplementedError: there are none."""
        raise UnimplementedError(
            "There are no metrics in this version.", hint="Use `get_current_stats()`."
        )

    def get_dashboard_url(self) -> NoReturn:
        """Raise UnimplementedError: there is no dashboard yet."""
        raise no_dashboard("cloudfn function info APP/FUNCTION")

    def current_stats(self) -> Steps[FunctionCurrentStats]:
        """Ask how many inputs and containers the function has right now."""
        from cloudfn.sdk.records import FunctionCurrentStats

        target = yield from self.target()
        told = yield from target.client.ask("stats", function_id=target.function_id)
        return FunctionCurrentStats.from_replies([told])

    def _log_scope(self) -> Steps[tuple[Client, dict[str, Any]]]:
        target = yield from self.target()
        return target.client, {"app": self._app_id, "function": self.name}
