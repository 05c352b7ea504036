"""The port of the catalog: apps, revisions, functions and overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cloudfn.errors import (
    AlreadyExistsError,
    ConflictError,
    DataLossError,
    Error,
    ExecutionError,
    InvalidError,
    NotFoundError,
)
from cloudfn.model.cls import shown_name
from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.model.image import ImageSpec
from cloudfn.model.runtime import environment_of
from cloudfn.model.variant import Variant

_LIVE_STATES = frozenset(("ephemeral", "detached", "deployed"))


@dataclass(frozen=True, slots=True)
class RevisionSpec:
    """One immutable version of an App, as its client declared it."""

    #: digest of the source bundle
    bundle: str
    #: name under which the user's module is imported
    module: str
    functions: tuple[FunctionSpec, ...]
    #: path of the Python that runs it, and further directories that it imports from
    interpreter: str
    import_paths: tuple[str, ...] = ()
    #: `3.11.7`, for messages
    python_version: str = ""
    #: free-form facts for the history: commit, user, cloudfn version, tag
    labels: tuple[tuple[str, str], ...] = ()
    #: what its containers are: processes on the machine, or Docker containers
    runtime: str = "process"

    def function(self, name: str) -> FunctionSpec | None:
        """Return the function of that name, if it has one."""
        return next((each for each in self.functions if each.name == name), None)

    def environment(self, name: str) -> ImageSpec | None:
        """Return the image that the containers of a function are made of; None for none."""
        spec = self.function(name)
        if spec is None:
            return None
        return environment_of(spec.image, self.runtime, self.python_version, spec.platform)

    def environments(self) -> Iterator[tuple[str, ImageSpec]]:
        """Yield the names of its functions whose containers need an image, with that image."""
        for function in self.functions:
            spec = self.environment(function.name)
            if spec is not None:
                yield function.name, spec

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return {
            "bundle": self.bundle,
            "module": self.module,
            "functions": [spec.to_json() for spec in self.functions],
            "interpreter": self.interpreter,
            "import_paths": list(self.import_paths),
            "python_version": self.python_version,
            "runtime": self.runtime,
            "labels": dict(self.labels),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RevisionSpec:
        """Return the spec that `to_json` wrote."""
        return cls(
            bundle=data["bundle"],
            module=data["module"],
            functions=tuple(FunctionSpec.from_json(spec) for spec in data["functions"]),
            interpreter=data["interpreter"],
            import_paths=tuple(data.get("import_paths", ())),
            python_version=data.get("python_version", ""),
            runtime=data.get("runtime", "process"),
            labels=tuple(sorted(data.get("labels", {}).items())),
        )


@dataclass(frozen=True, slots=True)
class AppRecord:
    """One App of an environment."""

    app_id: str
    name: str
    #: ephemeral | detached | deployed | stopped
    state: str
    #: number of the live revision; counts from 1
    revision: int
    created: float
    stopped: float | None = None
    #: the user's own marks
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """One revision in an App's history."""

    app_id: str
    number: int
    spec: RevisionSpec
    created: float
    #: the number that it rolled back to; None for a deploy
    rollback_of: int | None = None


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """One Function of an App, or a variant of one: an identity that stays over revisions."""

    function_id: str
    app_id: str
    #: that of the function, for its variants as well
    name: str
    variant: Variant | None = None

    @property
    def shown(self) -> str:
        """Its name for people."""
        return shown_name(self.name) if self.variant is None else self.variant.shown(self.name)


@dataclass(frozen=True, slots=True)
class Override:
    """A dynamic change of a function's autoscaler settings; lives until the next real deploy."""

    changes: tuple[tuple[str, int | None], ...]
    #: grows with each update; compare-and-set
    version: int
    updated: float
    updated_by: str


