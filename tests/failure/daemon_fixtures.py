"""A private environment that tests may break: its program, its daemon, and what is left of them.

Faults come from outside: signals, full disks, traced system calls. What user code did is read from
a trace file that it appends to, so that it survives every kill.
"""

import fcntl
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import pytest

from cloudfn import errors
from cloudfn.clock import SystemClock
from cloudfn.model.call import Status
from cloudfn.providers.local.blobs import memory_root
from cloudfn.sdk.connection import Connection
from cloudfn.sdk.function import Function
from cloudfn.sdk.function_call import FunctionCall
from cloudfn.sdk.session import connect
from cloudfn.sdk.starter import _environ as environ_of_daemon
from cloudfn.settings import Settings, load
from cloudfn.wire.frames import Decoder, Encoder, derive_key
from cloudfn.wire.messages import PROTOCOL, Kind, decode_json, encode_json
from cloudfn.wire.version import code_version
from cloudfn.worker.process import MARKER, variable_of

#: seconds after which a wait is a failure; generous, since the machine may be busy
PATIENCE = 40.0
T = TypeVar("T")
CLOCK = SystemClock()
APP = "victim"

PROGRAM = """
import os
import time

import cloudfn

HERE = {here!r}
app = cloudfn.App({app!r})


def note(what, item):
    trace = os.open(HERE + "/trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(trace, f"{{what}} {{item}} {{os.getpid()}}\\n".encode())
    os.close(trace)


def work_on(item):
    note("begin", item)
    while os.path.exists(HERE + "/hold"):
        time.sleep(0.002)
    note("end", item)
    return item, os.urandom(8).hex()


@app.function(max_containers=2, scaledown_window=2, timeout=60)
def work(item):
    return work_on(item)


@app.function(max_containers=1, scaledown_window=2, timeout=60)
def narrow(item):
    return work_on(item)


@app.function(max_containers=2, scaledown_window=2, timeout=60)
def parent(item):
    return work.remote(item)


@app.function(max_containers=2, scaledown_window=2)
def echo(data):
    return data

{more}

if __name__ == "__main__":
    import json
    import sys

    app.deploy(**json.loads(sys.argv[1]))
    print(json.dumps(app.deployment._asdict()))
"""


class Background(Generic[T]):
    """Something that runs beside the test, and whose result it waits for with a deadline."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._outcome: list[T | BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asks for the result
            self._outcome.append(error)

    @property
    def done(self) -> bool:
        return bool(self._outcome)

    def result(self, seconds: float = PATIENCE) -> T:
        """Return what it returned, raise what it raised."""
        self._thread.join(seconds)
        assert self._outcome, f"nothing came back within {seconds} seconds"
        outcome = self._outcome[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def wait_for(what: str, look: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Return the first true value that `look` returns; fail with `what` after the deadline."""
    deadline = CLOCK.monotonic() + seconds
    while not (value := look()):
        assert CLOCK.monotonic() < deadline, f"within {seconds} seconds not: {what}"
        CLOCK.sleep(0.004)
    return value


