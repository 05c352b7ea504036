"""What `cloudfn doctor` looks at. Each check takes what it judges and returns a Finding."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudfn.errors import Error
from cloudfn.model.gpu import Gpu
from cloudfn.providers.findings import Finding

MIN_PYTHON = (3, 11)
_LOW_SPACE = 1 << 30
_NO_SPACE = 100 << 20
#: SQLite's shared memory and locks do not work over these
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "9p"}
)


def check_python(version: tuple[int, ...]) -> Finding:
    """Judge the interpreter's version."""
    text = ".".join(map(str, version[:3]))
    if version[:2] >= MIN_PYTHON:
        return Finding("python", "ok", text)
    return Finding("python", "fail", text, "cloudfn needs Python 3.11 or newer.")


def check_platform(system: str) -> Finding:
    """Judge the operating system."""
    if system == "linux":
        return Finding("platform", "ok", system)
    return Finding(
        "platform",
        "warn",
        f"{system}: the local engine is made for Linux",
        "Use it as a client of a Linux machine.",
    )


def check_state_dir(path: Path, user: int) -> Finding:
    """Judge whether the state directory belongs to its owner alone, or can be made."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return _check_creatable(path)
    except OSError as error:
        return Finding("state directory", "fail", f"{path}: {error.strerror}")
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no directory"
        return Finding(
            "state directory", "fail", f"{path} is {kind}", "Move it away, or set CLOUDFN_HOME."
        )
    if found.st_uid != user:
        hint = "Set CLOUDFN_HOME to a directory of your own."
        return Finding("state directory", "fail", f"{path} belongs to user {found.st_uid}", hint)
    if found.st_mode & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):o}"
        hint = f"chmod 700 {path}"
        return Finding("state directory", "fail", f"{path} is open to others ({mode})", hint)
    return Finding("state directory", "ok", str(path))


def check_filesystem(path: Path, mounts: str) -> Finding:
    """Judge the file system under `path` by the text of /proc/self/mounts."""
    mount, kind = _filesystem_of(path, mounts)
    if kind in _NETWORK or kind.startswith(("fuse.sshfs", "fuse.s3", "fuse.gluster")):
        return Finding(
            "file system",
            "fail",
            f"{mount} is a network file system ({kind})",
            "Set CLOUDFN_HOME to a directory on a local disk.",
        )
    if kind in ("tmpfs", "ramfs"):
        return Finding(
            "file system",
            "warn",
            f"{mount} lies in memory ({kind}): a power cut loses it",
            "Set CLOUDFN_HOME to a directory on a disk.",
        )
    return Finding("file system", "ok", f"{kind or 'unknown'} at {mount}")


def check_space(what: str, path: Path, free: int) -> Finding:
    """Judge the free bytes at `path`."""
    text = f"{free / (1 << 30):,.1f} GiB free at {path}"
    if free < _NO_SPACE:
        return Finding(what, "fail", text, "Make room, or set CLOUDFN_HOME to another disk.")
    if free < _LOW_SPACE:
        return Finding(what, "warn", text, "Large arguments and results may not find room.")
    return Finding(what, "ok", text)


def check_socket(path: Path, user: int) -> Finding:
    """Judge what lies at the daemon's socket path, if anything does."""
    try:
        found = path.lstat()
    except OSError:
        return Finding("socket", "ok", f"{path} (made when the daemon starts)")
    if stat.S_ISSOCK(found.st_mode) and found.st_uid == user:
        return Finding("socket", "ok", str(path))
    return Finding("socket", "fail", f"{path} is no socket of yours", f"Remove it: rm {path}")


def check_memory_limits(mechanism: str) -> Finding:
    """Judge how memory limits will be kept: `cgroup v1`, `cgroup v2` or `watching`."""
    if mechanism != "watching":
        return Finding("memory limits", "ok", f"kept by the kernel ({mechanism})")
    return Finding(
        "memory limits",
        "warn",
        "kept by watching resident memory; no cgroup can be made here",
        "Run under a delegated cgroup (systemd user session) for limits that cannot be overrun.",
    )


def check_docker(found: tuple[str, str] | Error, *, wanted: bool) -> Finding:
    """Judge the docker runtime.

    Args:
        found: The version of the engine, and the command that builds images; or what is missing.
        wanted: Containers are Docker's unless somebody says otherwise.
    """
    if not isinstance(found, Error):
        return Finding("docker", "ok", f"engine {found[0]}; {found[1]} builds images")
    if wanted:
        return Finding("docker", "fail", found.message, found.hint or "")
    return Finding("docker", "ok", f"not for --runtime docker: {found.message}")


