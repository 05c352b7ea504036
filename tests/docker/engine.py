"""A Docker engine and a registry for tests: one of each per run, whichever process asks first.

What is missing is installed where that is possible. Where there can be no engine, tests are
skipped, and say why; with `CI` or `CLOUDFN_REQUIRE_DOCKER` in the environment, they fail instead.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.docker import base_image

#: commands that are needed, and the Debian package of each
_NEEDED = {
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "iptables": "iptables",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
}
#: where Debian keeps what only root runs
_SEARCHED = ":".join([*os.get_exec_path(), "/usr/sbin", "/sbin"])
#: seconds for apt-get, for a docker command, and for the engine to leave
_INSTALL, _COMMAND, _LEAVE = 300.0, 120.0, 40.0
_BASE = f"cloudfn-test-base:{base_image.PYTHON}"


@dataclass(frozen=True)
class Engine:
    """An engine that runs, for this run of the tests only."""

    #: what `DOCKER_HOST` has to say
    host: str
    #: `127.0.0.1:port`: takes and gives images over plain HTTP, without a password
    registry: str
    #: name of an image with Debian's Python, pip and apt, that every engine has
    base: str
    #: version of the Python in `base`, as in `3.11`
    base_python: str
    #: holds everything of the engine
    home: Path

    def docker(self, *arguments: str) -> str:
        """Run a docker command with this engine and return its output."""
        return run_docker(self.host, *arguments)


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Give an engine that all processes of this run of the tests share."""
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(own_engine(_shared(tmp_path_factory)))
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            _give_up(str(error))
        yield engine


@contextmanager
def own_engine(folder: Path) -> Iterator[Engine]:
    """Install what is missing, and start an engine or join those who use the one of this folder.

    Raises:
        RuntimeError, SubprocessError, OSError: There can be none here; the message says why.
    """
    install()
    with running_engine(folder, base_image.archive()) as engine:
        yield engine


@contextmanager
def running_engine(folder: Path, archive: Path) -> Iterator[Engine]:
    """Start an engine, or join those who use the one of this folder; the last one ends it."""
    users = folder / "engine.users"
    with users.open("a") as use:
        with _turn(folder):
            fcntl.flock(use, fcntl.LOCK_SH)
            engine = _started(folder, users, archive)
            _users(folder, add=os.getpid())
        try:
            yield engine
        finally:
            with _turn(folder):
                if not _users(folder, remove=os.getpid()):
                    _end(folder)


def run_docker(host: str, *arguments: str) -> str:
    """Run a docker command with the engine at `host` and return its output."""
    done = subprocess.run(
        ["docker", "--host", host, *arguments],
        capture_output=True, text=True, check=False, timeout=_COMMAND,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def install() -> None:
    """Install what is missing.

    Raises:
        RuntimeError: That is impossible here; the message says why.
    """
    if os.geteuid():
        raise RuntimeError("only root can start a Docker engine for tests")
    missing = [
        package
        for command, package in _NEEDED.items()
        if shutil.which(command, path=_SEARCHED) is None
    ]
    if not missing:
        return
    apt = shutil.which("apt-get")
    if apt is None:
        raise RuntimeError(f"{', '.join(missing)} missing, and no apt-get to install from")
    options = ["--yes", "--quiet", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    for arguments in (["update", "--quiet"], ["install", *options, *missing]):
        done = subprocess.run(
            ["env", "DEBIAN_FRONTEND=noninteractive", apt, *arguments],
            capture_output=True, text=True, timeout=_INSTALL, check=False,
        )  # fmt: skip
        if done.returncode and arguments[0] == "install":
            raise RuntimeError(f"apt-get install {' '.join(missing)}: {done.stderr[-2000:]}")


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI") or os.environ.get("CLOUDFN_REQUIRE_DOCKER"):
        pytest.fail(f"No Docker engine for tests: {reason}", pytrace=False)
    pytest.skip(f"no Docker engine for tests: {reason}")


def _shared(factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the workers of one run of the tests have in common."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    with (folder / "engine.turn").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _started(folder: Path, users: Path, archive: Path) -> Engine:
    facts = folder / "engine.json"
    told = json.loads(facts.read_text()) if facts.exists() else None
    # A guardian whose users were all killed has left, with its home.
    if told is None or not Path(told["home"]).exists():
        told = _start(folder, users)
        changes = [word for each in base_image.CHANGES for word in ("--change", each)]
        run_docker(told["host"], "import", *changes, str(archive), _BASE)
        facts.write_text(json.dumps(told))
    return Engine(told["host"], told["registry"], _BASE, base_image.PYTHON, Path(told["home"]))


def _start(folder: Path, users: Path) -> dict[str, Any]:
    # Not under the run's folder: the path of a Unix socket has at most 107 bytes.
    home = tempfile.mkdtemp(prefix="cfd-")
    guardian = Path(__file__).with_name("guardian.py")
    with (folder / "guardian.log").open("wb") as log:
        # Nobody's child: it may outlive whoever started it. Its mounts are its own, too.
        process = subprocess.Popen(
            ["env", f"PATH={_SEARCHED}", "setsid", "--fork", "unshare", "--mount",
             "--propagation", "slave", sys.executable, str(guardian), home, str(users)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
    if not line:
        raise RuntimeError((folder / "guardian.log").read_text())
    told: dict[str, Any] = json.loads(line)
    return told


def _users(folder: Path, *, add: int | None = None, remove: int | None = None) -> list[int]:
    """Note who uses the engine; return who does, without those that have died."""
    file = folder / "engine.pids"
    noted = json.loads(file.read_text()) if file.exists() else []
    living = [pid for pid in noted if Path(f"/proc/{pid}").exists()]
    if add is not None:
        living.append(add)
    if remove is not None:
        living.remove(remove)
    file.write_text(json.dumps(living))
    return living


def _end(folder: Path) -> None:
    facts = folder / "engine.json"
    told = json.loads(facts.read_text())
    facts.unlink()
    with suppress(ProcessLookupError), os.fdopen(os.pidfd_open(told["guardian"])) as process:
        signal.pidfd_send_signal(process.fileno(), signal.SIGTERM)
        left, _, _ = select.select([process], [], [], _LEAVE)
        assert left, f"the engine in {told['home']} did not leave within {_LEAVE:.0f} s"
