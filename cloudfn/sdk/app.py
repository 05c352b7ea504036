"""The App: functions that are run or deployed together."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudfn import errors
from cloudfn.model.names import check_name
from cloudfn.sdk.app_declaration import AppDeclaration
from cloudfn.sdk.app_facts import AppFacts, check_tags
from cloudfn.sdk.app_opening import Opening, deployed_name, open_app
from cloudfn.sdk.app_run import AppRun, refuse_in_container
from cloudfn.sdk.client import Client, default_client
from cloudfn.sdk.function import Function
from cloudfn.sdk.twins import Steps, iterating, static_twin, twin

if TYPE_CHECKING:
    from cloudfn.sdk.image import Image
    from cloudfn.sdk.secrets import Secret
    from cloudfn.sdk.volumes import Volume

_TAG_MAX = 50


class Deployment(NamedTuple):
    """What came of a deploy."""

    app_id: str
    revision: int
    #: False: nothing differed from the live revision
    changed: bool


class App(AppDeclaration, AppFacts):
    """A group of functions that are run or deployed together.

    Args:
        name: Its name in the environment; needed for `deploy`.
        tags: Marks for your own use.
        image: The Image of functions that name none.
        secrets: What all its functions get, before their own.
        volumes: What all its functions see, by path.
        include_source: Bring the program's sources to the containers.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        tags: dict[str, str] | None = None,
        image: Image | None = None,
        secrets: Sequence[Secret] = (),
        volumes: Mapping[str, Volume] | None = None,
        include_source: bool = True,
    ) -> None:
        if name is not None:
            check_name("App", name)
        super().__init__(image, secrets, volumes, include_source=include_source)
        self._name = name
        self._tags = check_tags(tags or {})
        self._module: str = sys._getframe(1).f_globals.get("__name__", "__main__")  # noqa: SLF001
        self._app_id: str | None = None
        self._client: Client | None = None
        self._environment: str | None = None
        #: `run` is open
        self.is_running = False
        #: what came of the last `deploy`
        self.deployment: Deployment | None = None
        #: what the engine said when the last `run` ended: containers_peak, done, failed
        self.summary: dict[str, Any] = {}
        #: where its web functions are, by their names, while it runs or once it is deployed
        self.urls: dict[str, str] = {}

    # ------------------------------------------------------------------------------ properties

    @property
    def name(self) -> str | None:
        """The name that it was given."""
        return self._name

    @property
    def app_id(self) -> str | None:
        """Its id, `ap-…`, while it runs or once it is deployed; otherwise None."""
        return self._app_id

    @property
    def description(self) -> str:
        """Its name, or else that of its file."""
        if self._name:
            return self._name
        file = getattr(sys.modules.get(self._module), "__file__", None)
        return file.replace("\\", "/").rpartition("/")[2] if file else "app"

    @property
    def module_name(self) -> str:
        """The module that made it."""
        return self._module

    def include(self, other_app: App, inherit_tags: bool = True) -> App:  # noqa: FBT001, FBT002
        """Take in the functions and entry points of another App; return this one."""
        for function in other_app._functions.values():
            self._register(function)
        self._classes |= other_app._classes
        for name, entrypoint in other_app._entrypoints.items():
            self._entrypoints.setdefault(name, entrypoint)
        if inherit_tags:
            self._tags = {**other_app._tags, **self._tags}
        return self

    # --------------------------------------------------------------------------- run and deploy

    @iterating
    def run(
        self,
        *,
        name: str | None = None,
        client: Client | None = None,
        detach: bool = False,
        interactive: bool = False,
        environment_name: str | None = None,
        runtime: str | None = None,
        allow_unmet: bool | None = None,
    ) -> AppRun:
        """Run the App while the `with` block is open: its functions can be called inside.

        Args:
            name: How it is listed.
            client: The engine; this environment's when omitted.
            detach: Calls that are under way at the end of the block go on.
            interactive: `cloudfn.interact()` in containers reads from this terminal.
            environment_name: Another environment than the one that is set.
            runtime: "process" or "docker": what containers are; `CLOUDFN_RUNTIME` when omitted.
            allow_unmet: Go on without what the runtime cannot give an image; `CLOUDFN_IMAGE_UNMET`
                when omitted.
        """
        how = Opening("detached" if detach else "ephemeral", runtime, allow_unmet)
        return AppRun(self, name, client, environment_name, how, interactive=interactive)

    @twin
    def deploy(
        self,
        *,
        name: str | None = None,
        environment_name: str | None = None,
        tag: str = "",
        client: Client | None = None,
        strategy: str = "rolling",
        keep_overrides: bool = False,
        runtime: str | None = None,
        allow_unmet: bool | None = None,
    ) -> Steps[App]:
        """Keep the App running until it is stopped, and replace an earlier one of the name.

        Args:
            name: Its name; the App's own when omitted.
            environment_name: Another environment than the one that is set.
            tag: A mark for the history.
            client: The engine; this environment's when omitted.
            strategy: "rolling": old containers finish what they run. "recreate": they end at once,
                and what they ran is run again.
            keep_overrides: Settings made with `update_autoscaler` stay.
            runtime: "process" or "docker": what containers are; `CLOUDFN_RUNTIME` when omitted.
            allow_unmet: Go on without what the runtime cannot give an image; `CLOUDFN_IMAGE_UNMET`
                when omitted.

        Raises:
            InvalidError: It has no name, or one that is not allowed.
        """
        wanted = deployed_name(name or self._name)
        if strategy not in ("rolling", "recreate"):
            raise errors.InvalidError(
                f"`strategy` must be 'rolling' or 'recreate', not {strategy!r}.",
                hint="'rolling' lets old containers finish what they run, 'recreate' ends them.",
            )
        if tag and len(tag) > _TAG_MAX:
            raise errors.InvalidError(
                f"`tag` is longer than {_TAG_MAX} characters.", hint="Shorten it."
            )
        refuse_in_container("deploy")
        engine = client or default_client(environment_name)
        told = yield from self.open(
            engine,
            wanted,
            Opening("deployed", runtime, allow_unmet, tag, strategy, keep_overrides),
        )
        self.deployment = Deployment(told["app_id"], told["revision"], told["changed"])
        self.bind(told, client, environment_name)
        return self

    @twin
    def replace(
        self,
        app_id: str,
        *,
        client: Client | None = None,
        runtime: str | None = None,
        allow_unmet: bool | None = None,
    ) -> Steps[dict[str, Any]]:
        """Put this text of the App in the place of the one that runs; `cloudfn serve` does it.

        Args:
            app_id: The App that runs, without being deployed.
            client: The engine; this environment's when omitted.
            runtime: "process" or "docker"; `CLOUDFN_RUNTIME` when omitted.
            allow_unmet: Go on without what the runtime cannot give an image; `CLOUDFN_IMAGE_UNMET`
                when omitted.

        Returns:
            `revision`, and whether anything `changed`.

        Raises:
            NotFoundError: It does not run any more.
        """
        engine = client or default_client()
        how = Opening("ephemeral", runtime, allow_unmet, strategy="recreate", app_id=app_id)
        told = yield from self.open(engine, self.description, how)
        return told

    @static_twin
    def lookup(
        name: str,  # noqa: N805 - static
        *,
        client: Client | None = None,
        environment_name: str | None = None,
        create_if_missing: bool = False,
    ) -> Steps[App]:
        """Return a deployed App, by name or id, without its functions' definitions.

        Args:
            name: Its name, or its id.
            client: The engine; this environment's when omitted.
            environment_name: Another environment than the one that is set.
            create_if_missing: Deploy an App without functions where there is none of the name.

        Raises:
            NotFoundError: There is none of that name.
        """
        from cloudfn.sdk import app_lookup

        record = yield from app_lookup.find(name, client, environment_name, create_if_missing)
        known = record["name"], record["app_id"], record["functions"]
        return _restored(*known, environment_name, client)

    @twin
    def stop(self) -> Steps[None]:
        """End the App: what waits or runs is cancelled.

        Raises:
            ExecutionError: It neither runs nor is deployed.
        """
        app_id = self._known_id()
        engine = self._client or default_client(self._environment)
        if self.is_running:
            yield from engine.ask("app_close", app_id=app_id)
            engine.unkeep(app_id)
        else:
            yield from engine.ask("app_stop", name=app_id)
        self.unbind()

    def __repr__(self) -> str:
        return f"<App {self.description}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._name, self._app_id, list(self._functions))

    # --------------------------------------------------------------------------- with the engine

    def open(self, engine: Client, name: str, how: Opening) -> Steps[dict[str, Any]]:
        """Register the App as it stands with the engine; for `run`, `deploy` and `replace`."""
        return open_app(engine, name, how, self._module, self._functions, self._tags)

    def bind(self, told: dict[str, Any], client: Client | None, environment: str | None) -> None:
        """The engine knows the App and its functions from here on."""
        app_id = told["app_id"]
        self._app_id, self._client, self._environment = app_id, client, environment
        self.urls = dict(told.get("urls", {}))
        for name, function_id in told["functions"].items():
            function = self._functions.get(name)
            if function is not None:
                function.bind(function_id, app_id, told["module"], client, environment)

    def unbind(self) -> None:
        """The App runs no more."""
        self._app_id = None
        for function in self._functions.values():
            function.unbind()


def _restored(
    name: str | None,
    app_id: str | None,
    functions: Sequence[str],
    environment: str | None = None,
    client: Client | None = None,
) -> App:
    """Return an App that is known by its id, with handles of its functions."""
    app = App(name)
    app._app_id, app._client, app._environment = app_id, client, environment  # noqa: SLF001
    for each in functions:
        app._functions[each] = Function.of_app(each, app_id, environment, client)  # noqa: SLF001
    return app
