"""Doors: which label in a URL leads to which function. Pure but for its own table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cloudfn.control.deploy.plan import AddRevision, CreateApp, Plan
from cloudfn.errors import AlreadyExistsError
from cloudfn.model.cls import ParameterSpec
from cloudfn.model.function import FunctionSpec
from cloudfn.model.web import WebSpec, label_of
from cloudfn.providers.catalog import AppRecord, RevisionSpec


@dataclass(frozen=True, slots=True)
class Door:
    """One web function or web method, as URLs name it."""

    label: str
    app_id: str
    app_name: str
    function_id: str
    #: the function's name, or Class.method
    name: str
    web: WebSpec
    #: of a class: what stands in the query
    parameters: Mapping[str, ParameterSpec]


def labels(app: str, revision: RevisionSpec, *, deployed: bool) -> dict[str, str]:
    """Return the labels of an app's web functions, with the name that each is for.

    Raises:
        AlreadyExistsError: Two of them have the same.
    """
    found: dict[str, str] = {}
    for spec in revision.functions:
        for web in spec.web:
            label, name = label_of(web, app, spec.name, deployed=deployed), _name(spec, web)
            if label in found:
                raise AlreadyExistsError(
                    f"{found[label]} and {name} have the same web label {label!r}.",
                    hint="Give one of them another one with `label=`.",
                )
            found[label] = name
    return found


class Doors:
    """The doors of all live apps. Single-threaded.

    Args:
        opened: Called when a door appears.
    """

    def __init__(self, opened: Callable[[], object]) -> None:
        self._opened = opened
        self._doors: dict[str, Door] = {}

    def check(self, plan: Plan, current: AppRecord | None) -> None:
        """Refuse a plan, before it is carried out, whose labels are those of another app.

        Args:
            plan: What is going to be done.
            current: The app that it is about; None for a new one.

        Raises:
            AlreadyExistsError: A label is taken.
        """
        for step in plan.steps:
            if isinstance(step, CreateApp):
                self._check(labels(step.name, step.spec, deployed=step.state == "deployed"), None)
            elif isinstance(step, AddRevision) and current is not None:
                wanted = labels(current.name, step.spec, deployed=current.state == "deployed")
                self._check(wanted, current.app_id)

    def holders(self, app: str, revision: RevisionSpec, *, deployed: bool) -> set[str]:
        """Return the apps that have labels which a revision wants."""
        wanted = labels(app, revision, deployed=deployed)
        return {self._doors[label].app_id for label in wanted if label in self._doors}

    def _check(self, wanted: Iterable[str], app_id: str | None) -> None:
        for label in wanted:
            door = self._doors.get(label)
            if door is not None and door.app_id != app_id:
                raise AlreadyExistsError(
                    f"The web label {label!r} belongs to {door.name} of the app "
                    f"{door.app_name!r} ({door.app_id}).",
                    hint=f"Give the function another `label=`, or stop that app with "
                    f"`cloudfn app stop {door.app_id}`.",
                )

    def install(self, app: AppRecord, functions: Iterable[tuple[str, FunctionSpec]]) -> None:
        """Make the doors of an app these, of (function id, spec); labels were checked before."""
        self.remove(app.app_id)
        deployed = app.state == "deployed"
        for function_id, spec in functions:
            for web in spec.web:
                label = label_of(web, app.name, spec.name, deployed=deployed)
                parameters = spec.cls.parameters if spec.cls else {}
                name = _name(spec, web)
                door = Door(label, app.app_id, app.name, function_id, name, web, parameters)
                self._doors.setdefault(label, door)
                self._opened()

    def remove(self, app_id: str) -> None:
        """Forget the doors of an app."""
        self._doors = {n: door for n, door in self._doors.items() if door.app_id != app_id}

    def find(self, label: str) -> Door | None:
        """Return the door of a label."""
        return self._doors.get(label)

    def of_app(self, app_id: str) -> list[Door]:
        """Return the doors of an app."""
        return [door for door in self._doors.values() if door.app_id == app_id]

    def of_function(self, function_id: str) -> list[Door]:
        """Return the doors of a function or class."""
        return [door for door in self._doors.values() if door.function_id == function_id]


def _name(spec: FunctionSpec, web: WebSpec) -> str:
    return f"{spec.name.removesuffix('.*')}.{web.of}" if web.of else spec.name
