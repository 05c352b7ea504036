"""What a call is aimed at, and who we are when we call from inside a container."""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

from cloudfn.sdk.client import Client, current_settings
from cloudfn.wire.codec import PickleContext
from cloudfn.wire.current import current


class Target(NamedTuple):
    """A Function that is known to the engine."""

    client: Client
    function_id: str
    #: how objects of the user's own file travel there
    context: PickleContext
    #: inside a container: the number of the input that calls
    parent: int | None
    #: of a class: the method that is called
    method: str | None = None


def parent() -> int | None:
    """Return the number of the input that runs in this process, if it is a container."""
    return current.seq or None


def pickle_context(module: str | None) -> PickleContext:
    """Return how objects of the user's file travel to a program.

    Args:
        module: The module that the receiver imports as its own; None if it is unknown.
    """
    return _context(module, os.getpid())


@cache
def _context(module: str | None, _pid: int) -> PickleContext:
    ours = _main_module()
    return PickleContext(ours, by_value=module is not None and ours is not None and module != ours)


def _main_module() -> str | None:
    if current_settings().container is not None:
        import sys

        # The worker has made `__main__` another name of the user's module.
        return getattr(sys.modules.get("__main__"), "__name__", None)
    from cloudfn.sdk.program import main_module_name

    return main_module_name()
