"""A machine for each module that breaks containers, and what must be left of it: nothing.

Faults come from outside: signals to real processes. What user code did is read from files that it
wrote, and it waits for files that the test writes; every wait has a deadline.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from hashlib import blake2b
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from cloudfn.clock import SystemClock
from cloudfn.providers.local.blobs import memory_root
from cloudfn.sdk.connection import Connection
from cloudfn.settings import load
from cloudfn.worker.process import MARKER, parent_of, variable_of

#: seconds after which a wait has failed; generous, since the machine may be busy
PATIENCE = 30.0
CLOCK = SystemClock()
_NUMBERS = count(1)
_GROUPS = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")]

HEAD = """
import os
import signal
import sys
import threading
import time
from pathlib import Path

import cloudfn

HERE = Path({here!r})
app = cloudfn.App("victim")


def note(name, text=""):
    file = os.open(HERE / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, f"{{text}}\\n".encode())
    os.close(file)


def wait_for(name):
    deadline = time.monotonic() + 60
    while not (HERE / name).exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"nobody made {{name}}")
        time.sleep(0.002)
"""


class Scar(NamedTuple):
    """What the ledger notes of an unfinished input that is not as it was submitted."""

    failures: int
    crashes: int
    losses: int


class Later:
    """Something that runs beside the test."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._ending: list[tuple[Any, BaseException | None]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._ending.append((self._work(), None))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            self._ending.append((None, error))

    @property
    def done(self) -> bool:
        return bool(self._ending)

    def result(self, seconds: float = PATIENCE) -> Any:
        """Return what came back; raises what was raised, and when nothing comes in time."""
        self._thread.join(seconds)
        assert self._ending, f"nothing came back within {seconds} seconds"
        value, error = self._ending[0]
        if error is not None:
            raise error
        return value


