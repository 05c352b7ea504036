"""Lets user code in a container read from the terminal of an interactive run.

Client and containers are on one machine and belong to one user, so a container opens the terminal
itself. It is not the container's controlling terminal: Ctrl-C stays the client's.
"""

from __future__ import annotations

import sys

from cloudfn.errors import InvalidError
from cloudfn.sdk.client import current_settings, default_client
from cloudfn.sdk.twins import run


def interact() -> None:
    """From here on, `input()` and `breakpoint()` in this container read from the user's terminal.

    What the container prints goes the same way as ever.

    Raises:
        InvalidError: This is no container, or its app does not run interactively.
    """
    import os

    container = current_settings().container
    if container is None:
        raise InvalidError(
            "`interact` can only be called inside a container.",
            hint="Here, `input()` and `breakpoint()` have the terminal already.",
        )
    told = run(default_client().ask("app_terminal", app_id=container.app_id))
    if told["terminal"] is None:
        raise InvalidError(
            "The app does not run interactively.", hint="Start it with `cloudfn run -i FILE`."
        )
    descriptor = os.open(told["terminal"], os.O_RDWR | os.O_NOCTTY)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115


def own_terminal() -> str:
    """Return the path of the terminal that this process reads from.

    Raises:
        InvalidError: It reads from something else.
    """
    import os

    try:
        return os.ttyname(0)
    except OSError:
        raise InvalidError(
            "An interactive run needs a terminal, and stdin is none.",
            hint="Leave `interactive`, or -i, away where nobody can answer.",
        ) from None
