"""The recipe of an image as a Dockerfile for BuildKit, without network frontends. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.dockerfile import instructions
from cloudfn.model.image import BASES, ImageSpec, Layer
from cloudfn.model.secret import SecretRef
from cloudfn.providers.recipes import foreign, lines
from cloudfn.providers.recipes.packages import (
    INSTALLERS,
    export_options,
    git_settings,
    install_of,
    poetry_packages,
    pretended_version,
    sync_options,
)

#: the argument with which the builder has layers of `force_build` built anew
FORCE = "CLOUDFN_FORCE_BUILD"
#: variables of all build steps and of no container; the caches are below `lines.CACHE`
_QUIET = (
    f"ARG PIP_CACHE_DIR={lines.CACHE}/pip",
    f"ARG POETRY_CACHE_DIR={lines.CACHE}/poetry",
    f"ARG UV_CACHE_DIR={lines.CACHE}/uv",
    "ARG PIP_BREAK_SYSTEM_PACKAGES=1",
    "ARG PIP_NO_INPUT=1",
    "ARG PIP_ROOT_USER_ACTION=ignore",
    "ARG UV_LINK_MODE=copy",
)
MICROMAMBA = "mambaorg/micromamba:1.5-bookworm-slim"
# Where steps see files of the context.
_FILES, _PROJECT = "/opt/cloudfn/files", "/opt/cloudfn/project"
_PYTHON_STAGE, _PYTHON_HOME = "cloudfn-python", "/opt/cloudfn/python"
_ADD_PYTHON = f"COPY --from={_PYTHON_STAGE} {_PYTHON_HOME}/ /usr/local/"


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


def dockerfile(spec: ImageSpec, base_image: str, *, reach: bool = False) -> Dockerfile:
    """Return the Dockerfile of a resolved spec.

    Args:
        spec: What to build.
        base_image: Name of images with a Python, with `{version}` in it.
        reach: The builder has the secrets `lines.REACH` and `lines.CERTIFICATES`.

    Raises:
        InvalidError: An argument of a layer makes no sense.
    """
    return _Writer(spec, base_image, reach=reach).write()


class _Writer:
    def __init__(self, spec: ImageSpec, base_image: str, *, reach: bool) -> None:
        self._spec = spec
        self._reach = reach
        self._base_image = base_image
        self._files: dict[str, str] = {}
        self._secrets: dict[str, SecretRef] = {}
        self._build_args: dict[str, str] = {}
        self._shell: tuple[str, ...] = ("/bin/sh", "-c")
        #: lines that install a tool for later steps, each of which is there once
        self._tools: set[str] = set()

    def write(self) -> Dockerfile:
        layers = self._spec.build_layers
        if not layers or layers[0].method not in BASES:
            raise InvalidError("An image has to begin with a base, such as `Image.debian_slim()`.")
        written: list[str] = []
        for number, layer in enumerate(layers):
            if number and layer.method in BASES:
                raise InvalidError(
                    f"`Image.{layer.method}` is a base and cannot stand on top of other layers.",
                    hint="Begin the Image with it: cloudfn.Image." + layer.method,
                )
            written += self._of(layer, str(number))
        return Dockerfile(
            text="\n".join(written) + "\n",
            contexts=tuple(dict.fromkeys(d for each in layers for d in each.contexts)),
            files=self._files,
            secrets=self._secrets,
            credentials=layers[0].credentials,
            build_args=self._build_args,
            force=self._spec.force_build,
            runtime=any(each.method == "run_function" for each in layers),
        )

    def _of(self, layer: Layer, number: str) -> Iterator[str]:
        is_base = layer.method in BASES
        if is_base:
            yield from _WRITERS[layer.method](self, layer, number)
            yield from _QUIET
        if layer.arguments.get("force_build"):
            yield f"ARG {FORCE}"
        if layer.method in INSTALLERS:
            yield from self._install(layer, number)
        elif not is_base:
            yield from _WRITERS[layer.method](self, layer, number)

    # Bases

    def python(self, layer: Layer, _number: str) -> Iterator[str]:
        yield f"FROM {self._python_image(layer.arguments['python_version'])}"

    def micromamba(self, layer: Layer, _number: str) -> Iterator[str]:
        yield f"FROM {MICROMAMBA}"
        yield "USER root"
        yield "ENV PATH=/opt/conda/bin:$PATH"
        yield lines.exec_line("SHELL", self._shell)
        yield _conda_line(["pip", f"python={layer.arguments['python_version']}"], ["conda-forge"])

    def registry(self, layer: Layer, _number: str) -> Iterator[str]:
        given = layer.arguments
        if given.get("add_python"):
            yield from self._python_stage(given["add_python"])
        yield f"FROM {given['tag']}"
        yield "USER root"
        yield from given.get("setup_dockerfile_commands") or ()
        if given.get("add_python"):
            yield _ADD_PYTHON

    def foreign(self, layer: Layer, _number: str) -> Iterator[str]:
        given = layer.arguments
        found = list(self._fitted(layer, instructions(given["dockerfile"])))
        if not foreign.has_stage(found):
            raise InvalidError("`Image.from_dockerfile` was given a Dockerfile without a FROM.")
        if given.get("add_python"):
            found, name = foreign.named_last_stage(found, "cloudfn-base")
            yield from found
            yield from self._python_stage(given["add_python"])
            yield f"FROM {name}"
            yield "USER root"
            yield _ADD_PYTHON
        else:
            yield from found
            yield "USER root"

    def scratch(self, _layer: Layer, _number: str) -> Iterator[str]:
        yield "FROM scratch"

    def _python_image(self, version: str) -> str:
        return self._base_image.format(version=version)

    def _python_stage(self, version: str) -> Iterator[str]:
        """Yield a stage with a Python that runs on any Linux with glibc."""
        minor = ".".join(version.split(".")[:2])
        yield f"FROM {self._python_image(version)} AS {_PYTHON_STAGE}"
        yield from _QUIET
        yield self._uv_line("")
        yield self._pip_line(
            f"{_uv('')} python install --install-dir /opt/python {version}"
            f" && mkdir -p {_PYTHON_HOME}"
            f" && cp -a /opt/python/cpython-{minor}.*/. {_PYTHON_HOME}/"
        )

    # Python

    def _install(self, layer: Layer, number: str) -> Iterator[str]:
        install = install_of(layer)
        step = self._step(layer)
        if not install.is_empty:
            mounts, words = [], []
            for option, suffix, text in install.files:
                mounts.append(self._file(f"{number}-{suffix}", text))
                words += [option, f"{_FILES}/{number}-{suffix}"]
            if layer.method == "uv_pip_install":
                version = layer.arguments.get("uv_version") or ""
                yield from self._tool(self._uv_line(version))
                command = f"{_uv(version)} pip install --system --break-system-packages"
                words = [*install.uv_options, *install.packages, *words]
            else:
                command = "python3 -m pip install"
                words = [*install.options, *install.packages, *words]
            command = f"{command} {shlex.join(words)}"
            if layer.method == "pip_install_private_repos":
                command = f"{git_settings(layer)} && {command}"
            yield self._pip_line(" ".join([*mounts, command]), **step)
        for project in layer.arguments.get("projects") or ():
            place = posixpath.join(_PROJECT, project["file"])
            yield self._pip_line(
                f"{_bound(project['context'], _PROJECT, writable=True)} "
                f"python3 -m pip install --no-deps {shlex.quote(place)}",
                env=pretended_version(project["version"]),
            )

    def uv_sync(self, layer: Layer, _number: str) -> Iterator[str]:
        version = layer.arguments.get("uv_version") or ""
        yield from self._tool(self._uv_line(version))
        words = shlex.join(sync_options(layer))
        prefix = "$(python3 -c 'import sys; print(sys.prefix)')"
        yield self._pip_line(
            f"{_bound(layer.arguments['context'], _PROJECT, writable=True)} "
            f'export UV_PROJECT_ENVIRONMENT="{prefix}"'
            f" && {_uv(version)} sync --project {_PROJECT} {words}",
            **self._step(layer),
        )

    def poetry(self, layer: Layer, _number: str) -> Iterator[str]:
        tool = "/opt/cloudfn/poetry"
        yield from self._tool(
            self._pip_line(
                f"python3 -m venv --without-pip {tool} && python3 -m pip --python {tool} install "
                + shlex.join(poetry_packages(layer))
            )
        )
        requirements = "/tmp/cloudfn-requirements.txt"  # noqa: S108 - in the image
        words = shlex.join(export_options(layer, requirements))
        yield self._pip_line(
            f"{_bound(layer.arguments['context'], _PROJECT, writable=True)} "
            f"cd {_PROJECT} && {tool}/bin/poetry {words}"
            f" && python3 -m pip install --no-deps -r {requirements} && rm {requirements}",
            **self._step(layer),
        )

    def conda(self, layer: Layer, number: str) -> Iterator[str]:
        given, words, mount = layer.arguments, list(layer.arguments.get("packages") or ()), ""
        if given.get("spec"):
            # What it is, micromamba sees by the ending of its name.
            name = f"{number}-spec{posixpath.splitext(given['spec_name'])[1]}"
            mount = self._file(name, given["spec"])
            words += ["--file", f"{_FILES}/{name}"]
        if words:
            yield _conda_line(words, given.get("channels") or (), mount, **self._step(layer))

    def python_source(self, layer: Layer, _number: str) -> Iterator[str]:
        packages = "$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')"
        yield lines.run_line(
            f'{_bound(layer.arguments["context"], _PROJECT)} cp -R {_PROJECT}/. "{packages}/"'
        )

    def run_function(self, layer: Layer, _number: str) -> Iterator[str]:
        given = layer.arguments
        mounts = [
            _mount("runtime", "/opt/cloudfn/runtime"),
            _bound(given["program"], "/opt/cloudfn/program"),
            _bound(given["call"], "/opt/cloudfn/call"),
        ]
        step = self._step(layer)
        step["env"] = {**step["env"], "PYTHONPATH": "/opt/cloudfn/runtime"}
        yield lines.run_line(
            f"{' '.join(mounts)} timeout {given['timeout']} python3 -P -m cloudfn.worker.building "
            "/opt/cloudfn/program /opt/cloudfn/call",
            **step,
        )

    # The system

    def apt_install(self, layer: Layer, _number: str) -> Iterator[str]:
        if layer.arguments.get("packages"):
            yield lines.apt_line(layer.arguments["packages"], **self._step(layer))

    def run_commands(self, layer: Layer, _number: str) -> Iterator[str]:
        for command in layer.arguments.get("commands") or ():
            yield lines.run_line(command, **self._step(layer))

    def dockerfile_commands(self, layer: Layer, _number: str) -> Iterator[str]:
        commands = "\n".join(layer.arguments.get("commands") or ())
        yield from self._fitted(layer, instructions(commands))

    def env(self, layer: Layer, number: str) -> Iterator[str]:
        given: dict[str, str] = layer.arguments["vars"]
        # A line has no way to say where another begins, but an argument has.
        long = {name: value for name, value in given.items() if not value.isprintable()}
        plain = {name: value for name, value in given.items() if name not in long}
        if plain:
            yield lines.env_line(plain)
        for name, value in long.items():
            argument = f"CLOUDFN_{number}_{name}"
            self._build_args[argument] = value
            yield f"ARG {argument}"
            yield f"ENV {name}=${argument}"

    def workdir(self, layer: Layer, _number: str) -> Iterator[str]:
        yield f"WORKDIR {lines.quoted(layer.arguments['path'])}"

    def cmd(self, layer: Layer, _number: str) -> Iterator[str]:
        yield lines.exec_line("CMD", layer.arguments["cmd"])

    def entrypoint(self, layer: Layer, _number: str) -> Iterator[str]:
        yield lines.exec_line("ENTRYPOINT", layer.arguments["entrypoint_commands"])

    def shell(self, layer: Layer, _number: str) -> Iterator[str]:
        self._shell = tuple(layer.arguments["shell_commands"])
        yield lines.exec_line("SHELL", self._shell)

    def copy(self, layer: Layer, _number: str) -> Iterator[str]:
        given = layer.arguments
        source = f"context/{given['context']}/{given.get('name', '')}"
        yield lines.exec_line("COPY", [source, given["remote_path"]])

    # Parts of steps

    def _step(self, layer: Layer) -> dict[str, Any]:
        """Return what the options of a step add to its RUN line."""
        secrets = {ref.name: ref for ref in layer.secrets}
        self._secrets |= secrets
        return {"env": layer.env, "secrets": tuple(secrets), "shell": self._shell}

    def _fitted(self, layer: Layer, found: Iterator[str]) -> Iterator[str]:
        given = layer.arguments
        self._build_args |= given.get("build_args") or {}
        names, step = set(given.get("file_names") or ()), self._step(layer)

        def place(path: str) -> str:
            context = given.get("files") if path in names else given.get("context")
            return f"context/{context or given.get('files')}/{path}"

        for each in found:
            yield foreign.fitted(each, place, step["env"], step["secrets"])

    def _file(self, name: str, content: str) -> str:
        """Have a file in the context, and return the flag that shows it to one step."""
        self._files[name] = content
        return _mount(f"files/{name}", f"{_FILES}/{name}")

    def _tool(self, line: str) -> Iterator[str]:
        if line not in self._tools:
            self._tools.add(line)
            yield line

    def _pip_line(self, command: str, **step: Any) -> str:
        return lines.pip_line(command, reach=self._reach, **step)

    def _uv_line(self, version: str) -> str:
        wanted = f"uv=={version}" if version else "uv"
        return self._pip_line(f"python3 -m pip install --target {_uv_home(version)} {wanted}")


def _uv_home(version: str) -> str:
    return f"/opt/cloudfn/uv-{version}" if version else "/opt/cloudfn/uv"


def _uv(version: str) -> str:
    return f"{_uv_home(version)}/bin/uv"


def _bound(context: str, target: str, *, writable: bool = False) -> str:
    return _mount(f"context/{context}", target, writable=writable)


def _mount(source: str, target: str, *, writable: bool = False) -> str:
    # What a step writes there is gone after it.
    return f"--mount=type=bind{',rw' if writable else ''},source={source},target={target}"


def _conda_line(words: Sequence[str], channels: Sequence[str], mount: str = "", **step: Any) -> str:
    options = [word for channel in channels for word in ("--channel", channel)]
    command = shlex.join(["micromamba", "install", "--yes", "--name", "base", *options, *words])
    return lines.run_line(f"{mount} {command} && micromamba clean --all --yes".strip(), **step)


#: method of an Image → what writes its lines
_WRITERS: dict[str, Callable[[_Writer, Layer, str], Iterator[str]]] = {
    "debian_slim": _Writer.python,
    "from_local_env": _Writer.python,
    "micromamba": _Writer.micromamba,
    "from_registry": _Writer.registry,
    "from_aws_ecr": _Writer.registry,
    "from_gcp_artifact_registry": _Writer.registry,
    "from_dockerfile": _Writer.foreign,
    "from_scratch": _Writer.scratch,
    "uv_sync": _Writer.uv_sync,
    "poetry_install_from_file": _Writer.poetry,
    "micromamba_install": _Writer.conda,
    "add_local_python_source": _Writer.python_source,
    "run_function": _Writer.run_function,
    "apt_install": _Writer.apt_install,
    "run_commands": _Writer.run_commands,
    "dockerfile_commands": _Writer.dockerfile_commands,
    "env": _Writer.env,
    "workdir": _Writer.workdir,
    "cmd": _Writer.cmd,
    "entrypoint": _Writer.entrypoint,
    "shell": _Writer.shell,
    "add_local_file": _Writer.copy,
    "add_local_dir": _Writer.copy,
}