def ended(pid: int, seconds: float = PATIENCE) -> bool:
    """Wait for the end of any process, child or not; zombies have ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))
    finally:
        os.close(handle)


class World:
    """One environment of its own, with a deployed program, a daemon, and clients."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.state = home / "main"
        self._patch = patch
        self._connections: list[Connection] = []
        self._children: list[subprocess.Popen[str]] = []
        self.set(CLOUDFN_HOME=home, CLOUDFN_DAEMON_IDLE_EXIT=120)

    # Settings and programs

    def set(self, **variables: object) -> None:
        """Set variables for clients and daemons that start from here on."""
        for name, value in variables.items():
            self._patch.setenv(name, str(value))

    @property
    def settings(self) -> Settings:
        return load()

    def write(self, more: str = "", name: str = "program.py", app: str = APP) -> Path:
        path = self.home / name
        text = PROGRAM.format(here=str(self.home), app=app, more=textwrap.dedent(more))
        path.write_text(text)
        return path

    def deploy(self, more: str = "", **how: Any) -> dict[str, Any]:
        """Deploy the program, with functions of the test's own; return what came of it."""
        printed = self.run_script(self.write(more), json.dumps(how))
        deployment: dict[str, Any] = json.loads(printed)
        return deployment

    def run_script(self, path: Path, *arguments: str, code: int = 0) -> str:
        """Run a program to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, str(path), *arguments],
            capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=self.home,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, text: str, **how: Any) -> subprocess.Popen[str]:
        """Start a client of its own process: a program that prints lines."""
        path = self.home / f"client{len(self._children)}.py"
        path.write_text(textwrap.dedent(text))
        return self.spawn_process([sys.executable, "-u", str(path)], **how)

    def spawn_process(self, command: list[str], **how: Any) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            command, cwd=self.home, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **how,
        )  # fmt: skip
        self._children.append(child)
        return child

    def adopt(self, child: subprocess.Popen[str]) -> None:
        """See to the end of a process that the test started itself."""
        self._children.append(child)

    def daemon_environ(self) -> dict[str, str]:
        """Return the variables that a daemon is started with by its clients."""
        return environ_of_daemon(self.settings)

    # Clients

    def connect(self, *, start: bool = True) -> Connection:
        connection = Connection(self.settings, start=start)
        connection.connect()
        self._connections.append(connection)
        return connection

    def function(self, name: str, client: Connection | None = None, app: str = APP) -> Function:
        """Return a deployed function, on a connection of its own if none is given."""
        return Function.from_name(app, name, client=client or self.connect())

    def call(self, call_id: str, client: Connection | None = None) -> FunctionCall:
        return FunctionCall.from_id(call_id, client=client or self.connect())

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the daemon, over a connection of its own."""
        connection = Connection(self.settings)
        try:
            return connection.request(op, **fields)
        finally:
            connection.close()

    # The daemon

    @property
    def pid(self) -> int:
        """The pid that the daemon wrote into its lock."""
        return int((self.state / "daemon.lock").read_text())

    @property
    def log(self) -> str:
        path = self.state / "daemon.log"
        return path.read_text() if path.exists() else ""

    def is_up(self) -> bool:
        try:
            Connection(self.settings, start=False).request("status")
        except errors.Error:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Kill the daemon and see it end; return its pid."""
        return wait_for("a daemon to kill", lambda: self.strike(number))

    def strike(self, number: int = signal.SIGKILL) -> int:
        """Kill the daemon if there is one; return its pid, or 0."""
        # Between two daemons, the lock still names the one before, or nobody.
        with suppress(ProcessLookupError, ValueError):
            pid = self.pid
            if variable_of(pid, "CLOUDFN_HOME") == str(self.home):
                os.kill(pid, number)
                assert ended(pid), "the daemon survived its signal"
                return pid
        return 0

    def stop(self, mode: str = "now") -> None:
        """Let the daemon leave, and see it end."""
        pid = self.pid
        with suppress(errors.ConnectionError):
            self.ask_running("shutdown", mode=mode)
        assert ended(pid), "the daemon did not leave"

    def ask_running(self, op: str, **fields: Any) -> dict[str, Any]:
        connection = Connection(self.settings, start=False)
        try:
            return connection.request(op, **fields)
        finally:
            connection.close()

    # What user code did

    def hold(self) -> None:
        """Keep inputs that began from ending."""
        (self.home / "hold").touch()

    def release(self) -> None:
        (self.home / "hold").unlink(missing_ok=True)

    def trace(self, what: str) -> Counter[str]:
        """Return how often something happened for each item."""
        path = self.home / "trace"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith(what + " "))

    def pids(self, what: str) -> list[int]:
        path = self.home / "trace"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(line.split()[2]) for line in lines if line.startswith(what + " ")]

    def await_trace(self, what: str, count: int) -> None:
        """Wait until something happened for so many different items."""
        wait_for(f"{count} items {what}", lambda: len(self.trace(what)) >= count)

    # What the ledger says

    @contextmanager
    def ledger(self) -> Iterator[sqlite3.Connection]:
        """Open the ledger of a daemon that is gone, as its successor would."""
        with closing(sqlite3.connect(self.state / "ledger.db", timeout=PATIENCE)) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
            assert verdict == "ok", verdict
            yield connection

    def statuses(self) -> Counter[str]:
        """Return how many inputs the (dead) daemon's ledger has in which status."""
        counts: Counter[str] = Counter()
        with self.ledger() as ledger:
            rows = ledger.execute("SELECT statuses FROM call").fetchall()
            rows += ledger.execute("SELECT statuses FROM block").fetchall()
        for (statuses,) in rows:
            counts.update(Status(status & 0x7F).name for status in statuses)
        return counts

    # What is left

    @property
    def marker(self) -> str:
        return blake2b(os.fsencode(self.state), digest_size=8).hexdigest()

    def processes(self) -> dict[int, str]:
        """Return every process that belongs to this environment, with its command line."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            pid = int(entry)
            ours = variable_of(pid, MARKER) == self.marker
            if ours or variable_of(pid, "CLOUDFN_HOME") == str(self.home):
                with suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if line:  # zombies have none
                        found[pid] = line.replace(b"\0", b" ").decode()
        return found

    def workers(self) -> dict[int, str]:
        """Return the processes below the daemon: zygotes, templates, containers, their children."""
        return {
            pid: line for pid, line in self.processes().items()
            if variable_of(pid, MARKER) == self.marker
        }  # fmt: skip

    def blobs(self) -> list[str]:
        """Return all blobs that lie anywhere."""
        roots = (memory_root(self.state), self.state / "blobs", self.state / "blobs-fast")
        # Folders may go while we look.
        return [
            f"{top}/{name}" for root in roots for top, _, names in os.walk(root) for name in names
        ]

    def close_clients(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def finish(self) -> None:
        """End everything; fail if anything of this environment stays behind."""
        self.release()
        self.close_clients()
        for child in self._children:
            child.kill()
            child.wait(PATIENCE)
            if child.stdout is not None:
                child.stdout.close()
        # One that is killed at a certain system call may come to it now.
        wait_for("the daemon is up or gone", lambda: self.is_up() or not self._has_daemon())
        if self._has_daemon():
            self.stop()
        try:
            wait_for("no process left", lambda: not self.processes(), 15)
        except AssertionError:
            left = self.processes()
            raise AssertionError(f"left behind: {left}") from None
        assert not (self.state / "daemon.sock").exists() or not self.is_up()
        groups = [f"{root}/cloudfn-{self.marker}" for root in
                  ("/sys/fs/cgroup", "/sys/fs/cgroup/memory")]  # fmt: skip
        left_groups = [g for group in groups if os.path.isdir(group)
                       for g in os.scandir(group) if g.is_dir()]  # fmt: skip
        assert not left_groups, f"control groups left behind: {left_groups}"

    def _has_daemon(self) -> bool:
        return any("cloudfn.daemon" in line for line in self.processes().values())

    def destroy(self) -> None:
        """Remove every trace, also after a failure."""
        self.release()
        for connection in self._connections:
            with suppress(Exception):
                connection.close()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(memory_root(self.state), ignore_errors=True)
        for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):
            with suppress(OSError):
                os.rmdir(f"{root}/cloudfn-{self.marker}")
        shutil.rmtree(self.home, ignore_errors=True)


class RawClient:
    """A client that speaks the protocol itself, byte by byte."""

    def __init__(self, world: World, key: bytes, container: str | None = None) -> None:
        self._socket = connect(world.state / "daemon.sock")
        self._socket.settimeout(PATIENCE)
        self._encoder, self._decoder = Encoder(), Decoder()
        self._last = 0
        nonce = os.urandom(16)
        hello = {"protocol": PROTOCOL, "version": code_version(), "nonce": nonce.hex(),
                 "container": container, "pid": os.getpid()}  # fmt: skip
        self.send(self._encoder.frame(Kind.HELLO, encode_json(hello)))
        (welcome,) = self._receive(1)
        theirs = bytes.fromhex(welcome["nonce"])
        self._encoder.secure(derive_key(key, b"client", nonce, theirs))
        self._decoder.secure(derive_key(key, b"daemon", nonce, theirs))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, op: str, **fields: Any) -> bytes:
        """Return the frame of a request."""
        self._last += 1
        return self._encoder.frame(
            Kind.REQUEST, encode_json({"id": self._last, "op": op, **fields})
        )

    def send(self, data: bytes | bytearray) -> None:
        self._socket.sendall(data)

    def replies(self, count: int = 1_000_000) -> list[dict[str, Any]]:
        """Return the next messages, or all until the daemon hangs up."""
        return self._receive(count)

    def _receive(self, count: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while len(messages) < count:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError:
                break
            if not data:
                break
            self._decoder.feed(data)
            while (message := self._decoder.pop()) is not None:
                messages.append(decode_json(message[1]))
        return messages


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An environment of its own; whatever is left of it in the end is a failure."""
    made = new_world(monkeypatch)
    try:
        yield made
        made.finish()
    finally:
        made.destroy()


