"""Resolves images on the client: paths of local files become what the files hold.

Texts get into the layers themselves: requirements, Dockerfiles, specs. Folders and files become
contexts: bundles that the layers name by digest. What only says where something was on this
machine is gone afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.dockerfile import copied
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.sdk import interpreter
from cloudfn.sdk.images.contexts import (
    SOURCE_CLUTTER,
    Contexts,
    existing,
    existing_file,
    text_of,
)
from cloudfn.sdk.images.recording import objects_of
from cloudfn.sdk.images.requirements import pyproject_packages, requirements_text
from cloudfn.sdk.patterns import FilePatternMatcher, Ignore, ignore_of

Arguments = dict[str, Any]


def resolve(
    spec: ImageSpec, bundles: Path, root: Path | None = None, *, durable: bool = False
) -> ImageSpec:
    """Return a spec that says the same without this machine's files.

    Args:
        spec: As the builder's methods recorded it.
        bundles: Where folders and files go, each as a bundle under its digest.
        root: The folder of the program, where its local modules are looked for first.
        durable: The bundles have to survive a power cut.

    Raises:
        InvalidError: A file is missing or cannot be read, or is not what the method takes.
    """
    resolving = _Resolving(Contexts(bundles, durable=durable), root)
    return ImageSpec(tuple(resolving.merged(map(resolving.layer, spec.layers))))


@dataclass(frozen=True, slots=True)
class _Resolving:
    contexts: Contexts
    root: Path | None

    def layer(self, layer: Layer) -> Layer:
        resolver = _RESOLVERS.get(layer.method)
        if resolver is None:
            return layer
        return Layer(layer.method, resolver(self, layer, f"`Image.{layer.method}`"))

    def merged(self, layers: Iterable[Layer]) -> list[Layer]:
        """Make one of attached layers where one is seen within another; later files win."""
        found: list[Layer] = []
        for layer in layers:
            mates = [each for each in found if _overlap(each, layer)]
            found = [each for each in found if each not in mates]
            found.append(self._joined([*mates, layer]) if mates else layer)
        return found

    def _joined(self, layers: list[Layer]) -> Layer:
        """Return the folder that several attached layers make together."""
        top = min((each.arguments["remote_path"] for each in layers), key=len)
        last = layers[-1]
        if "name" in last.arguments and last.arguments["remote_path"] == top:
            return last  # a file in the place of all that came before
        parts = []
        for each in layers:
            given = each.arguments
            path = given["remote_path"][len(top) :]
            parts.append((given["context"], given.get("name", ""), path))
        context = self.contexts.joined(parts, f"`Image.{last.method}`")
        return Layer("add_local_dir", {"context": context, "remote_path": top})

    def with_python(self, layer: Layer, _what: str) -> Arguments:
        version = layer.arguments.get("python_version") or _own_python()
        return {**layer.arguments, "python_version": version}

    def local_env(self, layer: Layer, what: str) -> Arguments:
        from importlib.metadata import distributions

        from cloudfn.sdk.images.local_env import installed

        found = installed(distributions())
        projects = []
        for each in found.projects:
            if each.source.is_dir():
                ignore = FilePatternMatcher(*SOURCE_CLUTTER, *_environments_in(each.source))
                context = self.contexts.folder(str(each.source), what, ignore, pass_over_links=True)
                file = ""
            else:
                context, file = self.contexts.file(str(each.source), what)
            projects.append(
                {"name": each.name, "version": each.version, "context": context, "file": file}
            )
        return {
            **layer.arguments,
            "python_version": _own_python(),
            "packages": list(found.packages),
            "projects": projects,
        }

    def dockerfile(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        path = existing_file(given.pop("path"), what)
        folder = str(given.pop("context_dir", path.parent))
        ignore = self._ignore(layer, Path(f"{path}.dockerignore"), Path(folder, ".dockerignore"))
        given["dockerfile"] = text_of(path, what)
        if sources := copied(given["dockerfile"]):
            given["context"] = self._of_build(folder, what, ignore, sources)
        given.pop("ignore", None)
        return given

    def dockerfile_commands(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        commands = given.pop("dockerfile_commands")
        files, folder = given.pop("context_files", {}), given.pop("context_dir", None)
        ignore = self._ignore(layer, Path(folder or ".", ".dockerignore"))
        given.pop("ignore", None)
        if files:
            given["files"] = self.contexts.files(files, what)
            given["file_names"] = sorted(files)
        if sources := set(copied("\n".join(commands))) - set(files):
            given["context"] = self._of_build(folder or ".", what, ignore, sources)
        return {**given, "commands": commands}

    def _of_build(self, folder: str, what: str, ignore: Ignore, sources: Iterable[str]) -> str:
        """Bring what lines of a Dockerfile copy of a folder, and nothing beside it."""
        wanted = FilePatternMatcher(*(each or "**" for each in sources))
        return self.contexts.folder(
            folder,
            what,
            lambda path: not wanted(path) or ignore(path),
            pass_over_links=True,
        )

    def uv_requirements(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        files = given.pop("requirements", None)
        return {**given, **_requirements(files, what)} if files else given

    def requirements(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        file = given.pop("requirements_txt")
        return {**given, **_requirements([file], what)}

    def pyproject(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        path, groups = given.pop("pyproject_toml"), given.pop("optional_dependencies", [])
        return {**given, "packages": pyproject_packages(path, groups, what)}

    def uv_project(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        folder = existing(given.pop("uv_project_dir"), what)
        files = {"pyproject.toml": str(folder / "pyproject.toml")}
        lock = folder / "uv.lock"
        given["locked"] = lock.is_file()
        if given["locked"]:
            files["uv.lock"] = str(lock)
        elif given.get("frozen", True):
            raise InvalidError(
                f"{what} finds no uv.lock in {folder}.",
                hint="Run `uv lock` there, or say frozen=False.",
            )
        return {**given, "context": self.contexts.files(files, what)}

    def poetry_project(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        files = {"pyproject.toml": given.pop("poetry_pyproject_toml")}
        lock = given.pop("poetry_lockfile", None)
        beside = existing_file(files["pyproject.toml"], what).with_name("poetry.lock")
        if not given.pop("ignore_lockfile", False):
            if lock is None and not beside.is_file():
                raise InvalidError(
                    f"{what} finds no poetry.lock beside {files['pyproject.toml']}.",
                    hint="Run `poetry lock`, name it, or say ignore_lockfile=True.",
                )
            files["poetry.lock"] = lock or str(beside)
        return {**given, "context": self.contexts.files(files, what)}

    def conda_spec(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        file = given.pop("spec_file", None)
        if file is None:
            return given
        path = existing_file(file, what)
        return {**given, "spec": text_of(path, what), "spec_name": path.name}

    def call(self, layer: Layer, _what: str) -> Arguments:
        from cloudfn.sdk.images.functions import resolved_call

        return resolved_call(layer.arguments, objects_of(layer), self.contexts)  # type: ignore[no-any-return]

    def local_file(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        context, name = self.contexts.file(given.pop("local_path"), what)
        return {**given, "context": context, "name": name}

    def local_dir(self, layer: Layer, what: str) -> Arguments:
        given = dict(layer.arguments)
        context = self.contexts.folder(given.pop("local_path"), what, self._ignore(layer))
        given.pop("ignore", None)
        return {**given, "context": context}

    def python_source(self, layer: Layer, _what: str) -> Arguments:
        from cloudfn.sdk.collecting import collect_modules

        given = dict(layer.arguments)
        given.pop("ignore", None)
        if layer.attaches:
            return given  # they travel with the program
        bundle = collect_modules(given["modules"], self.root, objects_of(layer).get("ignore"))
        return {**given, "context": self.contexts.bundle(bundle)}

    def _ignore(self, layer: Layer, *files: Path) -> Ignore:
        """Return what a layer leaves out: as it says, or else as the first of files that is."""
        given = objects_of(layer).get("ignore") or layer.arguments.get("ignore")
        if given:
            return ignore_of(given, f"`ignore` of `Image.{layer.method}`")
        for each in files:
            if each.is_file():
                return FilePatternMatcher.from_file(each)
        return FilePatternMatcher()


def _overlap(one: Layer, other: Layer) -> bool:
    """Whether both are attached, and one is seen within the other."""
    if not (one.attaches and other.attaches):
        return False
    places = [f"{each.arguments.get('remote_path', '')}/" for each in (one, other)]
    return "/" not in places and (
        places[0].startswith(places[1]) or places[1].startswith(places[0])
    )


def _own_python() -> str:
    return ".".join(interpreter.python_version().split(".")[:2])


def _requirements(files: list[str], what: str) -> Arguments:
    texts = zip(("requirements", "constraints"), requirements_text(files, what), strict=True)
    return {name: text for name, text in texts if text}


def _environments_in(folder: Path) -> list[str]:
    """Return the names of virtual environments that lie in a project."""
    return [each.parent.name for each in folder.glob("*/pyvenv.cfg")]


_RESOLVERS: dict[str, Callable[[_Resolving, Layer, str], Arguments]] = {
    "debian_slim": _Resolving.with_python,
    "micromamba": _Resolving.with_python,
    "from_local_env": _Resolving.local_env,
    "from_dockerfile": _Resolving.dockerfile,
    "dockerfile_commands": _Resolving.dockerfile_commands,
    "uv_pip_install": _Resolving.uv_requirements,
    "pip_install_from_requirements": _Resolving.requirements,
    "pip_install_from_pyproject": _Resolving.pyproject,
    "uv_sync": _Resolving.uv_project,
    "poetry_install_from_file": _Resolving.poetry_project,
    "micromamba_install": _Resolving.conda_spec,
    "run_function": _Resolving.call,
    "add_local_file": _Resolving.local_file,
    "add_local_dir": _Resolving.local_dir,
    "add_local_python_source": _Resolving.python_source,
}
