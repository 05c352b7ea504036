"""Finds providers by name, among the entry points of what is installed."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from cloudfn.errors import InvalidError
from cloudfn.providers.base import Cloud, Place

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
