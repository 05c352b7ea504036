"""Whether a process may be forked after an import: `observe` looks at it, `objection` is pure."""

from __future__ import annotations

import _thread
import os
import re
import sys
from dataclasses import dataclass

# Pools whose libraries bring them back in a forked child by a handler of their own. GNU's libgomp
# does not: a child that computes in parallel after its parent did hangs.
_REVIVED = re.compile(r"(?:openblas|^libmkl_|^libiomp5|^libomp)")
_STOPPED_BY_FORK = re.compile(r"openblas")
_CUDA = re.compile(r"^libcuda\.so")
_ACCELERATOR = "/dev/nvidia"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds that a fork does not carry over.

    Attributes:
        python_threads: Names of the threads that Python knows, without the main one.
        native_threads: How many threads there are beside those.
        descriptors: Open descriptors, each with what it leads to.
        libraries: File names of the shared libraries that are mapped.
        cuda: Whether a framework says that it has initialised CUDA.
    """

    python_threads: tuple[str, ...] = ()
    native_threads: int = 0
    descriptors: frozenset[tuple[int, str]] = frozenset()
    libraries: frozenset[str] = frozenset()
    cuda: bool = False


def observe() -> Footprint:
    """Look at this process."""
    names = _python_threads()
    tasks = len(os.listdir("/proc/self/task"))
    return Footprint(
        python_threads=names,
        native_threads=max(0, tasks - 1 - len(names)),
        descriptors=_descriptors(),
        libraries=_libraries(),
        cuda=_has_initialised_cuda(),
    )


def observe_after_import() -> Footprint:
    """Look at this process; idle threads that a fork stops anyway are stopped first."""
    seen = observe()
    if not seen.native_threads or seen.python_threads:
        return seen
    if any(map(_STOPPED_BY_FORK.search, seen.libraries)):
        # OpenBLAS ends its threads in the parent before a fork, and starts them when needed.
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        seen = observe()
    return seen


def objection(before: Footprint, after: Footprint) -> str:
    """Say why containers cannot be forked from a process, or "" when they can.

    Args:
        before: The process before it imported the program.
        after: The process after that.
    """
    opened = after.descriptors - before.descriptors
    if threads := _added(before.python_threads, after.python_threads):
        names = ", ".join(threads[:3]) + (", …" if len(threads) > 3 else "")
        return f"the import started {_count(len(threads), 'Python thread')} ({names})"
    if sockets := [fd for fd, target in opened if target.startswith("socket:")]:
        return f"the import opened {_count(len(sockets), 'socket')}"
    uses_cuda = any(map(_CUDA.search, after.libraries)) and any(
        target.startswith(_ACCELERATOR) for _, target in opened
    )
    if after.cuda or uses_cuda:
        return "the import initialised CUDA"
    native = after.native_threads - before.native_threads
    if native > 0 and not any(map(_REVIVED.search, after.libraries)):
        return f"the import started {_count(native, 'native thread')} that no fork carries over"
    return ""


def _added(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    added = list(after)
    for name in before:
        if name in added:
            added.remove(name)
    return added


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _python_threads() -> tuple[str, ...]:
    threading = sys.modules.get("threading")
    names: list[str] = []
    if threading is not None:
        main = threading.main_thread()
        names = [each.name for each in threading.enumerate() if each is not main and each.ident]
    # Threads started below `threading` have no names.
    unnamed = _thread._count() - len(names)  # noqa: SLF001 - nothing public counts them
    return (*names, *["unnamed"] * max(0, unnamed))


def _descriptors() -> frozenset[tuple[int, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except OSError:  # the one that listed the folder
            continue
    return frozenset(found)


def _libraries() -> frozenset[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        paths = {line.rstrip("\n").partition("/")[2] for line in maps}
    names = {path.rpartition("/")[2] for path in paths}
    return frozenset(name for name in names if ".so" in name)


def _has_initialised_cuda() -> bool:
    torch = sys.modules.get("torch")
    try:
        return torch is not None and bool(torch.cuda.is_initialized())
    except Exception:
        return False
