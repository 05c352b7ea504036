"""Finds providers by name, among the entry points of what is installed."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

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
    opener = found[name].load()
    return cast(Cloud, opener(place))


def open_account(settings: Settings) -> Account | None:
    """Return what there is to be asked about at a provider; None: it has no accounts."""
    found = {each.name: each for each in entry_points(group=ACCOUNTS)}
    if settings.provider not in found:
        return None
    return cast(Account, found[settings.provider].load()(settings))
