"""Finds apps and functions in the catalog, and what their live revisions declare. Only reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.cls import cls_name, function_name, shown_name
from cloudfn.model.function import FunctionSpec
from cloudfn.model.variant import Variant, base_id, parameters_of, served
from cloudfn.providers.catalog import AppRecord, Catalog, FunctionRecord, effective

_LIST = "See `cloudfn app list`."


class Directory:
    """The apps and functions of an environment, by name and id."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def app(self, name: str) -> AppRecord:
        """Return the live deployed app of that name, or any app by id.

        Raises:
            NotFoundError: There is none.
        """
        record = self._find(name)
        if record is None:
            raise NotFoundError(f"There is no deployed app named '{name}'.", hint=_LIST)
        return record

    def _find(self, name: str) -> AppRecord | None:
        return self._catalog.app(name) if name.startswith("ap-") else self._catalog.deployed(name)

    def function(self, function_id: str) -> FunctionRecord:
        """Return a function by id.

        Raises:
            NotFoundError: There is none.
        """
        record = self._catalog.function(function_id)
        if record is None:
            raise NotFoundError(f"There is no function {function_id}.", hint=_LIST)
        return record

    def live_app(self, function: FunctionRecord) -> AppRecord:
        """Return the app of a function.

        Raises:
            NotFoundError: It is stopped.
        """
        app = self._catalog.app(function.app_id)
        if app is None or app.state == "stopped":
            raise NotFoundError(f"The app of {shown_name(function.name)} is stopped.", hint=_LIST)
        return app

    def declared(self, app: AppRecord, function: FunctionRecord) -> FunctionSpec:
        """Return what the revision that serves a function, or its variant's base, says of it.

        Raises:
            NotFoundError: There is no such revision, or it has no such function.
        """
        number = version_of(function, app)
        revision = self._catalog.revision(app.app_id, number)
        hint = f"See `cloudfn app history {app.name or app.app_id}`."
        if revision is None:
            raise NotFoundError(f"App {app.name} has no version {number}.", hint=hint)
        found = revision.spec.function(function.name)
        if found is None:
            raise NotFoundError(
                f"Version {number} of app {app.name} has no function {shown_name(function.name)}.",
                hint=hint,
            )
        return found

    def served(self, app: AppRecord, function: FunctionRecord) -> FunctionSpec:
        """Return the same with the options of a variant.

        Raises:
            NotFoundError: There is no such revision, or it has no such function.
        """
        return served(self.declared(app, function), function.variant)

    def scalable(self, function_id: str) -> FunctionSpec:
        """Return the same of a function that has containers of its own, by its id.

        Raises:
            InvalidError: It is a class with parameters: only its instances have some.
            NotFoundError: There is no such function, or its app is stopped.
        """
        function = self.function(function_id)
        spec = self.served(self.live_app(function), function)
        if function.variant is None and spec.cls is not None and spec.cls.parameters:
            raise InvalidError(
                f"{shown_name(function.name)} has parameters: its instances scale separately.",
                hint="Update one of them: `Cls.from_name(…)(…).update_autoscaler(…)`.",
            )
        return spec

    def settings(self, app: AppRecord, function: FunctionRecord) -> dict[str, Any]:
        """Return the settings in force, and who changed what when, as plain data.

        Raises:
            InvalidError: The variant does not fit the revision that serves it.
            NotFoundError: There is no such revision.
        """
        override = self._catalog.override(function.function_id)
        return {
            "settings": asdict(effective(self.served(app, function), override)),
            "overrides": dict(override.changes) if override else {},
            "updated": override.updated if override else None,
            "updated_by": override.updated_by if override else None,
        }

    def varied(
        self, function_id: str, parameters: dict[str, Any], options: dict[str, Any]
    ) -> tuple[FunctionRecord, FunctionSpec]:
        """Return a variant of a function, bound or not, and what it has of the live revision.

        Raises:
            InvalidError: A parameter is missing, unknown or of another type, or an option makes no
                sense.
            NotFoundError: There is no such function, or its app is stopped.
        """
        function = self.function(base_id(function_id))
        asked = replace(function, variant=Variant(parameters, options))
        spec = self.declared(self.live_app(function), asked)
        variant = Variant(parameters_of(spec, asked.variant), options)
        varied = variant.id_for(function.function_id)
        return replace(function, function_id=varied, variant=variant), served(spec, variant)

    def variants(self, function_id: str) -> list[FunctionRecord]:
        """Return the variants of a function that were bound."""
        known = self._catalog.variants(self.function(function_id).app_id)
        return [each for each in known if base_id(each.function_id) == function_id]

    def wanted(self, fields: Mapping[str, Any], environment: str) -> dict[str, Any]:
        """Return the function that a request names, by its id or by app and name, as plain data.

        Raises:
            NotFoundError: There is none; the text names the environment, in Modal's words.
        """
        if fields.get("function_id"):
            return self.describe(fields["function_id"])
        app, name = fields["app"], fields["name"]
        try:
            return self.lookup(app, name)
        except NotFoundError as error:
            cls = cls_name(name)
            what = f"Function '{name}'" if cls is None else f"Cls '{cls}'"
            raise NotFoundError(
                f"Lookup failed for {what} from the '{app}' app (in the '{environment}' "
                f"environment): {error.message}",
                hint=error.hint,
            ) from None

    def lookup(self, app: str, name: str) -> dict[str, Any]:
        """Return a function of a deployed app (by name), or of any app by its id, as plain data.

        Raises:
            NotFoundError: There is no such app, or it has no such function; the text is the end of
                a sentence.
        """
        record = self._find(app)
        if record is None or record.state == "stopped":
            raise NotFoundError(
                "there is no deployed app of that name.",
                hint="Deploy it with `cloudfn deploy FILE`, or see `cloudfn app list`.",
            )
        functions = self._catalog.functions(record.app_id)
        found = next((f for f in functions if f.name == name), None)
        if found is None:
            known = ", ".join(sorted(shown_name(f.name) for f in functions)) or "none"
            if any(f.name == function_name(name) for f in functions):
                raise NotFoundError(
                    f"{name!r} is a class.", hint=f"Use cloudfn.Cls.from_name({app!r}, {name!r})."
                )
            raise NotFoundError(
                f"it has no such {'function' if cls_name(name) is None else 'class'}.",
                hint=f"It has: {known}.",
            )
        return self._description(found, record)

    def describe(self, function_id: str) -> dict[str, Any]:
        """Return the same for a function by its id.

        Raises:
            NotFoundError: There is no such function, or its app is stopped.
        """
        function = self.function(function_id)
        return self._description(function, self.live_app(function))

    def _description(self, function: FunctionRecord, app: AppRecord) -> dict[str, Any]:
        return {
            "function_id": function.function_id,
            "name": function.name,
            "app_id": app.app_id,
            "app_name": app.name,
            "revision": version_of(function, app),
            "spec": self.declared(app, function).to_json(),
        }

    def full_name(self, function_id: str, name: str) -> str:
        """Return the name under which a function's call is kept, whatever its app's life.

        Raises:
            InvalidError: Its app has no name.
            NotFoundError: There is no such function.
        """
        base, plus, variant = function_id.partition("+")
        function = self.function(base)
        app = self._catalog.app(function.app_id)
        if app is None or not app.name:
            raise InvalidError(
                f"A map of {function.name} cannot be resumed: its app has no name.",
                hint='Name it: cloudfn.App("name").',
            )
        return f"{app.name}/{function.name}{plus}{variant}/{name}"

    def app_name(self, function_id: str) -> str:
        """Return the name of a function's app; empty where it has none, or is gone."""
        function = self._catalog.function(function_id)
        app = self._catalog.app(function.app_id) if function else None
        return app.name if app else ""

    def is_detached(self, function_id: str) -> bool:
        """Whether a function's app goes on without its client."""
        function = self._catalog.function(function_id)
        app = self._catalog.app(function.app_id) if function else None
        return app is not None and app.state == "detached"


def version_of(function: FunctionRecord, app: AppRecord) -> int:
    """Return the number of the revision that new calls of a function run on."""
    pinned = function.variant.version if function.variant else None
    return app.revision if pinned is None else pinned
