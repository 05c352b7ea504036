"""The first process of an emulated machine: its mounts, its Docker engine, its units.

Runs with namespaces of its own for processes, mounts, network, host name and IPC: when this process
ends, by whatever, nothing of the machine is left. Prints to the machine's console.

A line on stdin says that the network is there.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cloudfn.clock import Clock
from cloudfn.rehearsal.cloudconfig import (
    ServiceUnit,
    TimerUnit,
    cloud_config,
    environment_of,
    unit_of,
)
from cloudfn.rehearsal.metadata import ADDRESS

_RUN = Path("/run/rehearsal")
_ORDERS = _RUN / "systemctl"
_SYSTEMCTL = f'#!/bin/sh\necho "$@" > {_ORDERS}\n'
#: seconds for the engine to serve, and for everything to end when the machine shuts down
_ENGINE, _SHUTDOWN = 60.0, 15.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What an emulated machine is made of."""

    #: folder on a disk, this machine's own
    folder: Path
    #: parent of its containers' control groups
    cgroup: str
    #: address of AWS
    url: str
    #: Python, and folders that have to stay visible
    python: str
    #: of package indexes, proxies and certificates
    environ: Mapping[str, str] = field(default_factory=dict)


def boot(machine: Machine, clock: Clock) -> None:
    """Be a machine, until it shuts down."""
    resolver = Path("/etc/resolv.conf").read_bytes()
    _mount(machine)
    _write_new(Path("/etc/resolv.conf"), resolver)
    _tools(machine.python)
    sys.stdin.readline()  # the network is there
    _say("network is up")
    children = Children()
    units = Units(children, _environ(machine), clock)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=units.shut_down).start())
    units.start_service("docker.service", _docker(machine))
    units.await_engine()
    config = cloud_config(_user_data())
    for each in config.files:
        path = Path(each.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.content)
        path.chmod(each.mode)
    threading.Thread(target=units.obey, daemon=True).start()
    for command in config.commands:
        code = children.run(command, units.environ)
        if code:
            _say(f"runcmd {' '.join(command)!r}: exit code {code}")
    _say("user-data has run")
    units.over.wait()


class Children:
    """All processes below this one: the first process of a machine has to reap every one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ended: dict[int, int] = {}
        self._ours: set[int] = set()
        threading.Thread(target=self._reap, daemon=True).start()

    def start(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Start a program in a process group of its own; return its id.

        Raises:
            OSError: It cannot be started.
        """
        program = shutil.which(command[0], path=environ["PATH"]) or command[0]
        with self._changed:
            pid = os.posix_spawn(
                program, list(command), dict(environ), setpgroup=0,
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            )  # fmt: skip
            self._ours.add(pid)
            self._changed.notify_all()
        return pid

    def wait(self, pid: int, seconds: float | None = None) -> int | None:
        """Return a process's exit code, once it has one; None: not within so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: pid in self._ended, seconds)
            return self._ended.get(pid)

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run a program to its end; return its exit code."""
        try:
            return self.wait(self.start(command, environ)) or 0
        except OSError as error:
            _say(f"{command[0]}: {error.strerror}")
            return 127

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                with self._changed:
                    self._changed.wait(0.2)
                continue
            with self._changed:
                if pid in self._ours:
                    self._ended[pid] = os.waitstatus_to_exitcode(status)
                    self._changed.notify_all()


