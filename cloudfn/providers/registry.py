"""Finds providers by name, among the entry points of what is installed."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from cloudfn.errors import InvalidError
from cloudfn.providers.account import Account
from cloudfn.providers.base import Cloud, Place
from cloudfn.settings import Settings

#: entry points that give a function `Settings -> Account`
ACCOUNTS = "cloudfn.accounts"
#: entry points that give a function `Place -> Cloud`
GROUP = "cloudfn.clouds"


def open_cloud(name: str, place: Place) -> Cloud:
    """Open the cloud of a provider; nothing is asked of the network before it is used.

    Raises:
        InvalidError: There is no such provider, or it lacks something that it needs.
    """
    found = {each.name: each for each in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(["local", *found]))
        raise InvalidError(f"There is no provider {name!r}.", hint=f"Say one of: {known}.")
    return cast(Cloud, _loaded(found[name])(place))


def open_account(settings: Settings) -> Account | None:
    """Return what there is to be asked about at a provider; None: it has no accounts.

    Raises:
        InvalidError: The provider lacks something that it needs.
    """
    found = {each.name: each for each in entry_points(group=ACCOUNTS)}
    if settings.provider not in found:
        return None
    return cast(Account, _loaded(found[settings.provider])(settings))


def not_installed(error: ModuleNotFoundError, provider: str) -> InvalidError:
    """Return what to say where a library is missing that a provider is made with."""
    return InvalidError(
        f"{error.name} is not installed, which the provider {provider!r} needs.",
        hint=f"pip install 'cloudfn[{provider}]'",
    )


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        raise not_installed(error, entry.name) from error
