"""Memory limits of containers: by cgroup where one may be made, else by watching resident sets."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cloudfn.model.function import Resources

_MIB = 1 << 20
_V2 = Path("/sys/fs/cgroup")
_V1 = Path("/sys/fs/cgroup/memory")


class MemoryGuard(Protocol):
    """Keeps containers under their memory limits."""

    def watch(self, container_id: str, pid: int, resources: Resources) -> None:
        """Enforce a container's limit from now on, if it has one."""
        ...

    def exceeded(self, container_id: str) -> bool:
        """Whether the container is over its limit and has to be ended by the caller."""
        ...

    def release(self, container_id: str) -> str | None:
        """Stop watching a container that has ended; return its limit as text if it broke it."""
        ...

    def close(self) -> None:
        """Leave nothing behind; every container has ended."""
        ...


def memory_guard(name: str) -> MemoryGuard:
    """Return the strictest guard that this machine allows; `name` keeps environments apart."""
    for root, files in ((_V1, _V1_FILES), (_V2, _V2_FILES)):
        base = root / f"cloudfn-{name}"
        try:
            base.mkdir(exist_ok=True)
        except OSError:
            continue
        if _limits_children(base, files):
            _remove_stale(base)
            return CgroupGuard(base, files)
        with contextlib.suppress(OSError):
            base.rmdir()
    return ResidentGuard()


@dataclass(frozen=True, slots=True)
class _Files:
    limit: str
    swap: str
    #: file and key that count kills for memory
    events: str


_V1_FILES = _Files("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control")
_V2_FILES = _Files("memory.max", "memory.swap.max", "memory.events")


def _remove_stale(base: Path) -> None:
    """Remove the groups of containers that died with an earlier daemon."""
    with contextlib.suppress(FileNotFoundError):  # another daemon of the same place was here
        for group in base.iterdir():
            if group.is_dir():
                with contextlib.suppress(OSError):
                    group.rmdir()


def _limits_children(base: Path, files: _Files) -> bool:
    """Whether groups below `base` can have memory limits."""
    if not (base / "cgroup.procs").exists():  # a plain directory, on some other file system
        return False
    if files is _V2_FILES:
        # A version 2 group has the controllers that its parent hands down.
        with contextlib.suppress(OSError):
            (base / "cgroup.subtree_control").write_text("+memory")
    probe = base / "probe"
    try:
        probe.mkdir(exist_ok=True)
        found = (probe / files.limit).exists()
        probe.rmdir()
    except OSError:
        return False
    return found


class CgroupGuard:
    """One cgroup per container that has a limit; the kernel ends what goes over it.

    A container whose group cannot be made is watched instead.
    """

    def __init__(self, base: Path, files: _Files) -> None:
        self._base = base
        self._files = files
        self._limits: dict[str, int] = {}
        self._watched = ResidentGuard()

    def watch(self, container_id: str, pid: int, resources: Resources) -> None:
        """See `MemoryGuard.watch`."""
        if resources.memory_limit is None:
            return
        group = self._base / container_id
        try:
            group.mkdir()
            (group / self._files.limit).write_text(str(resources.memory_limit * _MIB))
            with contextlib.suppress(OSError):
                swap = "0" if self._files is _V2_FILES else str(resources.memory_limit * _MIB)
                (group / self._files.swap).write_text(swap)
            (group / "cgroup.procs").write_text(str(pid))
        except OSError:
            # The container is gone already, or the hierarchy was taken away under us.
            with contextlib.suppress(OSError):
                group.rmdir()
            self._watched.watch(container_id, pid, resources)
            return
        self._limits[container_id] = resources.memory_limit

    def exceeded(self, container_id: str) -> bool:
        """See `MemoryGuard.exceeded`."""
        return self._watched.exceeded(container_id)

    def release(self, container_id: str) -> str | None:
        """See `MemoryGuard.release`."""
        limit = self._limits.pop(container_id, None)
        if limit is None:
            return self._watched.release(container_id)
        group = self._base / container_id
        killed = counts_kills(group / self._files.events)
        with contextlib.suppress(OSError):
            group.rmdir()
        return f"{limit} MiB" if killed else None

    def close(self) -> None:
        """See `MemoryGuard.close`."""
        _remove_stale(self._base)
        with contextlib.suppress(OSError):
            self._base.rmdir()


def events_of(pid: int) -> Path | None:
    """Return the file that counts kills for memory in the cgroup of a process; None: unknown."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for _, controllers, path in (line.split(":", 2) for line in lines):
        for wanted, root, files in (("memory", _V1, _V1_FILES), ("", _V2, _V2_FILES)):
            file = root / path.lstrip("/") / files.events
            if wanted in controllers.split(",") and file.exists():
                return file
    return None


def counts_kills(events: Path) -> bool:
    """Whether a cgroup tells of a kill for memory; one that is gone tells nothing."""
    try:
        lines = events.read_text().splitlines()
    except OSError:
        return False
    counts = dict(line.rsplit(" ", 1) for line in lines if " " in line)
    return int(counts.get("oom_kill", "0")) > 0


class ResidentGuard:
    """Looks at resident sets; slower than a cgroup, and never wrong about address space."""

    def __init__(self) -> None:
        self._limits: dict[str, tuple[int, int]] = {}
        self._broken: set[str] = set()
        self._page = os.sysconf("SC_PAGE_SIZE")

    def watch(self, container_id: str, pid: int, resources: Resources) -> None:
        """See `MemoryGuard.watch`."""
        if resources.memory_limit is not None:
            self._limits[container_id] = (pid, resources.memory_limit)

    def exceeded(self, container_id: str) -> bool:
        """See `MemoryGuard.exceeded`."""
        watched = self._limits.get(container_id)
        if watched is None:
            return False
        pid, limit = watched
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return False
        if pages * self._page <= limit * _MIB:
            return False
        self._broken.add(container_id)
        return True

    def release(self, container_id: str) -> str | None:
        """See `MemoryGuard.release`."""
        watched = self._limits.pop(container_id, None)
        broken = container_id in self._broken
        self._broken.discard(container_id)
        return f"{watched[1]} MiB" if watched is not None and broken else None

    def close(self) -> None:
        """See `MemoryGuard.close`."""
        self._limits.clear()
        self._broken.clear()
