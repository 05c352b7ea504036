"""Finds the daemon of an environment, and starts it where none runs. Processes, files, sockets."""

from __future__ import annotations

import os
import stat
import sys
from _thread import allocate_lock
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cloudfn import errors
from cloudfn.clock import Clock, SystemClock
from cloudfn.sdk.session import Restarting, Session, connect
from cloudfn.settings import Settings, daemon_environ
from cloudfn.wire.frames import KEY_SIZE

if TYPE_CHECKING:
    from socket import socket
    from subprocess import Popen

_SOCKET = "daemon.sock"
_KEY = "key"
_LOG = "daemon.log"
_TURN = "start.lock"
_PATIENCE = 20.0
_STARTS = 20
_STARTS_WITHIN = 60.0
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1
_TAIL = 2_000
#: free bytes below which a daemon cannot be expected to start
_FULL = 64 << 10
#: daemons in turn that were leaving just when we came
_MOST_RESTARTS = 20


class Starter:
    """Opens sessions with the daemon of one environment.

    Args:
        settings: Which environment, and who we are.
        start: Whether a daemon that does not run is started.
        clock: What the time is.
    """

    def __init__(
        self, settings: Settings, *, start: bool = True, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._may_start = start and settings.container is None
        self._clock = clock or SystemClock()
        self._process: Popen[bytes] | None = None
        self._started: list[float] = []
        self._turn = _Turn(settings.state_dir / _TURN)
        #: threads that look for a daemon do so one after the other
        self._looking = allocate_lock()
        container = settings.container
        self._socket = Path(container.socket) if container else settings.state_dir / _SOCKET

    @classmethod
    def shared(cls, settings: Settings) -> Starter:
        """Return the one that this process has for an environment: it knows what was started."""
        return _shared(settings, os.getpid())

    def open(self) -> Session:
        """Return a session with the daemon, started if need be.

        Raises:
            ConnectionError: No daemon could be reached or started; the text says why.
            PermissionDeniedError: Others could reach into the state directory.
            Error: What the daemon answered.
        """
        for _ in range(_MOST_RESTARTS):
            try:
                return self._open_once()
            except Restarting:
                continue
        raise errors.ConnectionError(
            "The daemon is restarting again and again.", hint="Look at `cloudfn daemon logs`."
        )

    def prestart(self) -> None:
        """Begin to start the daemon where none runs, and do not wait for it."""
        self._prepare()
        try:
            connect(self._socket).close()
        except OSError:
            self._see_to_a_daemon()

    def _open_once(self) -> Session:
        if self._settings.container is None:
            self._prepare()
        session = Session(self._connected())
        try:
            session.shake_hands(self._key(), self._container_id())
        except BaseException:
            session.close()
            raise
        return session

    def _container_id(self) -> str | None:
        container = self._settings.container
        return container.container_id if container else None

    def _key(self) -> bytes:
        container = self._settings.container
        if container is not None:
            return bytes.fromhex(container.key)
        return environment_key(self._settings.state_dir)

    def _prepare(self) -> None:
        prepare_state_dir(self._settings)
        _check_private(self._socket, folder=False)

    def _connected(self) -> socket:
        try:
            return connect(self._socket)
        except OSError as error:
            if not self._may_start:
                raise self._unreachable(error) from error
        try:
            return self._wait_for_socket()
        finally:
            self._turn.give_back()

    def _unreachable(self, error: OSError) -> errors.ConnectionError:
        if self._settings.container is not None:
            return errors.ConnectionError(f"The engine of this container is gone: {error}.")
        return errors.ConnectionError(
            f"No daemon runs for the environment {self._settings.environment!r}.",
            hint="Start it with `cloudfn daemon start`.",
        )

    def _wait_for_socket(self) -> socket:
        deadline = self._clock.monotonic() + _PATIENCE
        pause = _FIRST_PAUSE
        while True:
            try:
                return connect(self._socket)
            except OSError:
                if self._clock.monotonic() >= deadline:
                    raise self._failed(f"did not listen within {_PATIENCE:g} seconds") from None
            self._see_to_a_daemon()
            self._clock.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _see_to_a_daemon(self) -> None:
        """Start a daemon, unless one that was started is on its way."""
        with self._looking:
            process = self._process
            status = None if process is None else process.poll()
            if process is not None and status is None:
                return
            self._process = None
            # `served` forgot the start of one that did its work before it ended.
            if status is not None and status > 0 and self._started:
                raise self._failed(f"ended with status {status}")
            # Otherwise it lost against one that somebody else started, it left, or it was killed.
            if self._turn.take():
                self._start()

    def _failed(self, what: str) -> errors.ConnectionError:
        log = self._settings.state_dir / _LOG
        tail = _tail(log)
        text = f"The daemon of the environment {self._settings.environment!r} {what}."
        if _is_full(log.parent):  # where its log is as well
            text += f" The disk of {log.parent} is full."
        if tail:
            text += f" The end of its log:\n{tail}"
        return errors.ConnectionError(
            text, hint=f"The whole log is {log}; `cloudfn doctor` looks for causes."
        )

    def served(self) -> None:
        """The daemon that was started last does its work: it is not one that cannot stay."""
        if self._started:
            self._started.clear()

    def _start(self) -> None:
        now = self._clock.monotonic()
        self._started = [at for at in self._started if now - at < _STARTS_WITHIN]
        if len(self._started) >= _STARTS:
            raise self._failed(
                f"was started {_STARTS} times within {_STARTS_WITHIN:g} seconds and did not stay"
            )
        self._started.append(now)
        self._process = start_daemon(self._settings)


class _Turn:
    """The right to start the daemon: of many that find none, one starts it and the others wait."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> bool:
        """Return whether it is ours; the kernel frees it when its owner dies."""
        if self._fd >= 0:
            return True
        try:
            import fcntl
        except ImportError:  # Windows
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def give_back(self) -> None:
        """Let others start daemons. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            import fcntl

            # A forked child may have a copy of the descriptor: closing ours would not do.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


@cache
def _shared(settings: Settings, _pid: int) -> Starter:
    return Starter(settings)


def start_daemon(settings: Settings) -> Popen[bytes]:
    """Start a daemon in a session of its own, with a cleaned environment, and return at once."""
    from subprocess import DEVNULL, Popen
    from threading import Thread

    state = settings.state_dir
    log = os.open(state / _LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_FOLLOW, 0o600)
    try:
        process = Popen(
            [sys.executable, "-P", "-m", "cloudfn.daemon", "--env", settings.environment],
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state,
            env=_environ(settings),
            start_new_session=True,
        )
    finally:
        os.close(log)
    # Somebody has to take note of its end, or its pid would look alive for ever.
    Thread(target=process.wait, name="cloudfn-daemon-exit", daemon=True).start()
    return process


def prepare_state_dir(settings: Settings) -> None:
    """Make the environment's directory, for its owner alone, or see that it is so.

    Raises:
        PermissionDeniedError: It is not private; the hint says how to make it so.
    """
    state = settings.state_dir
    if not _check_private(state, folder=True):
        settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            state.mkdir(mode=0o700)
        except FileExistsError:
            _check_private(state, folder=True)


def environment_key(state: Path) -> bytes:
    """Return the environment's key; whoever comes first makes it.

    Raises:
        DataLossError: The file is damaged.
        PermissionDeniedError: Others can read it.
    """
    path = state / _KEY
    if not _check_private(path, folder=False):
        _make_key(path)
    key = path.read_bytes()
    if len(key) != KEY_SIZE:
        raise errors.DataLossError(
            f"The key file {path} is damaged: {len(key)} bytes instead of {KEY_SIZE}.",
            hint="Stop the daemon and remove the file; results that wait to be fetched are lost.",
        )
    return key


def _make_key(path: Path) -> None:
    # Written aside and linked, so that nobody ever reads half a key and the first one wins.
    aside = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
    try:
        try:
            os.write(fd, os.urandom(KEY_SIZE))
            os.fsync(fd)
        finally:
            os.close(fd)
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.unlink(aside)


def _check_private(path: Path, *, folder: bool) -> bool:
    """Return whether it exists; raises PermissionDeniedError unless it is its owner's alone."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(info.st_mode):
        raise errors.PermissionDeniedError(
            f"{path} is a symbolic link.",
            hint=f"Remove the link, or set CLOUDFN_HOME to where the data should live: rm {path}",
        )
    if folder and not stat.S_ISDIR(info.st_mode):
        raise errors.PermissionDeniedError(
            f"{path} is not a directory.", hint=f"Remove it: rm {path}"
        )
    if not hasattr(os, "geteuid"):
        return True
    if info.st_uid != os.geteuid():
        raise errors.PermissionDeniedError(
            f"{path} belongs to another user (uid {info.st_uid}).",
            hint="Set CLOUDFN_HOME to a directory of your own.",
        )
    if info.st_mode & 0o077:
        mode = "700" if folder else "600"
        raise errors.PermissionDeniedError(
            f"Other users can reach {path} (mode {stat.S_IMODE(info.st_mode):04o}).",
            hint=f"Close it: chmod {mode} {path}",
        )
    return True


def _environ(settings: Settings) -> dict[str, str]:
    """Return the daemon's variables: cleaned, with cloudfn and what it needs importable."""
    environ = daemon_environ()
    environ["CLOUDFN_HOME"] = os.fspath(settings.root)
    homes = [_home_of("cloudfn"), _home_of("cloudpickle")]
    paths = [home for home in dict.fromkeys(homes) if home and not _is_own_of_interpreter(home)]
    if paths:
        environ["PYTHONPATH"] = os.pathsep.join(paths)
    return environ


def _home_of(package: str) -> str | None:
    """Return the directory that has to be on `sys.path` for a package to be found."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.origin:
        return None
    return os.path.dirname(os.path.dirname(os.path.abspath(spec.origin)))


def _is_own_of_interpreter(folder: str) -> bool:
    """Whether the interpreter looks there by itself; in front of all else it would hide modules."""
    return folder.startswith(os.path.join(sys.prefix, "")) and "site-packages" in folder


def _is_full(folder: Path) -> bool:
    try:
        space = os.statvfs(folder)
    except (OSError, AttributeError):  # Windows has none
        return False
    return space.f_bavail * space.f_frsize < _FULL


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
