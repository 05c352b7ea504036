"""The recipe of an image as a virtual environment: commands in order, as data. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cloudfn.model.image import BASES, ImageSpec, Layer
from cloudfn.model.secret import SecretRef
from cloudfn.providers.recipes.packages import (
    INSTALLERS,
    Install,
    git_settings,
    install_of,
)

#: bases that a virtual environment can stand for
_BASES = frozenset({"debian_slim", "micromamba", "from_local_env"})


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are that a plan speaks of, all absolute paths.

    Attributes:
        python: The interpreter that the environment is made from, of the version that the image
            asks for; empty where there is none.
        version: Its version, `3.11`.
        folder: Where the environment is made.
        scratch: A folder for files of the build; gone afterwards.
        bundles: The folder of contexts, each under its digest.
        runtime: The folder with cloudfn and cloudpickle for containers.
        uv: The uv command; empty where there is none.
    """

    python: str
    version: str
    folder: str
    scratch: str
    bundles: str
    runtime: str
    uv: str = ""

    @property
    def own_python(self) -> str:
        """The interpreter of the environment."""
        return f"{self.folder}/bin/python"

    @property
    def packages(self) -> str:
        """The folder of the environment's packages."""
        return f"{self.folder}/lib/python{self.version}/site-packages"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a plan.

    Attributes:
        method: The builder's method that asked for it, for messages.
        argv: The command, never through a shell that is not named in it.
        env: Variables of this command alone, on top of the plan's.
        secrets: Secrets whose variables it sees as well.
        files: (absolute path, content) of files to write before.
        timeout: Seconds that it may take; None for no limit of its own.
    """

    method: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretRef, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Unmet:
    """What an image asks for and a virtual environment cannot give.

    Attributes:
        method: The builder's method.
        what: What is missing, as the end of a sentence.
    """

    method: str
    what: str


@dataclass(frozen=True, slots=True)
class EnvironmentPlan:
    """How to make the environment of an image.

    Attributes:
        python: The version that the image asks for, `3.12`; None for any.
        steps: Commands in order; the first makes the environment.
        env: Variables of all commands: those of the image, and that it is the active environment.
        unmet: What the environment will lack.
    """

    python: str | None
    steps: tuple[Step, ...]
    env: Mapping[str, str]
    unmet: tuple[Unmet, ...]

    def __str__(self) -> str:
        """The plan as people read it."""
        lines = [f"# Python {self.python or 'of any version'}"]
        lines += [f"# not possible: {each.method}: {each.what}" for each in self.unmet]
        for step in self.steps:
            lines.append(f"# {step.method}")
            for path, content in step.files:
                lines += [f"cat > {shlex.quote(path)} <<'END'", content.rstrip("\n"), "END"]
            shown = [f"{name}={shlex.quote(value)}" for name, value in step.env.items()]
            shown += [f"# with the secret {ref}" for ref in step.secrets]
            lines.append(" ".join([*shown[: len(step.env)], shlex.join(step.argv)]))
            lines += shown[len(step.env) :]
        return "\n".join(lines) + "\n"


def plan(spec: ImageSpec, places: Places) -> EnvironmentPlan:
    """Return how to make the environment of a resolved spec.

    Raises:
        InvalidError: An argument of a layer makes no sense.
    """
    return _Planner(spec, places).plan()


class _Planner:
    def __init__(self, spec: ImageSpec, places: Places) -> None:
        self._spec = spec
        self._places = places

    def plan(self) -> EnvironmentPlan:
        steps = [self._create()]
        for number, layer in enumerate(self._spec.build_layers):
            steps += self._steps(layer, f"{self._places.scratch}/{number}")
        return EnvironmentPlan(self._spec.python, tuple(steps), self._env(), tuple(self._unmet()))

    def _create(self) -> Step:
        places = self._places
        if places.uv:
            seed = ("--seed",) if self._needs_pip() else ()
            argv = (places.uv, "venv", *seed, "--python", places.python, places.folder)
        else:
            argv = (places.python, "-m", "venv", places.folder)
        base = next((each.method for each in self._spec.layers if each.method in BASES), "Image")
        return Step(base, argv)

    def _needs_pip(self) -> bool:
        """Whether pip has to do something although uv is there."""
        return any(
            layer.method in INSTALLERS and not self._by_uv(layer, install_of(layer))
            for layer in self._spec.build_layers
        )

    def _by_uv(self, layer: Layer, install: Install) -> bool:
        # Options in the user's own words are meant for the command of the method's name.
        return bool(self._places.uv) and (install.plain or layer.method == "uv_pip_install")

    def _env(self) -> dict[str, str]:
        folder = self._places.folder
        return {**self._spec.env, "VIRTUAL_ENV": folder}

    def _unmet(self) -> Iterator[Unmet]:
        wanted = self._spec.python
        if wanted and wanted != self._places.version:
            yield Unmet(self._spec.layers[0].method, f"Python {wanted} is not on this machine")
        for layer in self._spec.build_layers:
            if layer.method in BASES - _BASES:
                yield Unmet(layer.method, "a virtual environment has no base but Python")
            elif layer.method in _IMPOSSIBLE:
                yield Unmet(layer.method, _IMPOSSIBLE[layer.method])

    def _steps(self, layer: Layer, scratch: str) -> Iterator[Step]:
        if layer.method in INSTALLERS:
            yield from self._install(layer, scratch)

    def _install(self, layer: Layer, scratch: str) -> Iterator[Step]:
        install = install_of(layer)
        if not install.is_empty:
            by_uv = self._by_uv(layer, install)
            options = install.uv_options if by_uv else install.options
            files: tuple[tuple[str, str], ...] = ()
            if install.requirements:
                files = ((f"{scratch}-requirements.txt", install.requirements),)
                options += ("-r", files[0][0])
            argv = (*self._command(by_uv=by_uv), *options, *install.packages)
            if layer.method == "pip_install_private_repos":
                argv = ("/bin/sh", "-c", f"{git_settings(layer)} && exec {shlex.join(argv)}")
            yield Step(layer.method, argv, layer.env, layer.secrets, files)

    def _command(self, *, by_uv: bool) -> tuple[str, ...]:
        python = self._places.own_python
        if by_uv:
            return (self._places.uv, "pip", "install", "--python", python)
        return (python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check")


#: layers that a virtual environment has no place for, and why
_IMPOSSIBLE = {
    "apt_install": "packages of the system cannot be installed into a virtual environment",
    "run_commands": "commands of a build would change this machine",
    "dockerfile_commands": "there is no Dockerfile without Docker",
    "micromamba_install": "conda packages cannot be installed into a virtual environment",
}
