"""What an App tells of itself: its tags, its output, what the engine knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from cloudfn import errors
from cloudfn.sdk import app_lookup
from cloudfn.sdk.absent import no_dashboard
from cloudfn.sdk.client import Client, default_client
from cloudfn.sdk.twins import Steps, twin

if TYPE_CHECKING:
    from cloudfn.sdk.logs import Logs
    from cloudfn.sdk.records import AppInfo, FunctionCurrentStats


_LONGEST_TAG = 63


class AppFacts:
    """The part of an App that only looks."""

    _app_id: str | None
    _client: Client | None
    _environment: str | None
    _tags: dict[str, str]

    @twin
    def get_tags(self) -> Steps[dict[str, str]]:
        """Return its tags: the engine's while it runs or is deployed, else those it declares."""
        if self._app_id is None:
            return dict(self._tags)
        found = yield from app_lookup.find(self._app_id, self._client, self._environment)
        return dict(found["tags"])

    @twin
    def set_tags(self, tags: Mapping[str, str]) -> Steps[None]:
        """Replace its tags, until the next deploy.

        Raises:
            InvalidError: A tag is no text, or longer than 63 characters.
        """
        wanted = check_tags(tags)
        if self._app_id is not None:
            engine = self._client or default_client(self._environment)
            yield from engine.ask("app_tag", app_id=self._app_id, tags=wanted)
        self._tags = wanted

    @property
    def logs(self) -> Logs:
        """What its containers print."""
        from cloudfn.sdk.logs import Logs

        return Logs(self._log_scope)

    @twin
    def info(self, refresh: bool = False) -> Steps[AppInfo]:  # noqa: ARG002, FBT001, FBT002
        """Return what the engine knows of the App, always as it is now.

        Raises:
            ExecutionError: It neither runs nor is deployed.
        """
        from cloudfn.sdk.records import AppInfo

        app_id = self._known_id()
        found = yield from app_lookup.find(app_id, self._client, self._environment)
        return AppInfo.from_reply(found)

    @twin
    def stats(self, *, since: Any = None, until: Any = None) -> Steps[FunctionCurrentStats]:
        """Return the figures of this moment, over all its functions.

        Raises:
            UnimplementedError: Figures of the past were asked for.
            ExecutionError: It neither runs nor is deployed.
        """
        app_lookup.check_times(since, until)
        return (yield from app_lookup.stats_of(self._known_id(), self._client, self._environment))

    def get_dashboard_url(self) -> NoReturn:
        """Raise UnimplementedError: there is no dashboard yet."""
        raise no_dashboard("cloudfn app info APP")

    def _log_scope(self) -> Steps[tuple[Client, dict[str, Any]]]:
        yield from ()
        engine = self._client or default_client(self._environment)
        return engine, {"app": self._known_id()}

    def _known_id(self) -> str:
        if self._app_id is None:
            raise errors.ExecutionError(
                "The App is not running.", hint="Run or deploy it, or use `cloudfn.App.lookup`."
            )
        return self._app_id


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags; raises InvalidError for what is no text or too long."""
    for text in (*tags, *tags.values()):
        if not isinstance(text, str) or len(text) > _LONGEST_TAG:
            raise errors.InvalidError(
                f"Tags are text of at most {_LONGEST_TAG} characters, not {text!r}."
            )
    return dict(tags)
