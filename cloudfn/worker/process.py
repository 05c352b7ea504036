"""Keeps track of processes with what Linux offers: death signals, subreapers, /proc, pidfds."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import cache
from mmap import PAGESIZE, mmap
from typing import Any

from cloudfn.clock import Clock

#: variable that everything a zygote starts carries, so that leftovers are found
MARKER = "CLOUDFN_MARKER"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
#: seconds after which what cannot be killed is left alone
_CHILDREN_PATIENCE = 3.0
_MARKED_PATIENCE = 5.0
# Milliseconds.
_ROUND = 200
_PAUSE = 20
# Finding nothing twice in a row after a kill, or once at all, means that nothing is left.
_EMPTY_LOOKS = 2
_TAG = b"/memfd:cloudfn-"


def die_with(parent: int) -> None:
    """Have this process killed when the process `parent`, which started it, ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, instead of the machine's init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """Name this process for `top` and `ps`; 15 characters are shown."""
    with suppress(OSError), open("/proc/self/comm", "wb", buffering=0) as file:
        file.write(name.encode())


def kill_group(leader: int) -> None:
    """Kill a process group; its leader must not have been reaped yet."""
    with suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants, the oldest first."""
    pending = [pid]
    for each in pending:
        pending += children_of(each)
    for each in pending:
        with suppress(OSError):
            os.kill(each, signal.SIGKILL)


def kill_children(*, clock: Clock) -> bool:
    """Kill and reap all descendants of this process, which has to be a subreaper.

    Args:
        clock: Tells when patience is over.

    Returns:
        Whether none is left.
    """
    deadline = clock.monotonic() + _CHILDREN_PATIENCE
    while children := children_of(os.getpid()):
        if clock.monotonic() >= deadline:
            return False
        for pid in children:
            kill_tree(pid)
        _await_end(children)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return True


def children_of(pid: int) -> list[int]:
    """Return the children of a process; zombies are among them."""
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            children += map(int, _read(f"/proc/{pid}/task/{task}/children").split())
    except FileNotFoundError:
        # Kernels may come without that file; and a process that ended has no children.
        return [each for each in _processes() if parent_of(each) == pid]
    except OSError:
        return []
    return children


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, or None when there is no such process."""
    try:
        stat = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name stands in parentheses and may contain any character.
    return int(stat.rpartition(b")")[2].split()[1])


def variable_of(pid: int, name: str) -> str | None:
    """Return a variable of the environment that a process was started with."""
    try:
        environ = _read(f"/proc/{pid}/environ")
    except OSError:
        return None
    start = name.encode() + b"="
    for each in environ.split(b"\0"):
        if each.startswith(start):
            return each[len(start) :].decode(errors="surrogateescape")
    return None


def wear_tag(tag: str) -> mmap:
    """Map a page of memory that names this process and all that it forks, as long as it is kept.

    Unlike a variable, a process group or a descriptor, nothing but `exec` takes it off.
    """
    descriptor = os.memfd_create(f"cloudfn-{tag}")
    try:
        os.truncate(descriptor, PAGESIZE)
        return mmap(descriptor, PAGESIZE)
    finally:
        os.close(descriptor)


def tag_of(pid: int) -> str | None:
    """Return the tag that a process or an ancestor wore when it was forked."""
    try:
        maps = _read(f"/proc/{pid}/maps")
    except OSError:
        return None
    _, found, rest = maps.partition(_TAG)
    return rest.split(maxsplit=1)[0].decode() if found else None


def marked(name: str, value: str, spare: Collection[int] = ()) -> list[int]:
    """Return the processes that were started with this variable, or forked from one that was."""
    return [pid for pid in _processes() if pid not in spare and variable_of(pid, name) == value]


def kill_marked(name: str, value: str, *, clock: Clock, spare: Collection[int] = ()) -> bool:
    """Kill every process that was started with this variable, until none is left.

    Args:
        name: The variable.
        value: Its value.
        clock: Tells when patience is over.
        spare: Processes that stay.

    Returns:
        Whether none is left.
    """
    deadline = clock.monotonic() + _MARKED_PATIENCE
    empty_looks = 1
    while empty_looks < _EMPTY_LOOKS:
        found = marked(name, value, spare)
        if clock.monotonic() >= deadline:
            return not found
        if found:
            empty_looks = 0
            _await_end(found, lambda pid: variable_of(pid, name) == value)
        else:
            # In the midst of an `exec`, a process does not tell its environment.
            empty_looks += 1
            select.poll().poll(_PAUSE if empty_looks < _EMPTY_LOOKS else 0)
    return True


def _await_end(pids: Iterable[int], kill: Callable[[int], bool] = lambda _pid: False) -> None:
    """Wait a moment for the end of processes; kill those of which `kill` says so."""
    handles: list[int] = []
    try:
        for pid in pids:
            with suppress(OSError):
                handles.append(os.pidfd_open(pid))
                # The number may belong to another process by now; the descriptor cannot.
                if kill(pid):
                    signal.pidfd_send_signal(handles[-1], signal.SIGKILL)
        for handle in handles:
            waiting = select.poll()
            waiting.register(handle, select.POLLIN)
            waiting.poll(_ROUND)
    finally:
        for handle in handles:
            os.close(handle)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall() or b""


@cache
def _libc_prctl() -> Callable[..., int]:
    import ctypes

    prctl: Any = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return prctl  # type: ignore[no-any-return]


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc_prctl()(option, value, 0, 0, 0)
