"""Images of the process runtime: a virtual environment for each, made by uv or pip. Thin I/O.

A build writes into a folder of its own, at the path where it stays, since environments know where
they are. What makes it an image is the record beside it, which is renamed into place at the end:
whatever has no record was never whole, and is removed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import ImageBuildError
from cloudfn.model.image import ImageSpec
from cloudfn.providers.builds import Build, Builds
from cloudfn.providers.image_records import ImageRecords
from cloudfn.providers.images import BuildSecrets, BuiltImage, no_secrets
from cloudfn.providers.recipes.environment import EnvironmentPlan, Places, Step, plan

#: the first pip with the option `--python`
_OLDEST_PIP = (22, 3)
#: lines of a failed step's output that its error repeats
_TAIL = 20
_ASK_VERSION = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
_ASK_WHOLE_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


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
        self._pip = sys.executable if _has_pip() else ""
        self._clock = clock or SystemClock()
        self._builds = Builds()
        self._records = ImageRecords(root)
        #: X.Y → path of an interpreter, empty where there is none
        self._pythons: dict[str, str] = {}
        self._clear()

    # The port

    def find(self, spec: ImageSpec) -> BuiltImage | None:
        image = self._records.read(spec.digest)
        return image if image is not None and _runs(image) else None

    def build(
        self,
        spec: ImageSpec,
        report: Callable[[str], None],
        secrets: BuildSecrets = no_secrets,
        environ: Mapping[str, str] = MappingProxyType({}),
        *,
        anew: bool = False,
    ) -> BuiltImage:
        with self._builds.turn(spec.digest) as build:
            found = self.find(spec)
            # Who waited for the build of another has it as new as can be.
            if found is not None and not (anew and build.users == 1):
                return found
            return self._make(spec, build, report, secrets, environ)

    def cancel(self, digest: str) -> None:
        self._builds.cancel(digest)

    def plan(self, spec: ImageSpec) -> str:
        return str(self._plan(spec, self._root / f"{spec.digest}-…"))

    def unmet(self, spec: ImageSpec) -> tuple[str, ...]:
        unmet = self._plan(spec, self._root / spec.digest).unmet
        return tuple(dict.fromkeys(f"{each.method}: {each.what}" for each in unmet))

    def list(self) -> list[BuiltImage]:
        return [image for image in self._records.all() if _runs(image)]

    def remove(self, digest: str) -> bool:
        # First what makes it an image: without it the rest is a leftover.
        existed = self._records.forget(digest)
        for folder in self._root.glob(f"{digest}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        return existed

    def _clear(self) -> None:
        """Remove what an earlier process left half built, or replaced while it was in use."""
        if not self._root.is_dir():
            return
        images = self.list()
        kept = {Path(image.reference).parents[1].name for image in images}
        kept |= {self._records.path(image.digest).name for image in images}
        for path in self._root.iterdir():
            if path.name in kept:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    # Building

    def _make(
        self,
        spec: ImageSpec,
        build: Build,
        report: Callable[[str], None],
        secrets: BuildSecrets,
        environ: Mapping[str, str],
    ) -> BuiltImage:
        folder = self._root / f"{spec.digest}-{os.urandom(4).hex()}"
        scratch = folder.with_name(f"{folder.name}.scratch")
        path = os.pathsep.join([f"{folder}/bin", self._environ.get("PATH", os.defpath)])
        try:
            todo = self._plan(spec, folder)
            variables = {**self._environ, **environ, "PATH": path, **todo.env}
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch.mkdir(mode=0o700)
            for number, step in enumerate(todo.steps, 1):
                report(f"[{number}/{len(todo.steps)}] {step.method}")
                shown = _Redacted(report, [secrets(ref) for ref in step.secrets])
                self._carry_out(step, build, {**variables, **step.env}, shown)
            return self._finish(spec.digest, folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ImageBuildError(
                f"The image cannot be kept in {self._root}: {error.strerror or error}.",
                hint="`cloudfn image prune` makes room; CLOUDFN_HOME says where images lie.",
            ) from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _finish(self, digest: str, folder: Path) -> BuiltImage:
        python = folder / "bin" / "python"
        told = subprocess.run(
            [python, "-I", "-c", _ASK_WHOLE_VERSION], capture_output=True, text=True, check=False
        )
        if told.returncode:
            raise ImageBuildError(f"The Python of the image does not run: {told.stderr.strip()}")
        size, now = _size(folder), self._clock.wall()
        image = BuiltImage(digest, str(python), told.stdout.strip(), size, now)
        # What the environment holds is on disk before the record says that it is there.
        os.sync()
        self._records.write(image)
        return image

    def _carry_out(
        self, step: Step, build: Build, variables: dict[str, str], shown: _Redacted
    ) -> None:
        for name, content in step.files:
            Path(name).write_text(content, encoding="utf-8")
        tail: deque[str] = deque(maxlen=_TAIL)
        command = shown.text(shlex.join(step.argv))
        try:
            code = build.run(
                step.argv,
                {**variables, **shown.variables},
                self._root,
                lambda line: tail.append(shown.line(line)),
                step.timeout,
            )
        except OSError as error:
            raise _failed(step, command, error.strerror or str(error), tail) from error
        if code:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise _failed(step, command, how, tail)

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
            pip=self._pip,
        )
        return plan(spec, places)

    def _python(self, wanted: str) -> str:
        """Return the path of an interpreter of a version, `3.12`; empty where there is none."""
        if wanted == "{}.{}".format(*sys.version_info[:2]):
            return sys.executable
        # One that is missing may be installed while this daemon runs.
        if not self._pythons.get(wanted):
            self._pythons[wanted] = _asked(wanted, self._environ)
        return self._pythons[wanted]


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


def _runs(image: BuiltImage) -> bool:
    """Whether the Python is there that an environment was made from: it is a link to that."""
    return os.path.exists(image.reference)


def _asked(wanted: str, environ: Mapping[str, str]) -> str:
    """Ask `pythonX.Y` of the path what it is: names may be stand-ins that lead nowhere."""
    path = shutil.which(f"python{wanted}", path=environ.get("PATH"))
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
    return executable if told == wanted else ""


def _find_uv(environ: Mapping[str, str]) -> str:
    found = shutil.which("uv", path=environ.get("PATH"))
    if found is None and find_spec("uv") is not None:
        found = shutil.which("uv", path=os.path.dirname(sys.executable))
    return found or ""


def _has_pip() -> bool:
    """Whether this Python's pip can install into other environments."""
    try:
        numbers = version("pip").split(".")[:2]
    except PackageNotFoundError:
        return False
    return tuple(int(each) for each in numbers if each.isdecimal()) >= _OLDEST_PIP


def _size(folder: Path) -> int:
    """Return the bytes on disk; what is linked to more than once counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for where, _, files in os.walk(folder):
        for name in files:
            found = os.lstat(os.path.join(where, name))
            sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _failed(step: Step, command: str, how: str, tail: Iterable[str]) -> ImageBuildError:
    lines = "".join(f"\n  {line}" for line in tail)
    return ImageBuildError(
        f"The step {step.method} of the image failed ({how}): {command}{lines}",
        hint="`cloudfn image build FILE --dry-run` shows all steps.",
    )