class Units:
    """Services and timers, started and kept running as systemd would.

    Args:
        children: Starts processes.
        environ: What every unit finds.
        clock: Tells when patience is over.
    """

    def __init__(self, children: Children, environ: Mapping[str, str], clock: Clock) -> None:
        self.environ = environ
        self.over = threading.Event()
        self._children, self._clock = children, clock
        self._stopping = threading.Event()
        self._main: dict[str, tuple[int, ServiceUnit]] = {}
        self._lock = threading.Lock()

    def start_service(self, name: str, unit: ServiceUnit) -> None:
        """Start a service, and again whenever it ends, if it wants that."""
        threading.Thread(target=self._keep, args=(name, unit), daemon=True).start()

    def await_engine(self) -> None:
        """Wait until the Docker engine answers."""
        deadline = self._clock.monotonic() + _ENGINE
        while not _engine_answers():
            if self._clock.monotonic() > deadline:
                _say("the Docker engine does not answer")
                return
            self._clock.sleep(0.05)

    def obey(self) -> None:
        """Do what `systemctl` says in this machine."""
        # Open for writing, too: without any writer there would be an end.
        with os.fdopen(os.open(_ORDERS, os.O_RDWR)) as pipe:
            for line in pipe:
                self._order(line.split())

    def shut_down(self) -> None:
        """End all services in order, and this machine with them."""
        self._stopping.set()
        with self._lock:
            running = list(self._main.values())
        for pid, _ in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = self._clock.monotonic() + _SHUTDOWN
        for pid, _ in running:
            self._children.wait(pid, max(0.0, deadline - self._clock.monotonic()))
        self.over.set()

    def _order(self, words: Sequence[str]) -> None:
        match [each for each in words if not each.startswith("-")]:
            case ["poweroff"]:
                _say("power off")
                self.over.set()
            case ["enable" | "start" | "restart", *names]:
                for name in names:
                    self._start(name)
            case _:  # nothing else that units do here has an effect
                pass

    def _start(self, name: str) -> None:
        name = name if "." in name else f"{name}.service"
        file = Path("/etc/systemd/system") / name
        if not file.exists():
            _say(f"there is no unit {name}")
            return
        unit = unit_of(name, file.read_text())
        if isinstance(unit, TimerUnit):
            other = file.with_suffix(".service")
            service = unit_of(other.name, other.read_text())
            assert isinstance(service, ServiceUnit)
            args = (file.stem, unit, service)
            threading.Thread(target=self._ring, args=args, daemon=True).start()
        else:
            self.start_service(name, unit)

    def _ring(self, name: str, timer: TimerUnit, service: ServiceUnit) -> None:
        pause = timer.first
        while not self._stopping.wait(pause):
            self._once(f"{name}.service", service)
            pause = timer.again

    def _keep(self, name: str, unit: ServiceUnit) -> None:
        while not self._stopping.is_set():
            code = self._once(name, unit)
            _say(f"{name} ended with {code}")
            if not unit.restarts or self._stopping.wait(unit.pause):
                return

    def _once(self, name: str, unit: ServiceUnit) -> int:
        environ = dict(self.environ)
        for each in unit.environment:
            environ |= environment_of(Path(each).read_text())
        for command in unit.before:
            if code := self._children.run(command, environ):
                return code
        try:
            pid = self._children.start(unit.start, environ)
        except OSError as error:
            _say(f"{name}: {error}")
            return 203
        with self._lock:
            self._main[name] = (pid, unit)
        code = self._children.wait(pid) or 0
        with self._lock:
            self._main.pop(name, None)
        # What it left behind goes with it, as with KillMode=mixed.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        return code


def _mount(machine: Machine) -> None:
    """Give the machine a disk, and its own view of what a machine writes to."""
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    _run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm")  # noqa: S108
    disk = _RUN / "disk"
    disk.mkdir(parents=True)
    _run("mount", "--bind", str(machine.folder), str(disk))
    for place in ("/etc", "/var"):
        upper, work = _RUN / "upper" / place[1:], _RUN / "work" / place[1:]
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        options = f"lowerdir={place},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "-o", options, "overlay", place)
    for name, place in (
        ("opt", "/opt"),
        ("docker", "/var/lib/docker"),
        ("cloudfn", "/var/lib/cloudfn"),
        ("tmp", "/tmp"),  # noqa: S108 - as every machine has it
    ):
        (disk / name).mkdir()
        Path(place).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(disk / name), place)
    # The rest is this machine's: to be read.
    for place in filter(os.path.ismount, ("/", "/usr", "/home", "/root", "/boot", "/srv")):
        _run("mount", "-o", "remount,bind,ro", place)


def _tools(python: str) -> None:
    """Put what a machine image brings into its path: our Python by its name, and `systemctl`."""
    tools = _RUN / "bin"
    tools.mkdir()
    for name in (f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3.11", "python3"):
        if not (tools / name).exists():
            (tools / name).symlink_to(python)
    os.mkfifo(_ORDERS)
    (tools / "systemctl").write_text(_SYSTEMCTL)
    (tools / "systemctl").chmod(0o755)
    (_RUN / "disk" / "home").mkdir()


def _environ(machine: Machine) -> dict[str, str]:
    return {
        **machine.environ,
        "PATH": f"{_RUN}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(_RUN / "disk" / "home"),
        "AWS_ENDPOINT_URL": machine.url,
    }


def _docker(machine: Machine) -> ServiceUnit:
    command = (
        "dockerd", "--host", "unix:///run/docker.sock", "--data-root", "/var/lib/docker",
        "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid",
        "--log-level", "warn", "--cgroup-parent", machine.cgroup,
        "--exec-opt", "native.cgroupdriver=cgroupfs",
    )  # fmt: skip
    return ServiceUnit(start=command, restarts=True, pause=1.0)


def _engine_answers() -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect("/run/docker.sock")
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in connection.recv(100)
        except OSError:
            return False


def _user_data() -> str:
    """Return what the metadata service has for this machine, as cloud-init asks it."""
    asker = http.client.HTTPConnection(ADDRESS, 80, timeout=10)
    asker.request(
        "PUT", "/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    )
    token = asker.getresponse().read().decode()
    url = f"http://{ADDRESS}/latest/user-data"
    request = urllib.request.Request(url, headers={"X-aws-ec2-metadata-token": token})
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
        text: str = reply.read().decode()
    return text


def _write_new(path: Path, content: bytes) -> None:
    """Write a file in the place of one, or of a link to somewhere."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _say(text: str) -> None:
    sys.stdout.write(f"[machine] {text}\n")
    sys.stdout.flush()
