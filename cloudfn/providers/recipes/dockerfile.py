"""The recipe of an image as a Dockerfile for BuildKit, without network frontends. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.image import BASES, ImageSpec, Layer
from cloudfn.model.secret import SecretRef
from cloudfn.providers.recipes import lines
from cloudfn.providers.recipes.packages import INSTALLERS, git_settings, install_of

#: the argument with which the builder has layers of `force_build` built anew
FORCE = "CLOUDFN_FORCE_BUILD"
#: variables of all build steps and of no container
_QUIET = (
    "ARG PIP_BREAK_SYSTEM_PACKAGES=1",
    "ARG PIP_NO_INPUT=1",
    "ARG PIP_ROOT_USER_ACTION=ignore",
)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """What Docker's builder needs for one image.

    The build context is one folder: `context/<digest>/` for each of `contexts`, `runtime/` if it is
    needed, and `files/` as in `files`.

    Attributes:
        text: The Dockerfile.
        contexts: Digests of the bundles that it copies from.
        files: name → content of further files, at `files/<name>`.
        secrets: id → secret, for `--secret id=…,src=…`; the file is `lines.secret_file` of its
            variables.
        credentials: A secret that opens the registry of the base, `REGISTRY_USERNAME` and
            `REGISTRY_PASSWORD`, or variables of AWS or Google.
        build_args: Values for `--build-arg`, none of them secret.
        force: A layer asks to be built anew: give `FORCE` a value that was never used.
        runtime: The folder of the runtime has to be in the context.
    """

    text: str
    contexts: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)
    credentials: SecretRef | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    runtime: bool = False

    def __str__(self) -> str:
        """The text."""
        return self.text


def dockerfile(spec: ImageSpec, base_image: str) -> Dockerfile:
    """Return the Dockerfile of a resolved spec.

    Args:
        spec: What to build.
        base_image: Name of images with a Python, with `{version}` in it.

    Raises:
        InvalidError: An argument of a layer makes no sense.
    """
    return _Writer(spec, base_image).write()


class _Writer:
    def __init__(self, spec: ImageSpec, base_image: str) -> None:
        self._spec = spec
        self._base_image = base_image
        self._lines: list[str] = []
        self._files: dict[str, str] = {}
        self._secrets: dict[str, SecretRef] = {}
        self._shell: tuple[str, ...] = ("/bin/sh", "-c")

    def write(self) -> Dockerfile:
        layers = self._spec.build_layers
        if not layers or layers[0].method not in BASES:
            layers = (Layer("debian_slim"), *layers)
        for number, layer in enumerate(layers):
            if number and layer.method in BASES:
                raise InvalidError(
                    f"`Image.{layer.method}` is a base and cannot stand on top of other layers."
                )
            self._lines += self._of(layer, str(number))
        return Dockerfile(
            text="\n".join(self._lines) + "\n",
            contexts=tuple(dict.fromkeys(d for each in layers for d in each.contexts)),
            files=self._files,
            secrets=self._secrets,
            force=self._spec.force_build,
        )

    def _of(self, layer: Layer, number: str) -> Iterator[str]:
        given = layer.arguments
        if given.get("force_build") and layer.method not in BASES:
            yield f"ARG {FORCE}"
        if layer.method in INSTALLERS:
            yield from self._install(layer, number)
        elif layer.method in _WRITERS:
            yield from _WRITERS[layer.method](self, layer)

    def debian_slim(self, layer: Layer) -> Iterator[str]:
        yield f"FROM {self._python_image(layer.arguments)}"
        yield from _QUIET

    def from_registry(self, layer: Layer) -> Iterator[str]:
        yield f"FROM {layer.arguments['tag']}"
        yield from _QUIET

    def apt_install(self, layer: Layer) -> Iterator[str]:
        yield lines.apt_line(layer.arguments["packages"], **self._step(layer))

    def run_commands(self, layer: Layer) -> Iterator[str]:
        for command in layer.arguments["commands"]:
            yield lines.run_line(command, **self._step(layer))

    def dockerfile_commands(self, layer: Layer) -> Iterator[str]:
        yield from layer.arguments["commands"]

    def env(self, layer: Layer) -> Iterator[str]:
        yield lines.env_line(layer.arguments["vars"])

    def workdir(self, layer: Layer) -> Iterator[str]:
        yield f"WORKDIR {lines.quoted(layer.arguments['path'])}"

    def cmd(self, layer: Layer) -> Iterator[str]:
        yield lines.exec_line("CMD", layer.arguments["cmd"])

    def entrypoint(self, layer: Layer) -> Iterator[str]:
        yield lines.exec_line("ENTRYPOINT", layer.arguments["entrypoint_commands"])

    def set_shell(self, layer: Layer) -> Iterator[str]:
        self._shell = tuple(layer.arguments["shell_commands"])
        yield lines.exec_line("SHELL", self._shell)

    def copy(self, layer: Layer) -> Iterator[str]:
        given = layer.arguments
        source = f"context/{given['context']}/{given.get('name', '')}"
        yield lines.exec_line("COPY", [source, given["remote_path"]])

    def _python_image(self, given: Mapping[str, Any]) -> str:
        return self._base_image.format(version=given.get("python_version") or "")

    def _step(self, layer: Layer) -> dict[str, Any]:
        """Return what the options of a step add to its RUN line."""
        ids = []
        for ref in layer.secrets:
            self._secrets[ref.name] = ref
            ids.append(ref.name)
        return {"env": layer.env, "secrets": ids, "shell": self._shell}

    def _install(self, layer: Layer, number: str) -> Iterator[str]:
        install = install_of(layer)
        if install.is_empty:
            return
        words = [*install.options, *install.packages]
        mounts = ""
        if install.requirements:
            name = f"{number}-requirements.txt"
            self._files[name] = install.requirements
            mounts = f"--mount=type=bind,source=files/{name},target=/tmp/{name} "
            words += ["-r", f"/tmp/{name}"]  # noqa: S108 - in the image, for the step alone
        command = f"{mounts}python3 -m pip install {shlex.join(words)}"
        if layer.method == "pip_install_private_repos":
            command = f"{git_settings(layer)} && {command}"
        yield lines.pip_line(command, **self._step(layer))


#: method of an Image → what writes its lines
_WRITERS: dict[str, Callable[[_Writer, Layer], Iterator[str]]] = {
    "debian_slim": _Writer.debian_slim,
    "from_registry": _Writer.from_registry,
    "apt_install": _Writer.apt_install,
    "run_commands": _Writer.run_commands,
    "dockerfile_commands": _Writer.dockerfile_commands,
    "env": _Writer.env,
    "workdir": _Writer.workdir,
    "cmd": _Writer.cmd,
    "entrypoint": _Writer.entrypoint,
    "shell": _Writer.set_shell,
    "add_local_file": _Writer.copy,
    "add_local_dir": _Writer.copy,
}
