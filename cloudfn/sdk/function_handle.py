"""Which function a Function is: its names and ids, here and at the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from cloudfn.errors import ExecutionError, InvalidError
from cloudfn.sdk.client import Client, current_settings, default_client
from cloudfn.sdk.function_facts import FunctionFacts
from cloudfn.sdk.supplies import Supplies
from cloudfn.sdk.twins import Steps, twin
from cloudfn.sdk.varying import Varying, version_option

if TYPE_CHECKING:
    from cloudfn.model.cls import ClsSpec
    from cloudfn.model.function import FunctionSpec
    from cloudfn.sdk.app import App
    from cloudfn.sdk.target import Target


class FunctionHandle(Varying, FunctionFacts):
    """The part of a Function that says which one it is, and looks it up."""

    def __init__(
        self,
        name: str,
        *,
        raw: Callable[..., Any] | None = None,
        spec: FunctionSpec | None = None,
        app: App | None = None,
        serialized: bool = False,
    ) -> None:
        self.__cloudfn_raw__ = raw
        self.name = name
        self.spec = spec
        self.serialized = serialized
        self._app = app
        self._app_name: str | None = None
        self._app_id: str | None = None
        self._function_id: str | None = None
        #: known by its id alone, until it is looked up
        self._wanted_id: str | None = None
        self._module: str | None = spec.module if spec else None
        self._is_generator: bool | None = spec.is_generator if spec else None
        #: what is known of the class; None for a function, and before it was looked up
        self.cls_spec: ClsSpec | None = spec.cls if spec else None
        self._is_web: bool = bool(spec and spec.web)
        #: ids of variants that the engine was told of, by the ids that they should have
        self.variants: dict[str, str] = {}
        #: what its containers get; stored when its App is opened
        self.supplies = Supplies()
        self._environment: str | None = None
        self._client: Client | None = None
        if raw is not None:
            self.__name__ = raw.__name__
            self.__qualname__ = raw.__qualname__
            self.__module__ = raw.__module__
            self.__doc__ = raw.__doc__

    # ------------------------------------------------------------------------------- identity

    @classmethod
    def from_name(
        cls,
        app_name: str,
        name: str,
        *,
        version: int | None = None,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Self:
        """Return the handle of a deployed function; looked up when it is first used.

        Args:
            app_name: The app's name.
            name: The function's.
            version: The number of a revision to stay with, whichever is live; its containers are
                a pool of their own, which keeps none warm.
            environment_name: Another environment than the one that is set.
            client: The engine; the environment's when omitted.

        Raises:
            InvalidError: The name is that of a class's method, or the version is no number.
        """
        if "." in name:
            raise InvalidError(
                f"{name!r} is a method of a class.",
                hint=f"Use cloudfn.Cls.from_name({app_name!r}, {name.partition('.')[0]!r}).",
            )
        function = cls.named(app_name, name, environment_name=environment_name, client=client)
        return function if version is None else function.varied(version_option(version))

    @classmethod
    def named(
        cls,
        app_name: str,
        name: str,
        *,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Self:
        """Do the same as `from_name` for any name, that of all methods of a class among them."""
        function = cls(name)
        function._app_name = app_name
        function._environment = environment_name
        function._client = client
        return function

    @classmethod
    def from_id(
        cls,
        function_id: str,
        *,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Self:
        """Return the handle of a function by its id; looked up when it is first used."""
        function = cls(function_id)
        function._wanted_id = function_id
        function._environment = environment_name
        function._client = client
        return function

    @classmethod
    def of_app(
        cls, name: str, app_id: str | None, environment: str | None, client: Client | None = None
    ) -> Self:
        """Return the handle of a function of an App that is known by its id; for Apps."""
        function = cls(name)
        function._app_name = function._app_id = app_id
        function._environment, function._client = environment, client
        return function

    @property
    def app(self) -> App | None:
        """The App that the function is defined on."""
        return self._app

    @property
    def object_id(self) -> str:
        """The function's id, once it is known to the engine.

        Raises:
            ExecutionError: It is not.
        """
        if self._function_id is None:
            raise self._unhydrated()
        return self._function_id

    @property
    def known_id(self) -> str | None:
        """The function's id, or None while the engine does not know it."""
        return self._function_id

    @property
    def app_id(self) -> str | None:
        """The id of its App, once it is known."""
        return self._app_id

    @property
    def module(self) -> str | None:
        """The module that its containers import as their own; None if it is unknown."""
        return self._module

    @property
    def is_hydrated(self) -> bool:
        """Whether the engine knows the function, as far as we know."""
        return self._function_id is not None

    @property
    def is_web(self) -> bool:
        """Whether the function answers requests."""
        return self._is_web

    @property
    def is_generator(self) -> bool:
        """Whether the function yields."""
        return bool(self._is_generator)

    @property
    def known_generator(self) -> bool | None:
        """The same, or None while nobody has looked the function up."""
        return self._is_generator

    def get_raw_f(self) -> Callable[..., Any]:
        """Return the user's own function.

        Raises:
            ExecutionError: Only its name is known here.
        """
        if self.__cloudfn_raw__ is None:
            raise ExecutionError(
                f"The definition for this Function is missing here: only its name, {self.name!r}, "
                "is known.",
                hint="Use `.remote(…)`, or import the module that defines it.",
            )
        return self.__cloudfn_raw__

    @twin
    def hydrate(self, client: Client | None = None) -> Steps[Self]:
        """Look the function up now, rather than on first use."""
        yield from self.hydrated(client)
        return self

    def hydrated(self, client: Client | None) -> Steps[None]:
        """Look the function up, with another client where one is given."""
        if client is not None:
            self._client = client
        yield from self.target()

    # -------------------------------------------------------------------------------- the app's

    def bind(
        self,
        function_id: str,
        app_id: str,
        module: str,
        client: Client | None,
        environment: str | None,
    ) -> None:
        """The engine knows the function from here on; `module` is what its containers import."""
        self._module = module
        self._function_id = function_id
        self._app_id = app_id
        self._client = client
        self._environment = environment

    def unbind(self) -> None:
        """Its App runs no more."""
        self._function_id = self._app_id = None
        self.variants.clear()

    # -------------------------------------------------------------------------------- look-up

    def is_reachable(self) -> bool:
        """Whether the engine may know the function."""
        known = self._function_id or self._wanted_id or self._app_name
        return known is not None or current_settings().container is not None

    def _check_known(self) -> None:
        """Raise ExecutionError where the engine cannot know the function."""
        if not self.is_reachable():
            raise self._unhydrated()

    def engine(self) -> Client:
        """Return the engine that the function lives in."""
        return self._client or default_client(self._environment)

    def target(self) -> Steps[Target]:
        """Return what a call is aimed at; looks the function up on first use."""
        from cloudfn.sdk.target import Target, parent, pickle_context

        if self._function_id is None:
            yield from self._look_up()
        assert self._function_id is not None
        return Target(self.engine(), self._function_id, pickle_context(self._module), parent())

    def _look_up(self) -> Steps[None]:
        told = yield from self.engine().ask("function_lookup", **self._address())
        self._function_id = told["function_id"]
        self.name = told["name"]
        self._app_id = told.get("app_id")
        spec = told.get("spec", {})
        self._module = spec.get("module", self._module)
        self._is_generator = bool(spec.get("is_generator"))
        if spec.get("cls"):
            from cloudfn.model.cls import ClsSpec

            self.cls_spec = ClsSpec(**spec["cls"])
        self._is_web = bool(spec.get("web"))

    def _ask_for_parameters(self) -> Steps[list[str] | None]:
        """Return the names of its parameters as they were declared; None if nobody knows."""
        target = yield from self.target()
        told = yield from target.client.ask("function_lookup", function_id=target.function_id)
        spec: dict[str, Any] = told["spec"]
        if target.method is not None:
            spec = spec["cls"]["methods"][target.method]
        return spec.get("parameters")

    def _address(self) -> dict[str, Any]:
        """Return what a lookup asks for; raises ExecutionError where nothing says which it is."""
        if self._wanted_id is not None:
            return {"function_id": self._wanted_id}
        container = current_settings().container
        app = self._app_name or (container.app_id if container else None)
        if app is None:
            raise self._unhydrated()
        return {"app": app, "name": self.name}

    def _unhydrated(self) -> ExecutionError:
        return ExecutionError(
            f"The Function {self.name!r} has not been hydrated with the metadata it needs to run, "
            "because the App it is defined on is not running.",
            hint="Call it inside `with app.run():` or a local entry point, or deploy the app and "
            "use `Function.from_name`.",
        )
