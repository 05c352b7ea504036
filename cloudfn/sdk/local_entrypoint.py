"""The local entry point: what `cloudfn run` runs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudfn.sdk.app import App


class LocalEntrypoint:
    """A function that runs here, with the App's functions ready; calling it just calls it."""

    def __init__(self, raw: Callable[..., Any], name: str, app: App) -> None:
        self.__cloudfn_raw__ = raw
        self.name = name
        self.app = app
        self.__name__ = raw.__name__
        self.__doc__ = raw.__doc__
        self.__module__ = raw.__module__

    def get_raw_f(self) -> Callable[..., Any]:
        """Return the user's own function."""
        return self.__cloudfn_raw__

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the user's own function."""
        return self.__cloudfn_raw__(*args, **kwargs)
