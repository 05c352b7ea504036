"""Images of the process runtime: a virtual environment for each, made by uv or pip. Thin I/O.

A build writes into a folder of its own, at the path where it stays, since environments know where
they are. What makes it an image is the record beside it, which is renamed into place at the end:
whatever has no record was never whole, and is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import ImageBuildError
from cloudfn.model.image import ImageSpec
from cloudfn.providers.images import BuildSecrets, BuiltImage, no_secrets
from cloudfn.providers.recipes.environment import EnvironmentPlan, Places, Step, plan

_RECORD = ".json"
#: lines of a failed step's output that its error repeats
_TAIL = 20
#: seconds that a cancelled build has to leave before it is killed
_GRACE = 2.0
_ASK_VERSION = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
_ASK_WHOLE_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


@dataclass(slots=True)
class _Build:
    """A build that is under way, or wanted by several."""

    #: one builds, the others wait for it
    turn: threading.Lock
    #: how many build it or wait
    users: int = 0
    cancelled: bool = False
    process: subprocess.Popen[str] | None = None


class VenvImages:
    """The `Images` port as virtual environments, for the one process that owns their folder.

    Args:
        root: The folder of all of them.
        bundles: The folder of source bundles, where contexts are.
        environ: Variables of the commands that build.
        runtime: Gives the folder with cloudfn and cloudpickle.
        uv: The command uv; None looks for it, empty does without.
        clock: The time.
    """

    def __init__(
        self,
        root: Path,
        bundles: Path,
        environ: Mapping[str, str],
        runtime: Callable[[], Path],
        *,
        uv: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._root = root
        self._bundles = bundles
        self._environ = dict(environ)
        self._runtime = runtime
        self._uv = _find_uv(self._environ) if uv is None else uv
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._builds: dict[str, _Build] = {}
        #: X.Y → path of an interpreter, empty where there is none
        self._pythons: dict[str, str] = {}
        self._clear()

    # The port

    def find(self, spec: ImageSpec) -> BuiltImage | None:
        return self._read(self._record(spec.digest))

    def build(
        self,
        spec: ImageSpec,
        report: Callable[[str], None],
        secrets: BuildSecrets = no_secrets,
        environ: Mapping[str, str] = MappingProxyType({}),
        *,
        anew: bool = False,
    ) -> BuiltImage:
        with self._building(spec.digest) as build:
            found = self.find(spec)
            # Who waited for the build of another has it as new as can be.
            if found is not None and not (anew and build.users == 1):
                return found
            return self._make(spec, build, report, secrets, environ)

    def cancel(self, digest: str) -> None:
        with self._lock:
            build = self._builds.get(digest)
            if build is not None:
                build.cancelled = True
                if build.process is not None:
                    _signal_group(build.process, signal.SIGTERM)
                    _later(_GRACE, build.process)

    def plan(self, spec: ImageSpec) -> str:
        return str(self._plan(spec, self._root / f"{spec.digest}-…"))

    def unmet(self, spec: ImageSpec) -> tuple[str, ...]:
        unmet = self._plan(spec, self._root / spec.digest).unmet
        return tuple(dict.fromkeys(f"{each.method}: {each.what}" for each in unmet))

    def list(self) -> list[BuiltImage]:
        found = [self._read(path) for path in self._root.glob(f"*{_RECORD}")]
        images = [each for each in found if each is not None]
        return sorted(images, key=lambda image: image.created, reverse=True)

    def remove(self, digest: str) -> bool:
        record = self._record(digest)
        existed = record.exists()
        # First what makes it an image: without it the rest is a leftover.
        record.unlink(missing_ok=True)
        for folder in self._root.glob(f"{digest}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        return existed

    # Records

    def _record(self, digest: str) -> Path:
        return self._root / f"{digest}{_RECORD}"

    def _read(self, record: Path) -> BuiltImage | None:
        try:
            image = BuiltImage(**json.loads(record.read_bytes()))
            os.stat(image.reference)  # through the link to the Python that it was made from
        except (OSError, ValueError, TypeError):
            return None
        return image

    def _write(self, image: BuiltImage) -> None:
        # What the environment holds is on disk before the record says that it is there.
        os.sync()
        record = self._record(image.digest)
        aside = record.with_name(f".{record.name}.{os.urandom(4).hex()}")
        with aside.open("w") as file:
            json.dump(asdict(image), file)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(record)
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _clear(self) -> None:
        """Remove what an earlier process left half built, or replaced while it was in use."""
        if not self._root.is_dir():
            return
        images = self.list()
        kept = {Path(image.reference).parents[1].name for image in images}
        kept |= {self._record(image.digest).name for image in images}
        for path in self._root.iterdir():
            if path.name in kept:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    # Building

    @contextmanager
    def _building(self, digest: str) -> Iterator[_Build]:
        """Wait for the turn to build an image."""
        with self._lock:
            build = self._builds.setdefault(digest, _Build(threading.Lock()))
            build.users += 1
        try:
            with build.turn:
                build.cancelled = False  # whoever was cancelled has left
                yield build
        finally:
            with self._lock:
                build.users -= 1
                if not build.users:
                    del self._builds[digest]

    def _make(
        self,
        spec: ImageSpec,
        build: _Build,
        report: Callable[[str], None],
        secrets: BuildSecrets,
        environ: Mapping[str, str],
    ) -> BuiltImage:
        folder = self._root / f"{spec.digest}-{os.urandom(4).hex()}"
        scratch = folder.with_name(f"{folder.name}.scratch")
        todo = self._plan(spec, folder)
        path = os.pathsep.join([f"{folder}/bin", self._environ.get("PATH", os.defpath)])
        variables = {**self._environ, **environ, "PATH": path, **todo.env}
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch.mkdir(mode=0o700)
            for number, step in enumerate(todo.steps, 1):
                report(f"[{number}/{len(todo.steps)}] {step.method}")
                shown = _Redacted(report, [secrets(ref) for ref in step.secrets])
                self._carry_out(step, build, {**variables, **step.env}, shown)
            return self._finish(spec.digest, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _finish(self, digest: str, folder: Path) -> BuiltImage:
        python = folder / "bin" / "python"
        version = subprocess.run(
            [python, "-I", "-c", _ASK_WHOLE_VERSION], capture_output=True, text=True, check=True
        ).stdout.strip()
        image = BuiltImage(digest, str(python), version, _size(folder), self._clock.wall())
        self._write(image)
        return image

    def _carry_out(
        self, step: Step, build: _Build, variables: dict[str, str], shown: _Redacted
    ) -> None:
        for name, content in step.files:
            Path(name).write_text(content, encoding="utf-8")
        tail: deque[str] = deque(maxlen=_TAIL)
        with self._lock:
            if build.cancelled:
                raise _cancelled()
            build.process = process = self._start(step, {**variables, **shown.variables})
        timer = None if step.timeout is None else _later(step.timeout, process)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                tail.append(shown.line(line.rstrip("\n")))
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:
                build.process = None
            # While its status is not collected, nobody else can have its number.
            _signal_group(process, signal.SIGKILL)
            with process:
                pass
        if build.cancelled:
            raise _cancelled()
        if process.returncode:
            command = shown.text(" ".join(step.argv))
            raise _failed(step, command, process.returncode, list(tail))

    def _start(self, step: Step, variables: dict[str, str]) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                step.argv,
                env=variables,
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise ImageBuildError(
                f"The step {step.method} of the image cannot be started: {step.argv[0]}: "
                f"{error.strerror}."
            ) from error

    # Plans

    def _plan(self, spec: ImageSpec, folder: Path) -> EnvironmentPlan:
        own = "{}.{}".format(*sys.version_info[:2])
        wanted = spec.python or own
        found = self._python(wanted)
        places = Places(
            python=found or sys.executable,
            version=wanted if found else own,
            folder=str(folder),
            scratch=f"{folder}.scratch",
            bundles=str(self._bundles),
            runtime=str(self._runtime()),
            uv=self._uv,
        )
        return plan(spec, places)

    def _python(self, version: str) -> str:
        """Return the path of an interpreter of a version, `3.12`; empty where there is none."""
        if version == "{}.{}".format(*sys.version_info[:2]):
            return sys.executable
        if version not in self._pythons:
            self._pythons[version] = _asked(version, self._environ)
        return self._pythons[version]


class _Redacted:
    """A step's output without the values of its secrets."""

    def __init__(self, report: Callable[[str], None], secrets: list[Mapping[str, str]]) -> None:
        self._report = report
        self.variables = {name: value for each in secrets for name, value in each.items()}

    def line(self, line: str) -> str:
        """Report a line and return it."""
        text = self.text(line)
        self._report(text)
        return text

    def text(self, text: str) -> str:
        """Return a text with stars for what is secret."""
        for value in self.variables.values():
            if value:
                text = text.replace(value, "***")
        return text


