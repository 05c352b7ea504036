"""An App while it runs: opened at the engine, its functions known, its output passed on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cloudfn import errors
from cloudfn.sdk.block import Block
from cloudfn.sdk.client import Client, current_settings, default_client
from cloudfn.sdk.interaction import own_terminal
from cloudfn.sdk.twins import Steps

if TYPE_CHECKING:
    from cloudfn.sdk.app import App
    from cloudfn.sdk.app_opening import Opening


class AppRun(Block["App"]):
    """An App that runs while this is open, with `with` or `async with`."""

    def __init__(
        self,
        app: App,
        name: str | None,
        client: Client | None,
        environment: str | None,
        how: Opening,
        *,
        interactive: bool,
    ) -> None:
        self._app = app
        self._name = name
        self._client = client
        self._environment = environment
        self._how = how
        self._detach = how.state == "detached"
        self._interactive = interactive
        self._listening: int | None = None

    def _engine(self) -> Client:
        return self._client or default_client(self._environment)

    def _begin(self) -> Steps[App]:
        from cloudfn.sdk.context import wanted_sink

        app = self._app
        if app.is_running:
            raise errors.InvalidError(
                "App is already running and can't be started again.",
                hint="Call its functions inside the block that runs it.",
            )
        refuse_in_container("run")
        terminal = own_terminal() if self._interactive else None
        engine = self._engine()
        app.is_running = True
        try:
            how = replace(self._how, terminal=terminal)
            told = yield from app.open(engine, self._name or app.description, how)
            app.bind(told, self._client, self._environment)
            if not self._detach:
                engine.keep(told["app_id"])
            sink = wanted_sink()
            if sink is not None:
                self._listening = engine.listen("events", {"app_id": told["app_id"]}, sink)
        except BaseException:
            app.is_running = False
            app.unbind()
            raise
        return app

    def _end(self, error: BaseException | None) -> Steps[None]:
        app, engine = self._app, self._engine()
        app_id = app.app_id
        app.is_running = False
        app.unbind()
        if app_id is None:
            return  # it was stopped inside
        try:
            if not self._detach:
                is_interrupted = isinstance(error, KeyboardInterrupt)
                patience = 0.0 if is_interrupted else self._patience()
                app.summary = yield from engine.ask("app_close", app_id=app_id, patience=patience)
        except errors.Error:
            if error is None:
                raise
        finally:
            engine.unkeep(app_id)
            if self._listening is not None:
                engine.release(self._listening, tell=False)
                self._listening = None

    def _patience(self) -> float:
        """Return how many seconds to wait for what containers print on leaving."""
        return 0.0 if self._listening is None else current_settings().logs_timeout


def refuse_in_container(what: str) -> None:
    """Raise InvalidError where programs are imported for containers."""
    if current_settings().worker:
        raise errors.InvalidError(
            f"`app.{what}()` cannot be used inside a container.",
            hint="Put it under `if __name__ == '__main__':` or into a local entry point.",
        )
