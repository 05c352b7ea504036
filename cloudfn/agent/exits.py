"""What the end of a container means for the input that ran in it. Pure."""

from __future__ import annotations

import os
import signal

from cloudfn.model.call import ContainerLost, Crashed
from cloudfn.wire.messages import CHANNEL_LOST

#: signals by which the kernel ends a process for what its own code did
_OWN_FAULT = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
        signal.SIGXFSZ,
        signal.SIGPIPE,
    }
)


def explain_exit(status: int | None, *, over_memory: str | None = None) -> Crashed | ContainerLost:
    """Say whether user code or the outside ended a container that owed an outcome.

    Args:
        status: Wait status; None when nobody saw the end.
        over_memory: The memory limit that it exceeded, as text, if it did.
    """
    if over_memory is not None:
        return Crashed(f"it exceeded its memory limit of {over_memory}")
    if status is None:
        return ContainerLost("its container disappeared")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = _signal_name(number)
        if number in _OWN_FAULT:
            return Crashed(f"the container was ended by {name}")
        return ContainerLost(f"its container was killed from outside by {name}")
    code = os.WEXITSTATUS(status)
    if code == CHANNEL_LOST:
        return Crashed(f"user code closed the container's descriptors (exit code {code})")
    return Crashed(f"the container exited with code {code} without a result")


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
