"""The runtime folder: the part of cloudfn that containers import, and cloudpickle, by content.

It is the `PYTHONPATH` of containers that have an image, so that an image needs Python alone, and
nothing else of the machine's packages is seen there.
"""

from __future__ import annotations

import contextlib
import os
import py_compile
import shutil
import threading
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from cloudfn.errors import NotFoundError, ResourceExhaustedError

#: what containers import of cloudfn: everything that the standard library is enough for
MODULES = ("__init__", "clock", "errors", "exception", "experimental", "settings")
PACKAGES = ("model", "sdk", "wire", "worker")
#: of whom no part is used; `wire/codec.py` pickles with it
CLOUDPICKLE = "cloudpickle"

_DIGEST_LENGTH = 22
_PARTIAL_PREFIX = ".partial-"


def contents(package: Path, cloudpickle: Path) -> dict[str, Path]:
    """Return what goes into a runtime folder: where each file comes from, by its path in there.

    Args:
        package: The folder of cloudfn's own package.
        cloudpickle: The folder of cloudpickle's.
    """
    files = [package / f"{name}.py" for name in MODULES]
    for name in PACKAGES:
        files += sorted((package / name).rglob("*.py"))
    found = {f"cloudfn/{path.relative_to(package).as_posix()}": path for path in files}
    for path in sorted(cloudpickle.rglob("*.py")):
        found[f"{CLOUDPICKLE}/{path.relative_to(cloudpickle).as_posix()}"] = path
    return found


def make(runtimes: Path) -> Path:
    """Return the runtime folder of the cloudfn that runs here; make it unless it is there.

    Everybody may read it, since containers of Docker are other users. Those of other versions are
    removed: no container outlives the daemon that started it. So a daemon makes it once, whatever
    becomes of its sources while it runs.

    Args:
        runtimes: The folder that holds it, `runtime/` in the state directory.

    Raises:
        NotFoundError: cloudfn or cloudpickle are not installed as folders of sources.
        ResourceExhaustedError: There is no room for it.
    """
    sources = {
        name: path.read_bytes()
        for name, path in contents(_home("cloudfn"), _home(CLOUDPICKLE)).items()
    }
    target = runtimes / _digest(sources)
    if not _is_whole(target, sources):
        partial = target.with_name(f"{_PARTIAL_PREFIX}{os.urandom(8).hex()}")
        try:
            _replace(target, partial, sources)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise ResourceExhaustedError(
                f"What containers need of cloudfn cannot be put into {runtimes}: {error.strerror}.",
                hint="Make room there, or let CLOUDFN_HOME name another place.",
            ) from error
    for other in runtimes.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return target


class RuntimeFolder:
    """The runtime folder of one daemon, made when it is first asked for; any thread may ask.

    Args:
        runtimes: The folder that holds it, `runtime/` in the state directory.
    """

    def __init__(self, runtimes: Path) -> None:
        self._runtimes = runtimes
        self._lock = threading.Lock()
        self._made: Path | None = None

    def path(self) -> Path:
        """Return the folder.

        Raises:
            NotFoundError: cloudfn or cloudpickle are not installed as folders of sources.
        """
        with self._lock:
            if self._made is None:
                self._made = make(self._runtimes)
            return self._made


def _home(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise NotFoundError(
            f"The sources of {package} are not found: containers with an image need them.",
            hint=f"Install it anew: python -m pip install --force-reinstall {package}",
        )
    return Path(spec.submodule_search_locations[0])


def _digest(sources: dict[str, bytes]) -> str:
    state = sha256()
    for name, content in sorted(sources.items()):
        state.update(f"{name}\0{len(content)}\0".encode())
        state.update(content)
    return state.hexdigest()[:_DIGEST_LENGTH]


def _is_whole(folder: Path, sources: dict[str, bytes]) -> bool:
    """Whether all files have all their bytes, which a power cut may have prevented."""
    try:
        return all((folder / name).stat().st_size == len(sources[name]) for name in sources)
    except OSError:
        return False


def _replace(target: Path, partial: Path, sources: dict[str, bytes]) -> None:
    for name, content in sources.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        # Ahead, for this version of Python: in Docker the folder is read-only.
        with contextlib.suppress(py_compile.PyCompileError):
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(os.fspath(path), doraise=True, invalidation_mode=mode)
    for folder, _, files in os.walk(partial):
        os.chmod(folder, 0o755)  # noqa: S103 - a Docker container reads it as another user
        for name in files:
            os.chmod(os.path.join(folder, name), 0o644)
    # A damaged one of the same name stands in the way.
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
