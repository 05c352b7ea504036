"""Puts working copies of volumes where a container's code expects them. Linux only when used.

Each container has a copy of its own, and, where the kernel lets us, a mount namespace of its own in
which that copy is bound to the mount path: as root, or in a user namespace. Elsewhere the mount
path becomes a link to a descriptor, which leads each process to its own copy.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cloudfn.errors import ExecutionError

_NEW_MOUNTS, _NEW_USER = 0x20000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
#: flags of a mount that a user namespace may not take away: nosuid, nodev, noexec
_LOCKED = 2 | 4 | 8
#: makes one file share the blocks of another, on file systems that can
_FICLONE = 0x40049409
#: descriptors that links lead to, one for each mount path
_LOWEST, _MOST = 512, 128
_CHUNK = 1 << 30


@dataclass(frozen=True, slots=True)
class MountOrder:
    """One volume in one container.

    Attributes:
        path: Where its code sees it.
        folder: Its working copy; a file of that name with `.ready` tells that it is whole.
        read_only: Code cannot write to it.
        files: (path, file with the content, mtime in ns, mode) of each file.
    """

    path: str
    folder: str
    read_only: bool
    files: tuple[tuple[str, str, int, int], ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MountOrder:
        """Return the order; raises KeyError when a field is missing."""
        files = tuple((path, source, mtime, mode) for path, source, mtime, mode in data["files"])
        return cls(data["path"], data["folder"], bool(data["read_only"]), files)


def mount_all(orders: Iterable[MountOrder]) -> None:
    """Make the working copies and mount them; called before the process has threads.

    Raises:
        ExecutionError: The kernel or the place does not allow it; the hint says what to do.
    """
    orders = tuple(orders)
    if not orders:
        return
    private = _enter_namespace()
    for order in orders:
        populate(order, linked=private and order.read_only)
        if private:
            _bind(order)
        else:
            _link(order)


def populate(order: MountOrder, *, linked: bool) -> None:
    """Make a working copy; `linked` where nobody will write to its files."""
    os.makedirs(order.folder, mode=0o700, exist_ok=True)
    for path, source, mtime, mode in order.files:
        target = os.path.join(order.folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if linked:
            os.link(source, target)
        else:
            clone(source, target, mtime, mode)
    os.close(os.open(f"{order.folder}.ready", os.O_WRONLY | os.O_CREAT, 0o600))


def clone(source: str, target: str, mtime: int, mode: int) -> None:
    """Make an independent copy of a file, sharing its blocks where the file system can."""
    # A container may put anything in a file's place: a link elsewhere, a pipe that never ends.
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(reading).st_mode):
            raise FileNotFoundError(errno.ENOENT, "no file", source)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writing = os.open(target, flags, 0o600)
        try:
            if not _shared(reading, writing):
                while os.sendfile(writing, reading, None, _CHUNK):
                    pass
            os.fchmod(writing, mode & 0o777)
            os.utime(writing, ns=(mtime, mtime))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _shared(reading: int, writing: int) -> bool:
    import fcntl

    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError:
        return False
    return True


def _enter_namespace() -> bool:
    """Have mounts of our own; False where the kernel does not let us."""
    user, group = os.getuid(), os.getgid()
    try:
        _call("unshare", _NEW_MOUNTS)
    except OSError:
        try:
            _call("unshare", _NEW_MOUNTS | _NEW_USER)
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        except OSError:
            return False
    try:
        _call("mount", b"none", b"/", None, _RECURSIVE | _PRIVATE, None)
    except OSError:
        return False
    return True


def _bind(order: MountOrder) -> None:
    try:
        os.makedirs(order.path, exist_ok=True)
        folder, path = os.fsencode(order.folder), os.fsencode(order.path)
        _call("mount", folder, path, None, _BIND, None)
        if order.read_only:
            locked = os.statvfs(order.path).f_flag & _LOCKED
            _call("mount", None, path, None, _BIND | _REMOUNT | _RDONLY | locked, None)
    except OSError as error:
        raise _refused(order, error) from error


def _link(order: MountOrder) -> None:
    """Lead the mount path to a descriptor: in each process to the working copy of its own."""
    number = _LOWEST + zlib.crc32(order.path.encode()) % _MOST
    leads_to = f"/proc/self/fd/{number}"
    try:
        opened = os.open(order.folder, os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(opened, number, inheritable=True)
        os.close(opened)
        if not (os.path.islink(order.path) and os.readlink(order.path) == leads_to):
            os.symlink(leads_to, order.path)
    except FileExistsError as error:
        if not (os.path.islink(order.path) and os.readlink(order.path) == leads_to):
            raise _refused(order, error) from error
    except OSError as error:
        raise _refused(order, error) from error


def _refused(order: MountOrder, error: OSError) -> ExecutionError:
    return ExecutionError(
        f"The volume cannot be mounted at {order.path}: {error.strerror}.",
        hint=f"Make an empty directory {order.path} that is yours, or allow user namespaces "
        "(kernel.unprivileged_userns_clone, AppArmor), or mount it below a directory of yours.",
    )


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raises OSError where it fails."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
