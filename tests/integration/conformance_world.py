"""An environment of its own for conformance tests: its daemon, this process and others as clients.

Others are real processes: `python program.py`, `cloudfn …`. Every wait has a deadline, and at the
end nothing may be left of the environment.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cloudfn import errors
from cloudfn.clock import SystemClock
from cloudfn.providers.local.blobs import memory_root
from cloudfn.sdk.client import using
from cloudfn.sdk.connection import Connection
from cloudfn.settings import load
from cloudfn.worker.process import MARKER, variable_of

#: seconds after which a wait is a failure; generous, since the machine may be busy
PATIENCE = 30.0
CLOCK = SystemClock()
T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Return the first true value that `look` returns; fail with `what` after the deadline."""
    deadline = CLOCK.monotonic() + seconds
    while not (value := look()):
        assert CLOCK.monotonic() < deadline, f"within {seconds} seconds not: {what}"
        CLOCK.sleep(0.005)
    return value


class World:
    """One environment, with whatever talks to it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        #: where programs are written and processes run
        self.folder = home / "work"
        self.folder.mkdir()
        self.variables = {
            "CLOUDFN_HOME": str(home / "state"),
            "CLOUDFN_GPUS": "none",
            "CLOUDFN_DAEMON_IDLE_EXIT": "120",
            # seconds after which a client that vanished is taken for gone
            "CLOUDFN_CLIENT_GRACE": "3",
            "HOME": str(home),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }
        self.settings = load(self.variables)
        self.client = Connection(self.settings)
        self._children: list[subprocess.Popen[str]] = []
        self._numbers = count(1)

    # Other processes

    def write(self, source: str, name: str | None = None) -> Path:
        """Write a program; without a name it gets one that no other has."""
        path = self.folder / (name or f"program{next(self._numbers)}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    def start(self, *command: object, **how: Any) -> subprocess.Popen[str]:
        """Start a process in the world's folder; it is killed at the end at the latest."""
        extra = how.pop("variables", {})
        child = subprocess.Popen(
            [str(word) for word in command], cwd=how.pop("cwd", self.folder), text=True,
            env={**self.variables, **extra}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=how.pop("stdin", subprocess.DEVNULL), **how,
        )  # fmt: skip
        self._children.append(child)
        return child

    def run(
        self, *command: object, code: int | None = 0, text: str | None = None, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a process to its end, which has to be `code`."""
        stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
        child = self.start(*command, stdin=stdin, **how)
        out, err = child.communicate(text, timeout=PATIENCE)
        assert code is None or child.returncode == code, f"{child.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def python(self, *words: object, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run `python …`."""
        return self.run(sys.executable, *words, **how)

    def cli(self, *words: object, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run `cloudfn …`."""
        return self.run(sys.executable, "-m", "cloudfn", *words, **how)

    # The daemon

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Return the daemon's answer."""
        return self.client.request(op, **fields)

    def containers(self, function: str | None = None) -> list[dict[str, Any]]:
        """Return the containers as the daemon lists them."""
        listed: list[dict[str, Any]] = self.ask("container_list")["containers"]
        return [each for each in listed if function in (None, each["function_name"])]

    def processes(self) -> list[int]:
        """Return the living processes that carry the marker of one of the world's daemons."""
        markers = {
            blake2b(os.fsencode(state), digest_size=8).hexdigest()
            for state in self.settings.root.glob("*")
        }
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return [pid for pid in pids if variable_of(pid, MARKER) in markers]

    def close(self) -> None:
        """Stop what runs, and see that nothing is left."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.communicate(timeout=PATIENCE)
        self.client.close()
        states = [state for state in self.settings.root.glob("*") if state.is_dir()]
        for state in states:
            self._stop(state)
        wait_for("no process of a daemon's", lambda: not self.processes())
        for state in states:
            assert not (state / "daemon.sock").exists()
            assert not memory_root(state).exists()

    def _stop(self, state: Path) -> None:
        daemon = Connection(load(self.variables, environment=state.name), start=False)
        with suppress(errors.ConnectionError):
            daemon.request("shutdown", mode="now")
        daemon.close()
        wait_for("the daemon's end", lambda: not (state / "daemon.sock").exists())

    def kill_leftovers(self) -> None:
        """End what a failed `close` left."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def opened_world() -> Iterator[World]:
    """A world until the end of the block."""
    # Not under pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="cfw-"))
    world = World(home)
    try:
        yield world
        world.close()
    finally:
        world.kill_leftovers()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The environment of one module of tests; its daemon is this process's engine meanwhile."""
    with opened_world() as opened, using(opened.client):
        yield opened
