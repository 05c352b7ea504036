"""What a tree of processes costs: CPU seconds and memory, by cgroup if writable, else by /proc."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HIERARCHIES = ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_TICKS = os.sysconf("SC_CLK_TCK")
GROUP_VARIABLE = "BENCH_GROUP"
FOLDER_VARIABLE = "BENCH_FOLDER"


@dataclass(frozen=True, slots=True)
class Tree:
    """All processes of one run: those of a cgroup, or those that carry the run's folder.

    Attributes:
        folder: The private folder of the run; its path marks the run's processes.
        group: The cgroup's folder, or None where none could be made.
    """

    folder: str
    group: str | None

    def cpu_seconds(self) -> float:
        """CPU seconds used so far by the whole tree, dead processes included."""
        if self.group is None:
            return sum(_process_cpu(pid) for pid in self.pids())
        usage = _read(f"{self.group}/cpuacct.usage")
        if usage:
            return int(usage) / 1e9
        fields = dict(line.split() for line in _read(f"{self.group}/cpu.stat").splitlines())
        return int(fields["usage_usec"]) / 1e6

    def pids(self) -> list[int]:
        """The processes that are alive, lowest pid first."""
        if self.group is None:
            return sorted(_marked(self.folder))
        lists = (_read(str(path)) for path in Path(self.group).rglob("cgroup.procs"))
        return sorted({int(pid) for text in lists for pid in text.split()})

    def pss_mib(self) -> dict[int, float]:
        """Proportional set size of each live process, in MiB."""
        sizes = {pid: _pss_kib(pid) / 1024 for pid in self.pids()}
        return {pid: size for pid, size in sizes.items() if size > 0}

    def kill(self) -> int:
        """Kill what is left of the run, return how many processes that were."""
        left = [pid for pid in self.pids() if pid != os.getpid()]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(left)

    def remove(self) -> None:
        """Remove the cgroup; one that is still busy stays behind."""
        if self.group is None:
            return
        for path in sorted(Path(self.group).rglob("*"), reverse=True):
            if path.is_dir():
                _rmdir(path)
        _rmdir(Path(self.group))

    def environment(self) -> dict[str, str]:
        """The variables by which a process of the run finds its tree."""
        return {FOLDER_VARIABLE: self.folder, GROUP_VARIABLE: self.group or ""}

    def enter(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv` inside the tree."""
        if self.group is None:
            return argv
        script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        return ["/bin/sh", "-c", script, self.group, *argv]


def new_tree(folder: str) -> Tree:
    """A tree for a run that owns `folder`, with a cgroup of its own where that is allowed."""
    name = os.path.basename(folder)
    for hierarchy in _HIERARCHIES:
        group = Path(hierarchy, name)
        if not Path(hierarchy, "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / "cpuacct.usage").exists() or (group / "cpu.stat").exists():
            return Tree(folder, str(group))
        _rmdir(group)
    return Tree(folder, None)


def own_tree() -> Tree:
    """The tree of the calling process, as bench/run.py set it up."""
    return Tree(os.environ[FOLDER_VARIABLE], os.environ.get(GROUP_VARIABLE) or None)


def machine_cpu_seconds() -> float:
    """CPU seconds used so far by everything on this machine, steal and idle left out."""
    user, nice, system, _idle, _wait, irq, softirq = map(int, _read("/proc/stat").split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def memory_mib(field: str) -> float:
    """`VmRSS` or `VmHWM` of the calling process, in MiB."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def reset_peak() -> None:
    """Let `VmHWM` start anew from the present resident set, where the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _marked(folder: str) -> set[int]:
    """Processes whose environment or command line names `folder`, and their descendants."""
    needle = folder.encode()
    parents: dict[int, int] = {}
    found: set[int] = set()
    for pid in _all_pids():
        parents[pid] = _parent(pid)
        if needle in _read_bytes(f"/proc/{pid}/environ") + _read_bytes(f"/proc/{pid}/cmdline"):
            found.add(pid)
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        found |= children
        grown = bool(children)
    return found


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the name before may hold spaces."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _process_cpu(pid: int) -> float:
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / _TICKS if fields else 0.0


def _pss_kib(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _read(path: str) -> str:
    return _read_bytes(path).decode(errors="replace")


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return