def check_processes(*, fork: bool, pidfd: bool, proc: bool) -> Finding:
    """Judge what the engine needs of the kernel to start and find its containers."""
    names = {"/proc": proc, "fork": fork, "pidfd": pidfd}
    missing = [name for name, there in names.items() if not there]
    if not missing:
        return Finding("processes", "ok", "fork, pidfd and /proc are there")
    text = f"missing: {', '.join(missing)}"
    if missing == ["pidfd"]:
        return Finding("processes", "warn", text, "Use Linux 5.3 or newer.")
    hint = "Mount /proc without hidepid." if not proc else "Containers start slower here."
    return Finding("processes", "fail" if not proc else "warn", text, hint)


def check_gpus(gpus: Sequence[Mapping[str, Any]], used: Mapping[str, int]) -> Iterator[Finding]:
    """Judge the GPUs of this machine.

    Args:
        gpus: The fields of each, and `containers`: ids of those that have it, or a part of it.
        used: MiB in use of each, by its id, where somebody knows.
    """
    if not gpus:
        yield Finding("gpus", "ok", "none")
    for each in gpus:
        gpu = Gpu(each["index"], each["uuid"], each["name"], each["memory"])
        facts = [gpu.shown]
        if gpu.memory and gpu.device_id in used:
            facts.append(f"{used[gpu.device_id]:,} of {gpu.memory:,} MiB in use")
        elif gpu.memory:
            facts.append(f"{gpu.memory:,} MiB")
        if each["containers"]:
            facts.append(f"given to {', '.join(each['containers'])}")
        text, check = "; ".join(facts), f"gpu {gpu.index}"
        if gpu.name and gpu.memory:
            yield Finding(check, "ok", text)
        else:
            hint = "`pip install cloudfn[gpu]` to have the driver asked for type and memory."
            yield Finding(check, "warn", text, hint)


def check_daemon(status: Mapping[str, Any] | None, code: str) -> Iterator[Finding]:
    """Judge what the daemon says of itself; None: none runs."""
    if status is None:
        yield Finding("daemon", "ok", "not running; it starts when needed")
        return
    version = str(status.get("version", "unknown"))
    if version == code:
        yield Finding("daemon", "ok", f"pid {status.get('pid')}, version {version}")
    else:
        yield Finding(
            "daemon",
            "warn",
            f"version {version}, this command is {code}",
            "The older one drains and restarts when a newer client connects.",
        )
    yield _check_ledger(status.get("trouble"))


def memory_mechanism(root: Path = Path("/sys/fs/cgroup"), probe: str = "cloudfn-doctor") -> str:
    """Return how memory limits can be kept here, by making a cgroup and removing it."""
    if _can_make(root / "memory" / probe, "memory.limit_in_bytes"):
        return "cgroup v1"
    controllers = root / "cgroup.controllers"
    if controllers.is_file() and "memory" in controllers.read_text().split():
        return "cgroup v2" if _can_make(root / probe, "cgroup.procs") else "watching"
    return "watching"


def _can_make(folder: Path, file: str) -> bool:
    try:
        folder.mkdir()
    except OSError:
        return False
    made = (folder / file).exists()
    folder.rmdir()
    return made


def _check_creatable(path: Path) -> Finding:
    parent = path
    while not parent.exists():
        parent = parent.parent
    if os.access(parent, os.W_OK | os.X_OK) and parent.is_dir():
        return Finding("state directory", "ok", f"{path} (made on first use)")
    hint = "Set CLOUDFN_HOME to a directory of your own."
    return Finding("state directory", "fail", f"{path}: {parent} is not writable", hint)


def _check_ledger(trouble: object) -> Finding:
    if trouble:
        hint = "See `cloudfn daemon logs`; a full disk is the usual reason."
        return Finding("ledger", "fail", str(trouble), hint)
    return Finding("ledger", "ok", "readable and writable")


def _filesystem_of(path: Path, mounts: str) -> tuple[str, str]:
    resolved = os.path.realpath(path)
    best, kind = "/", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Spaces in a mount point are written in octal.
        point = fields[1].replace("\\040", " ")
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return best, kind
