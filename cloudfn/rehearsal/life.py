"""The beginning and the end of a rehearsal: what it needs, and what it must not leave."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import NoReturn

from cloudfn import settings
from cloudfn.clock import Clock
from cloudfn.errors import AlreadyExistsError, AuthError, ExecutionError, InvalidError
from cloudfn.providers.aws.infra.base import check_name
from cloudfn.rehearsal import cgroups, network
from cloudfn.rehearsal.control import ask
from cloudfn.rehearsal.site import ACCOUNT, Site, Wanted, variables
from cloudfn.rehearsal.steps import tell

#: commands, and the Debian package of each
_TOOLS = {
    "dockerd": "docker.io",
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
_MODULES = {"flask": "moto[server]", "ministack": "ministack", "yaml": "PyYAML"}
#: seconds for a supervisor to end
_PATIENCE = 20.0
_PATH = ":".join([*os.get_exec_path(), "/usr/sbin", "/sbin"])


def check(user: int, environment: str = "main") -> None:
    """See whether a rehearsal can be on this machine.

    Args:
        user: Whose it would be.
        environment: What is rehearsed.

    Raises:
        AuthError: This user may not make machines.
        InvalidError: The environment cannot be called so, or something has to be installed.
    """
    check_name(environment)
    if user:
        raise AuthError(
            "Emulated machines need root: they have networks, mounts and Docker engines.",
            hint="Run it with sudo -E, or as root in a virtual machine.",
        )
    missing = {
        package for tool, package in _TOOLS.items() if shutil.which(tool, path=_PATH) is None
    }
    if missing:
        raise InvalidError(
            f"The rehearsal needs more on this machine: {', '.join(sorted(missing))}.",
            hint=f"apt install {' '.join(sorted(missing))}",
        )
    absent = [name for module, name in _MODULES.items() if find_spec(module) is None]
    if absent:
        raise InvalidError(
            f"The rehearsal needs more Python packages: {', '.join(absent)}.",
            hint="pip install 'cloudfn[rehearsal]'",
        )


def check_port(port: int) -> None:
    """See whether a port of this machine is free for the front.

    Raises:
        InvalidError: Somebody listens there; whoever asks him takes him for the rehearsal.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise InvalidError(
                f"Somebody listens at 127.0.0.1:{port} already.",
                hint="Take another port: cloudfn rehearse up --port 4577",
            ) from None


def begin(site: Site, wanted: Wanted, clock: Clock) -> NoReturn:
    """Become the supervisor's parent.

    Raises:
        AlreadyExistsError: A rehearsal runs here.
        InvalidError: Somebody listens at its port, or it cannot be here; see `check`.
    """
    check(os.geteuid(), wanted.environment)
    site.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(site.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyExistsError(
            "A rehearsal runs already.", hint="Look at it with `cloudfn rehearse status`."
        ) from None
    _remove(site, clock)
    check_port(wanted.port)
    site.wanted.write_text(wanted.text())
    # Held by this process and the supervisor, so until both are gone.
    os.set_inheritable(lock, True)  # noqa: FBT003 - its only argument
    environ = {
        **settings.container_environ(),
        **settings.build_environ(),
        **variables(wanted),
        "PATH": _PATH,
        "MOTO_ACCOUNT_ID": ACCOUNT,
        "PYTHONUNBUFFERED": "1",
    }
    command = [
        "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc",
        sys.executable, "-m", "cloudfn.rehearsal", "supervise", str(site.home),
    ]  # fmt: skip
    log = site.log("supervisor")
    log.parent.mkdir()
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT, 0o600), sys.stderr.fileno())
    os.execvpe("unshare", command, environ)


def finish(site: Site, clock: Clock) -> None:
    """End a rehearsal, if one runs, and remove all that it left.

    Raises:
        ExecutionError: It does not end.
    """
    if site.home.exists():
        with site.lock.open("a") as lock:
            _await_end(site, lock.fileno(), clock)
            _remove(site, clock)
            shutil.rmtree(site.home)
    tell("down", "")


def _await_end(site: Site, lock: int, clock: Clock) -> None:
    process, killed = None, False
    deadline = clock.monotonic() + _PATIENCE
    while not _locked(lock):
        if process is None:  # one that has just been started does not listen yet
            with suppress(OSError):
                _, process = ask(site.control, {"op": "down"}, _PATIENCE)
        if clock.monotonic() > deadline:
            if process is None or killed:
                raise ExecutionError(f"The rehearsal in {site.home} does not end.")
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            deadline, killed = clock.monotonic() + _PATIENCE, True
        clock.sleep(0.05)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(site: Site, clock: Clock) -> None:
    """Remove what a rehearsal left that has ended; its lock stays."""
    network.clean(site.tag, site.home / "forwarding")
    deadline = clock.monotonic() + _PATIENCE
    while parents := cgroups.parents(site.tag):
        for each in parents:
            cgroups.remove(each)
        if clock.monotonic() > deadline:
            break
        clock.sleep(0.02)
    for path in site.home.iterdir():
        if path == site.lock:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
