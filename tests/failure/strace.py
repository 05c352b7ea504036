"""Runs a daemon under strace, which kills it, or fails its system call, at the N-th of a kind."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cloudfn.sdk.session import connect
from cloudfn.sdk.starter import prepare_state_dir
from tests.failure.daemon_fixtures import World, ended, wait_for


@dataclass(frozen=True)
class Point:
    """The N-th system call of a kind that one thread of the daemon makes."""

    syscall: str
    number: int

    def __str__(self) -> str:
        return f"{self.syscall}:{self.number}"


def start_traced(strace: str, world: World, inject: str) -> subprocess.Popen[str]:
    """Start the daemon under strace and return when it serves, or has died already.

    What the daemon starts is not traced: strace lets go of a process when it executes another
    program (`-b execve`). The process returned is the daemon, its tracer a grandchild (`-D`).
    """
    settings = world.settings
    prepare_state_dir(settings)
    syscall = inject.partition(":")[0]
    command = [
        strace, "-D", "-I", "2", "-f", "-b", "execve", "-qq", "-o", "/dev/null",
        "-e", f"trace={syscall}", "-e", "signal=none", "-e", f"inject={inject}",
        sys.executable, "-P", "-m", "cloudfn.daemon", "--env", settings.environment,
    ]  # fmt: skip
    log = (world.state / "daemon.log").open("a")
    with log:
        tracer = subprocess.Popen(
            command, env=world.daemon_environ(), cwd=world.state, text=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    world.adopt(tracer)
    wait_for("the traced daemon serves", lambda: tracer.poll() is not None or _listens(world))
    return tracer


def start_with_kill(strace: str, world: World, point: Point) -> subprocess.Popen[str]:
    """Start a daemon that is killed at a point."""
    return start_traced(strace, world, f"{point.syscall}:signal=SIGKILL:when={point.number}")


def let_go(traced: subprocess.Popen[str]) -> None:
    """End the tracing: from here on the daemon is spared."""
    lines = Path(f"/proc/{traced.pid}/status").read_text().splitlines()
    (tracer,) = [int(line.split()[1]) for line in lines if line.startswith("TracerPid:")]
    os.kill(tracer, signal.SIGTERM)
    assert ended(tracer)


def _listens(world: World) -> bool:
    try:
        connect(world.state / "daemon.sock").close()
    except OSError:
        return False
    return True
