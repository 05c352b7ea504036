"""Puts volumes and attached files where a container's code expects them. Linux only when used.

Each container has a working copy of a volume of its own, and, where the kernel lets us, a mount
namespace of its own in which that copy is bound to the mount path: as root, or in a user namespace.
Elsewhere the mount path becomes a link to a descriptor, which leads each process to its own copy.
Attached files are the same for all containers of a template, which sees them when it imports.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
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
        _mount(order.folder, order.path, "The volume", private=private, fixed=order.read_only)


def attach_all(attached: Iterable[tuple[str, str]]) -> None:
    """Let this process and its children see files and folders elsewhere, too, read-only.

    Args:
        attached: (file or folder, path) of each; called before the process has threads.

    Raises:
        ExecutionError: The kernel or the place does not allow it; the hint says what to do.
    """
    attached = tuple(attached)
    if not attached:
        return
    private = _enter_namespace()
    for source, path in attached:
        for needed in (sys.prefix, sys.base_prefix, os.path.dirname(source)):
            if f"{needed}/".startswith(f"{path}/"):
                raise ExecutionError(
                    f"Local files cannot be attached at {path}: that would hide {needed}, which "
                    "containers of this machine need.",
                    hint=f"Use a place of their own, such as {path}/data, or --runtime docker.",
                )
        _mount(source, path, "Local files", private=private, fixed=True)


def _mount(source: str, path: str, what: str, *, private: bool, fixed: bool) -> None:
    try:
        if private:
            _bind(source, path, fixed=fixed)
        else:
            _link(source, path)
    except OSError as error:
        raise _refused(path, what, error) from error


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


def _bind(source: str, path: str, *, fixed: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(path, exist_ok=True)
    elif not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    target = os.fsencode(path)
    _call("mount", os.fsencode(source), target, None, _BIND, None)
    if fixed:
        locked = os.statvfs(path).f_flag & _LOCKED
        _call("mount", None, target, None, _BIND | _REMOUNT | _RDONLY | locked, None)


def _link(source: str, path: str) -> None:
    """Lead a path to a descriptor: in each process to what is its own."""
    number = _LOWEST + zlib.crc32(path.encode()) % _MOST
    leads_to = f"/proc/self/fd/{number}"
    opened = os.open(source, os.O_RDONLY)
    os.dup2(opened, number, inheritable=True)
    os.close(opened)
    if os.path.islink(path) and os.readlink(path) == leads_to:
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.symlink(leads_to, path)
    except FileExistsError:
        # Another process may have been quicker.
        if not (os.path.islink(path) and os.readlink(path) == leads_to):
            raise


def _refused(path: str, what: str, error: OSError) -> ExecutionError:
    return ExecutionError(
        f"{what} cannot be mounted at {path}: {error.strerror}.",
        hint=f"Make an empty directory {path} that is yours, or allow user namespaces "
        "(kernel.unprivileged_userns_clone, AppArmor), or choose a path below a directory of "
        "yours.",
    )


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raises OSError where it fails."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