class Program:
    """A user's program, running; its functions are attributes."""

    def __init__(self, module: ModuleType, here: Path, machine: Machine) -> None:
        self._module = module
        self.here = here
        self.machine = machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def later(self, work: Callable[[], Any]) -> Later:
        """Run something beside the test."""
        return Later(work)

    def allow(self, *names: str) -> None:
        """Let user code go on that waits for these files."""
        for name in names:
            (self.here / name).touch()

    def notes(self, name: str) -> list[str]:
        """Return what user code noted under a name so far."""
        try:
            return (self.here / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def await_notes(self, name: str, number: int = 1) -> list[str]:
        """Wait until user code noted something that often."""
        return self.machine.wait_for(
            lambda: len(found := self.notes(name)) >= number and found, f"{number} × {name}"
        )

    def output(self, **query: Any) -> list[dict[str, Any]]:
        """Return what its containers printed so far, in order."""
        return self.machine.logs(app=self._module.app.app_id, **query)

    def text(self, source: str = "stdout", **query: Any) -> str:
        """Return what its containers printed so far, as one text."""
        return "".join(entry["text"] for entry in self.output(source=source, **query))


class Machine:
    """One environment with its daemon, and this process as its client."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = load({"CLOUDFN_HOME": str(home)})
        self.state = self.settings.state_dir
        self.client = Connection(self.settings)
        self.marker = blake2b(os.fsencode(self.state), digest_size=8).hexdigest()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Return the daemon's answer."""
        return self.client.request(op, **fields)

    def wait_for(self, look: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """Return the first true thing that `look` returns."""
        deadline = CLOCK.monotonic() + seconds
        while not (found := look()):
            if CLOCK.monotonic() >= deadline:
                pytest.fail(f"within {seconds} seconds not: {what}\n{self._state()}")
            CLOCK.sleep(0.003)
        return found

    def _state(self) -> str:
        log = self.state / "daemon.log"
        tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
        return f"processes: {self.processes()}\ndaemon's log: {tail}"

    # Processes

    @property
    def daemon(self) -> int:
        """The daemon's pid."""
        return int((self.state / "daemon.lock").read_text())

    def processes(self) -> dict[int, str]:
        """Return the living processes that carry the daemon's marker, with their names."""
        found = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and variable_of(int(entry), MARKER) == self.marker:
                with suppress(OSError):
                    found[int(entry)] = Path(f"/proc/{entry}/comm").read_text().strip()
        return found

    def named(self, name: str) -> list[int]:
        """Return the pids of those with a name: cf-zygote, cf-template or cf-container."""
        return [pid for pid, found in self.processes().items() if found == name]

    def containers(self, function: str | None = None) -> list[dict[str, Any]]:
        """Return the containers as the daemon lists them."""
        listed: list[dict[str, Any]] = self.ask("container_list")["containers"]
        return [c for c in listed if function in (None, c["function_name"])]

    def container(self, state: str, function: str | None = None) -> dict[str, Any]:
        """Wait for a container in a state, and return it."""
        return self.wait_for(
            lambda: next((c for c in self.containers(function) if c["state"] == state), None),
            f"a container that is {state}",
        )

    def kill(self, pid: int | str, number: int = signal.SIGKILL) -> None:
        """Send a signal; with SIGKILL, wait for the end."""
        pid = int(pid)
        os.kill(pid, number)
        if number == signal.SIGKILL:
            self.wait_for(lambda: is_gone(pid), f"the end of {pid}")

    def pause(self, pid: int) -> None:
        """Stop a process, and wait until it stands."""
        os.kill(pid, signal.SIGSTOP)
        self.wait_for(lambda: state_of(pid) == "T", f"{pid} stopped")

    def resume(self, pid: int) -> None:
        """Let a stopped process go on."""
        os.kill(pid, signal.SIGCONT)

    # What is written down

    def scars(self) -> list[Scar]:
        """Return the counters of unfinished inputs, from a copy of the ledger as it lies there."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("ledger.db", "ledger.db-wal"):
                with suppress(FileNotFoundError):
                    shutil.copy(self.state / name, folder)
            connection = sqlite3.connect(f"{folder}/ledger.db")
            try:
                rows = connection.execute("SELECT failures, crashes, losses FROM scar").fetchall()
            except sqlite3.Error:  # copied in the midst of a write
                return []
            finally:
                connection.close()
        return [Scar(*row) for row in rows]

    def await_scar(self, **counters: int) -> None:
        """Wait until the only unfinished input has these counters."""
        wanted = [Scar(**{"failures": 0, "crashes": 0, "losses": 0, **counters})]
        self.wait_for(lambda: self.scars() == wanted, f"{wanted}")

    def logs(self, **query: Any) -> list[dict[str, Any]]:
        """Return what was printed so far."""
        pages = self.client.subscribe("logs", **query)
        return [entry for page in pages for entry in page["entries"]]

    # What is left

    def litter(self) -> dict[str, Any]:
        """Return what lies around, apart from the daemon and its zygote."""
        return {
            "processes": {p: n for p, n in self.processes().items() if n != "cf-zygote"},
            "channels of the daemon": self._channels(),
            "results of containers": [
                path.name
                for root in (memory_root(self.state), self.state / "blobs")
                for path in (root.iterdir() if root.is_dir() else ())
                if path.name.startswith("results-")
            ],
            "blobs in memory": len(list(memory_root(self.state).glob("*/*"))),
            "groups": [
                str(group) for root in _GROUPS for group in root.glob(f"cloudfn-{self.marker}/*/")
            ],
        }

    def _channels(self) -> int:
        folder = Path(f"/proc/{self.daemon}/fd")
        targets = []
        for entry in folder.iterdir():
            with suppress(OSError):
                targets.append(os.readlink(entry))
        return sum(target.startswith(("socket:", "pipe:")) for target in targets)

    @property
    def has_groups(self) -> bool:
        """Whether the daemon limits memory by cgroups."""
        return any((root / f"cloudfn-{self.marker}").exists() for root in _GROUPS)

    def close(self) -> None:
        """Stop the daemon, and see that it leaves nothing."""
        daemon = self.daemon
        self.ask("shutdown", mode="now")
        self.client.close()
        self.wait_for(lambda: is_gone(daemon), "the daemon's end")
        self.wait_for(lambda: not self.processes(), "no process with the daemon's marker")
        assert not (self.state / "daemon.sock").exists()
        assert not memory_root(self.state).exists()
        assert not self.has_groups

    def end(self) -> None:
        """Kill what a failed test left."""
        for pid in self.processes():
            _kill(pid)
        with suppress(OSError, ValueError):
            if "cloudfn.daemon" in Path(f"/proc/{self.daemon}/cmdline").read_text():
                _kill(self.daemon)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def state_of(pid: int) -> str:
    """Return the letter of a process's state; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    return parent_of(pid) is None or state_of(pid) in ("Z", "X", "")


def _imported(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def write_program(folder: Path, source: str) -> Path:
    """Write a program into a file whose name no other program has."""
    path = folder / f"victim{next(_NUMBERS)}.py"
    path.write_text(HEAD.format(here=str(folder)) + textwrap.dedent(source))
    return path


@contextmanager
def opened(start: Callable[[Path], None]) -> Iterator[Machine]:
    """A daemon of its own, ended and looked for afterwards."""
    # Not under pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="cfa-"))
    machine = Machine(home)
    path = write_program(home, "@app.function()\ndef nothing(): pass\n")
    try:
        start(home)
        with _imported(path).app.run(client=machine.client) as app:
            app.registered_functions["nothing"].remote()
        yield machine
        machine.close()
    finally:
        machine.end()
        sys.modules.pop(path.stem, None)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def open_machine() -> Callable[[Callable[[Path], None]], AbstractContextManager[Machine]]:
    """How to have another machine, whose daemon the test starts itself."""
    return opened


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A daemon for the tests of one module."""
    with opened(lambda _home: None) as found:
        yield found


@pytest.fixture
def baseline(machine: Machine) -> Iterator[Machine]:
    """After the test the machine is as it was before: processes, sockets, pipes, files, groups."""
    machine.wait_for(lambda: not machine.litter()["processes"], "a quiet machine")
    before = machine.litter()
    yield machine
    with suppress(pytest.fail.Exception):
        machine.wait_for(lambda: machine.litter() == before, "the machine as it was before")
    assert machine.litter() == before


@pytest.fixture
def running(baseline: Machine, tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Run programs, as `cloudfn run` does, until the end of the test."""
    with ExitStack() as stack:

        def run(source: str) -> Program:
            path = write_program(tmp_path, source)
            stack.callback(sys.modules.pop, path.stem, None)
            module = _imported(path)
            stack.enter_context(module.app.run(client=baseline.client))
            return Program(module, tmp_path, baseline)

        yield run


@pytest.fixture
def deployed(baseline: Machine, tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Deploy programs, as `cloudfn deploy` does, and stop them at the end of the test."""
    with ExitStack() as stack:

        def deploy(source: str) -> Program:
            path = write_program(tmp_path, source)
            stack.callback(sys.modules.pop, path.stem, None)
            module = _imported(path)
            module.app.deploy(client=baseline.client)
            stack.callback(baseline.ask, "app_stop", name=module.app.app_id)
            return Program(module, tmp_path, baseline)

        yield deploy
