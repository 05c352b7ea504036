"""What can be killed in a rehearsal, and which processes that are."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from cloudfn.worker.process import children_of

#: what the planner is called among machines
PLANNER = "planner"
#: how the kernel shortens `containerd-shim-runc-v2`, the parent of each container
_SHIM = "containerd-shim"


class Part(StrEnum):
    """What of a machine is killed."""

    MACHINE = "machine"
    AGENT = "agent"
    CONTAINERS = "containers"


def agents(init: int, module: str) -> list[int]:
    """Return the agent of a machine: none while it starts again.

    Args:
        init: The machine's first process.
        module: What machines run, as `python -m` names it.
    """
    wanted = ["-m", module]
    return [pid for pid in children_of(init) if _command(pid)[1:3] == wanted]


def containers(init: int) -> list[int]:
    """Return the first processes of all containers of a machine, which `docker kill` kills."""
    shims = [pid for pid in _descendants(init) if _name(pid) == _SHIM]
    return [child for shim in shims for child in children_of(shim)]


def invocations(emulator: int, function: str) -> list[int]:
    """Return the processes in which an emulator of Lambda runs a function."""
    folder = f"/ministack-lambda-{function}-"
    return [pid for pid in children_of(emulator) if any(folder in word for word in _command(pid))]


def kill(pids: Sequence[int]) -> int:
    """Kill -9; return how many of them were still there."""
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def _descendants(pid: int) -> Iterator[int]:
    for child in children_of(pid):
        yield child
        yield from _descendants(child)


def _name(pid: int) -> str:
    return _read(pid, "comm").strip()


def _command(pid: int) -> list[str]:
    return _read(pid, "cmdline").split("\0")


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
