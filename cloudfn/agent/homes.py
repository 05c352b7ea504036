"""Where templates and their containers live, as far as the agent has to do with that."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from cloudfn.agent.zygotes import Program, Template


class Payloads(Protocol):
    """The payloads in files that a container sees, where it does not see all of them."""

    def show(self, payload: bytes) -> None:
        """Let it read a payload that lies in a blob."""
        ...

    def hide(self, payload: bytes) -> None:
        """It needs it no more."""
        ...

    def owns(self, payload: bytes) -> bool:
        """Whether it wrote this one itself."""
        ...


class Home(Protocol):
    """Where the processes of a template live: this machine's own, or a Docker container's."""

    @property
    def payloads(self) -> Payloads | None:
        """What its containers see of payloads in files; None: everything."""
        ...

    @property
    def limits_memory(self) -> bool:
        """Whether memory limits are enforced there, and need no guard here."""
        ...

    @property
    def patience(self) -> float:
        """Seconds between the end of a template's channel and the word of how it ended."""
        ...

    def order(self, program: Program) -> dict[str, Any]:
        """Return where a program is to be found there."""
        ...

    def pid_of(self, told: int) -> int:
        """Return the process id, as it is here, of what there is called so; -1: nobody knows."""
        ...

    def signal(self, template: Template, container_id: str, pid: int, number: int) -> None:
        """Send a signal to a container's process, if it lives."""
        ...

    def kill(self, template: Template, container_id: str, pid: int) -> None:
        """End a container's process and its process group at once."""
        ...

    def kill_template(self, pid: int) -> None:
        """End a template at once."""
        ...

    def over_memory(self) -> str | None:
        """Return the memory limit, as text, if something there was ended for it."""
        ...

    def close(self) -> None:
        """The template is gone, or was told to go. Idempotent."""
        ...


class Here:
    """The home of templates that are processes of this machine."""

    payloads = None
    limits_memory = False
    patience = 1.0

    def order(self, program: Program) -> dict[str, Any]:
        """See `Home.order`."""
        return {
            "bundle": program.bundle,
            "cwd": program.workdir or program.bundle,
            "import_paths": list(program.runtime.import_paths),
            "local_files": [list(each) for each in program.attached],
        }

    def pid_of(self, told: int) -> int:
        """See `Home.pid_of`."""
        return told

    def signal(self, template: Template, container_id: str, pid: int, number: int) -> None:  # noqa: ARG002
        """See `Home.signal`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def kill(self, template: Template, container_id: str, pid: int) -> None:
        """See `Home.kill`."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self.signal(template, container_id, pid, signal.SIGKILL)

    def kill_template(self, pid: int) -> None:
        """See `Home.kill_template`."""
        if pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def over_memory(self) -> str | None:
        """See `Home.over_memory`; here `memory.MemoryGuard` knows."""
        return None

    def close(self) -> None:
        """See `Home.close`; this home is everybody's."""
