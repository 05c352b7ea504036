"""The daemon's place in the world: its lock, its socket, and leftovers of those before it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
from pathlib import Path

from cloudfn.agent.zygotes import MARKER
from cloudfn.errors import AlreadyExistsError

_BACKLOG = 1024
#: open files that a daemon with thousands of clients needs
_DESCRIPTORS = 65_536
#: a socket path has room for this many bytes
_SOCKET_PATH_MAX = 100


def raise_descriptor_limit() -> int:
    """Let this process have as many open files as it may: each client and container takes some.

    Returns:
        The limit before, which is what user code should meet: `select` breaks beyond 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft


class Lock:
    """The right to be the daemon of an environment: held for life, freed by the kernel."""

    def __init__(self, state_dir: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(state_dir / "daemon.lock", flags, 0o600)

    def acquire(self) -> None:
        """Take the lock, and leave our pid for people to read.

        Raises:
            AlreadyExistsError: Another daemon lives.
        """
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyExistsError("A daemon of this environment runs already.") from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let the next daemon in."""
        os.close(self._fd)


def listen(path: Path, kind: int = socket.SOCK_STREAM, mode: int = 0o600) -> socket.socket:
    """Return the listening socket; a stale file of an earlier daemon is no obstacle.

    Call it under the lock only: whoever holds it owns the name.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    server = socket.socket(socket.AF_UNIX, kind)
    # Nobody else may connect between bind and chmod.
    before = os.umask(0o777 & ~mode)
    try:
        with _short_name(path) as name:
            server.bind(name)
    finally:
        os.umask(before)
    server.listen(_BACKLOG)
    server.setblocking(False)  # noqa: FBT003
    return server


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _short_name:  # noqa: N801 - reads as a function
    """A name of a path that fits into a socket address, through our own descriptor if need be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _SOCKET_PATH_MAX:
            return str(self._path)
        self._fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}/{self._path.name}"

    def __exit__(self, *_exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def peer_is_us(sock: socket.socket) -> bool:
    """Whether the process at the other end belongs to our user."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], "little") == os.geteuid()


def end_leftovers(marker: str) -> int:
    """End every process that an earlier daemon of this environment started and left behind.

    They carry the marker in their environment, which they inherit however often they forked.

    Returns:
        How many there were.
    """
    wanted = f"{MARKER}={marker}".encode()
    ended = 0
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = Path(entry.path, "environ").read_bytes()
        except OSError:
            continue
        if wanted in environ.split(b"\0"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
    return ended
