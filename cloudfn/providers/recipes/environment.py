"""The recipe of an image as a virtual environment: commands in order, as data. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from cloudfn.model.image import BASES, ImageSpec, Layer
from cloudfn.model.secret import SecretRef
from cloudfn.providers.recipes.packages import (
    INSTALLERS,
    Install,
    export_options,
    git_settings,
    install_of,
    poetry_packages,
    pretended_version,
    sync_options,
)

#: options of every pip
_QUIET = ("--no-input", "--disable-pip-version-check")
#: what needs pip where there is no uv, beside `INSTALLERS`
_BY_PIP_WITHOUT_UV = frozenset({"uv_sync", "poetry_install_from_file"})
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
        pip: A Python whose pip can install into other environments; empty where there is none, so
            that each environment needs its own.
    """

    python: str
    version: str
    folder: str
    scratch: str
    bundles: str
    runtime: str
    uv: str = ""
    pip: str = ""

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
        env: Variables of this command: its own, and those that the image set before.
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
        env: Variables of all commands, beside those that each has.
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
        steps, layers = [self._create()], self._spec.build_layers
        for number, layer in enumerate(layers):
            before = ImageSpec(layers[:number])
            found = self._steps(layer, f"{self._places.scratch}/{number}", before)
            steps += [replace(step, env={**before.env, **step.env}) for step in found]
        env = {"VIRTUAL_ENV": self._places.folder}
        return EnvironmentPlan(self._spec.python, tuple(steps), env, tuple(self._unmet()))

    def _create(self) -> Step:
        places = self._places
        if places.uv:
            seed = ("--seed",) if self._needs_pip() and not places.pip else ()
            argv = (places.uv, "venv", *seed, "--python", places.python, places.folder)
        else:
            own = self._needs_pip() and not places.pip
            bare = () if own else ("--without-pip",)
            argv = (places.python, "-m", "venv", *bare, places.folder)
        base = next((each.method for each in self._spec.layers if each.method in BASES), "Image")
        return Step(base, argv)

    def _needs_pip(self) -> bool:
        """Whether the environment's own pip has something to do."""
        return any(
            (layer.method in INSTALLERS and not self._by_uv(layer, install_of(layer)))
            or (layer.method in _BY_PIP_WITHOUT_UV and not self._places.uv)
            for layer in self._spec.build_layers
        )

    def _by_uv(self, layer: Layer, install: Install) -> bool:
        # Options in the user's own words are meant for the command of the method's name.
        return bool(self._places.uv) and (install.plain or layer.method == "uv_pip_install")

    def _unmet(self) -> Iterator[Unmet]:
        wanted = self._spec.python
        if wanted and ".".join(wanted.split(".")[:2]) != self._places.version:
            yield Unmet(self._spec.layers[0].method, f"Python {wanted} is not on this machine")
        for layer in self._spec.build_layers:
            if layer.method in BASES - _BASES:
                yield Unmet(layer.method, "a virtual environment has no base but Python")
            elif layer.method in _IMPOSSIBLE:
                yield Unmet(layer.method, _IMPOSSIBLE[layer.method])

    def _steps(self, layer: Layer, scratch: str, before: ImageSpec) -> Iterator[Step]:
        if layer.method in INSTALLERS:
            yield from self._install(layer, scratch)
        elif layer.method == "run_function":
            yield self._run_function(layer, before.workdir or self._places.scratch)
        elif layer.method in _MAKERS:
            yield from _MAKERS[layer.method](self, layer, scratch)

    def _install(self, layer: Layer, scratch: str) -> Iterator[Step]:
        install = install_of(layer)
        by_uv = self._by_uv(layer, install)
        if not install.is_empty:
            options = install.uv_options if by_uv else install.options
            files = [(option, f"{scratch}-{name}", text) for option, name, text in install.files]
            options += tuple(word for option, path, _ in files for word in (option, path))
            argv = (*self._command(by_uv=by_uv), *options, *install.packages)
            if layer.method == "pip_install_private_repos":
                argv = _by_shell(f"{git_settings(layer)} && exec {shlex.join(argv)}")
            written = tuple((path, text) for _, path, text in files)
            yield Step(layer.method, argv, layer.env, layer.secrets, written)
        for number, project in enumerate(layer.arguments.get("projects") or ()):
            copy = f"{scratch}-project-{number}"
            place = posixpath.join(copy, project["file"])
            yield self._writable_copy(layer, project["context"], copy)
            argv = (*self._command(by_uv=by_uv), "--no-deps", place)
            yield Step(layer.method, argv, pretended_version(project["version"]))

    def uv_sync(self, layer: Layer, scratch: str) -> Iterator[Step]:
        uv = self._places.uv
        if not uv:
            version = layer.arguments.get("uv_version")
            wanted = f"uv=={version}" if version else "uv"
            tool = f"{scratch}-uv"
            yield Step(layer.method, (*self._command(by_uv=False), "--target", tool, wanted))
            uv = f"{tool}/bin/uv"
        copy = f"{scratch}-project"
        yield self._writable_copy(layer, layer.arguments["context"], copy)
        argv = (uv, "sync", "--project", copy, *sync_options(layer))
        env = {**layer.env, "UV_PROJECT_ENVIRONMENT": self._places.folder}
        yield Step(layer.method, argv, env, layer.secrets)

    def poetry(self, layer: Layer, scratch: str) -> Iterator[Step]:
        tool, copy = f"{scratch}-poetry", f"{scratch}-project"
        requirements = f"{scratch}-requirements.txt"
        python, uv = self._places.python, self._places.uv
        made = (uv, "venv", "--python", python, tool) if uv else (python, "-m", "venv", tool)
        yield Step(layer.method, made)
        by_pip = (f"{tool}/bin/python", "-m", "pip", "install", *_QUIET)
        by_uv = (uv, "pip", "install", "--python", f"{tool}/bin/python")
        yield Step(layer.method, (*(by_uv if uv else by_pip), *poetry_packages(layer)))
        yield self._writable_copy(layer, layer.arguments["context"], copy)
        export = shlex.join([f"{tool}/bin/poetry", *export_options(layer, requirements)])
        argv = _by_shell(f"cd {shlex.quote(copy)} && exec {export}")
        yield Step(layer.method, argv, layer.env, layer.secrets)
        argv = (*self._command(by_uv=bool(uv)), "--no-deps", "-r", requirements)
        yield Step(layer.method, argv, layer.env, layer.secrets)

    def python_source(self, layer: Layer, _scratch: str) -> Iterator[Step]:
        source = f"{self._places.bundles}/{layer.arguments['context']}/."
        yield Step(layer.method, ("cp", "-R", source, self._places.packages))

    def _run_function(self, layer: Layer, folder: str) -> Step:
        given, places = layer.arguments, self._places
        folders = (f"{places.bundles}/{given[name]}" for name in ("program", "call"))
        argv = (places.own_python, "-P", "-m", "cloudfn.worker.building", *folders, folder)
        env = {**layer.env, "PYTHONPATH": places.runtime}
        return Step(layer.method, argv, env, layer.secrets, timeout=given["timeout"])

    def _writable_copy(self, layer: Layer, context: str, copy: str) -> Step:
        """Copy a context, as builds of packages write beside their sources."""
        source, target = shlex.quote(f"{self._places.bundles}/{context}"), shlex.quote(copy)
        return Step(layer.method, _by_shell(f"cp -R {source} {target} && chmod -R u+w {target}"))

    def _command(self, *, by_uv: bool) -> tuple[str, ...]:
        python = self._places.own_python
        if by_uv:
            return (self._places.uv, "pip", "install", "--python", python)
        if self._places.pip:
            return (self._places.pip, "-m", "pip", "--python", python, "install", *_QUIET)
        return (python, "-m", "pip", "install", *_QUIET)


def _by_shell(command: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", command)


#: method of an Image → what makes its steps; those of `INSTALLERS` have one in common
_MAKERS: dict[str, Callable[[_Planner, Layer, str], Iterator[Step]]] = {
    "uv_sync": _Planner.uv_sync,
    "poetry_install_from_file": _Planner.poetry,
    "add_local_python_source": _Planner.python_source,
}


#: layers that a virtual environment has no place for, and why
_IMPOSSIBLE = {
    "apt_install": "packages of the system cannot be installed into a virtual environment",
    "run_commands": "commands of a build would change this machine",
    "dockerfile_commands": "there is no Dockerfile without Docker",
    "micromamba_install": "conda packages cannot be installed into a virtual environment",
}