def _asked(version: str, environ: Mapping[str, str]) -> str:
    """Ask `pythonX.Y` of the path what it is: names may be stand-ins that lead nowhere."""
    path = shutil.which(f"python{version}", path=environ.get("PATH"))
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK_VERSION],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    told, _, executable = done.stdout.strip().partition(" ")
    return executable if told == version else ""


def _find_uv(environ: Mapping[str, str]) -> str:
    found = shutil.which("uv", path=environ.get("PATH"))
    if found is None and find_spec("uv") is not None:
        found = shutil.which("uv", path=os.path.dirname(sys.executable))
    return found or ""


def _size(folder: Path) -> int:
    """Return the bytes on disk; what is linked to more than once counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for where, _, files in os.walk(folder):
        for name in files:
            found = os.lstat(os.path.join(where, name))
            sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _later(seconds: float, process: subprocess.Popen[str]) -> threading.Timer:
    """Kill a process with all that it started after some seconds."""
    timer = threading.Timer(seconds, _kill, (process,))
    timer.daemon = True
    timer.start()
    return timer


def _kill(process: subprocess.Popen[str]) -> None:
    if process.returncode is None:
        _signal_group(process, signal.SIGKILL)


def _cancelled() -> ImageBuildError:
    return ImageBuildError("The build of the image was cancelled.", hint="Start it again.")


def _failed(step: Step, command: str, code: int, tail: list[str]) -> ImageBuildError:
    how = f"exit code {code}" if code > 0 else f"signal {-code}"
    lines = "".join(f"\n  {line}" for line in tail)
    return ImageBuildError(
        f"The step {step.method} of the image failed ({how}): {command}{lines}",
        hint="`cloudfn image build FILE --dry-run` shows all steps.",
    )