class Catalog(Protocol):
    """The durable truth about apps, revisions, functions and overrides (small and rarely written).

    Every write is durable when the method returns.
    """

    def create_app(self, name: str, state: str, spec: RevisionSpec, now: float) -> AppRecord:
        """Register an app with its first revision.

        Raises:
            AlreadyExistsError: A deployed app of that name lives.
        """
        ...

    def add_revision(
        self,
        app_id: str,
        spec: RevisionSpec,
        now: float,
        *,
        rollback_of: int | None = None,
        number: int | None = None,
    ) -> RevisionRecord:
        """Append a revision and make it live.

        Args:
            app_id: The app.
            spec: What it consists of.
            now: Seconds since the epoch.
            rollback_of: The number of the revision that it repeats.
            number: Which one it is to be; None: whichever is next.

        Raises:
            NotFoundError: There is no such app.
            ExecutionError: It is stopped.
            ConflictError: The next revision has another number: somebody else was faster.
        """
        ...

    def stop_app(self, app_id: str, now: float) -> None:
        """Mark the app stopped. Idempotent."""
        ...

    def set_state(self, app_id: str, state: str) -> None:
        """Change the state of a live app, e.g. ephemeral → detached."""
        ...

    def set_tags(self, app_id: str, tags: Mapping[str, str]) -> None:
        """Replace the tags of a live app."""
        ...

    def forget_app(self, app_id: str) -> None:
        """Delete a stopped ephemeral app with everything of it. Idempotent."""
        ...

    def app(self, app_id: str) -> AppRecord | None:
        """Return an app by id."""
        ...

    def deployed(self, name: str) -> AppRecord | None:
        """Return the live deployed app of that name."""
        ...

    def apps(self, *, stopped: bool = False) -> list[AppRecord]:
        """Return live apps, with `stopped` those too, the newest first."""
        ...

    def revisions(self, app_id: str) -> list[RevisionRecord]:
        """Return an app's revisions, oldest first."""
        ...

    def revision(self, app_id: str, number: int) -> RevisionRecord | None:
        """Return one revision."""
        ...

    def functions(self, app_id: str) -> list[FunctionRecord]:
        """Return the functions of the app's live revision."""
        ...

    def function(self, function_id: str) -> FunctionRecord | None:
        """Return a function by id."""
        ...

    def bind(self, function_id: str, variant: Variant) -> FunctionRecord:
        """Register a variant of a function. Idempotent.

        Raises:
            NotFoundError: There is no such function.
        """
        ...

    def variants(self, app_id: str) -> list[FunctionRecord]:
        """Return the variants of the functions of the app's live revision."""
        ...

    def everything(self, app_id: str) -> list[FunctionRecord]:
        """Return the functions of all revisions of an app, and their variants, in no order."""
        ...

    def override(self, function_id: str) -> Override | None:
        """Return the override in force."""
        ...

    def overrides(self, functions: Mapping[str, str]) -> dict[str, Override]:
        """Return the settings of those functions or variants that have some of their own.

        Args:
            functions: Ids, each with that of its app.
        """
        ...

    def set_override(
        self,
        function_id: str,
        changes: dict[str, int | None],
        *,
        expected: int,
        now: float,
        by: str,
    ) -> Override:
        """Replace the override if its version is `expected` (0: none yet); raises ConflictError."""
        ...

    def clear_overrides(self, app_id: str) -> None:
        """Drop all overrides of an app's functions."""
        ...

    def close(self) -> None:
        """Give the store back. Idempotent."""
        ...


def effective(spec: FunctionSpec, override: Override | None) -> AutoscalerSettings:
    """Return the settings in force: the decorator's with the override on top."""
    if override is None:
        return spec.autoscaler
    return spec.autoscaler.merged(dict(override.changes))


# What all adapters say


def check_state(state: str) -> None:
    """Raise InvalidError where a state is none of a live app."""
    if state not in _LIVE_STATES:
        raise InvalidError(
            f"{state!r} is no state of a live app ({', '.join(sorted(_LIVE_STATES))})."
        )


def already_deployed(name: str) -> Error:
    """Return the error for a second deployed app of one name."""
    return AlreadyExistsError(
        f"An app named {name!r} is deployed already.",
        hint="Add a revision to it, or stop it first.",
    )


def next_number(app: AppRecord, wanted: int | None) -> int:
    """Return the number of an app's next revision; raises ConflictError unless it is as wanted."""
    number = app.revision + 1
    if wanted not in (None, number):
        raise overtaken(app.name)
    return number


def overtaken(name: str) -> ConflictError:
    """Return the error for a deploy that another one was faster than."""
    return ConflictError(
        f"Someone else deployed the app {name!r} at the same time.", hint="Deploy again."
    )


def no_app(app_id: str) -> Error:
    """Return the error for an app that is not in the catalog."""
    return NotFoundError(f"There is no app {app_id}.")


def no_function(function_id: str) -> Error:
    """Return the error for a function that is not in the catalog."""
    return NotFoundError(f"There is no function {function_id}.")


def app_is_stopped(name: str) -> Error:
    """Return the error for a change of an app that is stopped for ever."""
    return ExecutionError(f"The app {name!r} is stopped.", hint="Deploy it again, as a new app.")


def unforgettable(name: str) -> Error:
    """Return the error for forgetting an app that runs or whose history is kept."""
    return ExecutionError(
        f"The app {name!r} cannot be forgotten: it is live, or it was deployed.",
        hint="Only stopped ephemeral apps are forgotten.",
    )


def settings_changed(function_id: str) -> Error:
    """Return the error for an update that is based on settings of the past."""
    return ConflictError(
        f"The settings of function {function_id} were changed by someone else at the same time.",
        hint="Read them again, then decide.",
    )


def unreadable(number: int, app_id: str, where: str) -> Error:
    """Return the error for a revision whose record makes no sense."""
    return DataLossError(
        f"Version {number} of app {app_id} in {where} cannot be read.",
        hint="Deploy the app again.",
    )
