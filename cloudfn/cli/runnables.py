"""What a loaded program offers to run and to deploy, and which of it is meant. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudfn import errors
from cloudfn.sdk.app import App
from cloudfn.sdk.cls_run import MethodTarget, methods_of
from cloudfn.sdk.entrypoint import Candidate, Kind, choose
from cloudfn.sdk.function import Function
from cloudfn.sdk.local_entrypoint import LocalEntrypoint

if TYPE_CHECKING:
    from types import ModuleType

_FIRST_CHOICE = "app"
_KINDS: dict[type, Kind] = {
    Function: "function",
    LocalEntrypoint: "entrypoint",
    MethodTarget: "method",
}


@dataclass(frozen=True, slots=True)
class Runnable:
    """Something to run, and the App that has to run meanwhile."""

    app: App
    name: str
    target: Function | LocalEntrypoint | MethodTarget


def find_runnable(module: ModuleType, wanted: str | None) -> Runnable:
    """Return what `wanted` names in a program: `f`, `app.f`, or None for the obvious one.

    Raises:
        InvalidError: The program has no App.
        UsageError: Nothing has the name, or several things could be meant.
    """
    apps = apps_of(module)
    if not apps:
        raise _no_app(module)
    variable, dot, name = (wanted or "").partition(".")
    if dot and variable in apps:
        apps, wanted = {variable: apps[variable]}, name
    candidates = list(_candidates(apps, module.__name__))
    chosen = choose(candidates, wanted)
    assert isinstance(chosen.target, Runnable)
    return chosen.target


def find_app(module: ModuleType, wanted: str | None) -> App:
    """Return the App that a program means: the one named, or `app`, or the only one.

    Raises:
        InvalidError: There is no such App, or it is not clear which is meant.
    """
    apps = apps_of(module)
    if not apps:
        raise _no_app(module)
    if wanted is not None:
        if wanted not in apps:
            raise errors.InvalidError(
                f"{module.__name__} has no App {wanted!r}.", hint=f"It has: {', '.join(apps)}."
            )
        return apps[wanted]
    if len(apps) == 1:
        return next(iter(apps.values()))
    if _FIRST_CHOICE in apps:
        return apps[_FIRST_CHOICE]
    raise errors.InvalidError(
        f"{module.__name__} has several Apps: {', '.join(apps)}.",
        hint=f"Name one, as in file.py::{next(iter(apps))}.",
    )


def apps_of(module: ModuleType) -> dict[str, App]:
    """Return the Apps of a module by the variable that holds them, each once."""
    found: dict[str, App] = {}
    for variable, value in vars(module).items():
        if isinstance(value, App) and value not in found.values():
            found[variable] = value
    return found


def _candidates(apps: dict[str, App], module_name: str) -> Iterator[Candidate]:
    offers = [(variable, runnable) for variable, app in apps.items() for runnable in _offers(app)]
    counted = Counter(runnable.name for _, runnable in offers)
    for variable, runnable in offers:
        name = runnable.name
        yield Candidate(
            name=name if counted[name] == 1 else f"{variable}.{name}",
            kind=_KINDS[type(runnable.target)],
            in_module=runnable.target.__module__ == module_name,
            target=runnable,
        )


def _offers(app: App) -> Iterator[Runnable]:
    for name, entrypoint in app.registered_entrypoints.items():
        yield Runnable(app, name, entrypoint)
    for name, function in app.registered_functions.items():
        yield Runnable(app, name, function)
    for name, cls in app.registered_classes.items():
        for method in methods_of(cls):
            yield Runnable(app, f"{name}.{method}", MethodTarget(cls, method))


def _no_app(module: ModuleType) -> errors.InvalidError:
    return errors.InvalidError(
        f"{module.__name__} has no App.",
        hint='Make one at the top of the file: app = cloudfn.App("some-name").',
    )