def new_world(patch: pytest.MonkeyPatch) -> World:
    """Return an environment of its own, to be destroyed by whoever asked for it."""
    # Not under pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
    return World(Path(tempfile.mkdtemp(prefix="cf-")), patch)


def collect(function: Function, method: str, items: list[Any]) -> list[Any]:
    """Call a function in one of the ways that there are, and wait for all results."""
    match method:
        case "remote":
            calls = [Background(lambda item=item: function.remote(item)) for item in items]
            return [call.result() for call in calls]
        case "map":
            return list(function.map(items))
        case "spawn":
            return FunctionCall.gather(*[function.spawn(item) for item in items])
        case "spawn_map":
            return list(function.spawn_map(items).iter())
    raise AssertionError(method)


def check_once(world: World, items: list[Any], results: list[Any], *, deaths: int) -> None:
    """Every input has its own result, and ran no more often than its losses explain."""
    assert [result[0] for result in results] == items
    assert len({result[1] for result in results}) == len(items), "one execution, two results"
    begun = world.trace("begin")
    assert set(begun) == {str(item) for item in items}
    assert max(begun.values()) <= 1 + deaths, begun


def strace_or_skip() -> str:
    """Return where strace is; install it where that is possible."""
    found = shutil.which("strace") or _installed("strace")
    if found is None:
        give_up("strace is not installed, and could not be (apt install strace)")
    return found


def _installed(package: str) -> str | None:
    """Install a program; return where it is, None where that cannot be done."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return None
    with (Path(tempfile.gettempdir()) / "cloudfn-test-apt.lock").open("w") as lock:
        # Another process of the same test run may be at it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The lists of packages may be old, or missing.
        for step in (["install", "-y", package], ["update"], ["install", "-y", package]):
            if found := shutil.which(package):
                return found
            with suppress(subprocess.TimeoutExpired):
                subprocess.run([apt, "-q", *step], capture_output=True, timeout=120, check=False)
        return shutil.which(package)


def give_up(why: str) -> Any:
    """Skip where somebody can see it; in continuous integration a skip would hide a hole."""
    if os.environ.get("CI") == "true":  # noqa: TID251 - the test command's own environment
        pytest.fail(why)
    pytest.skip(why)
