"""The Image builder: every method returns a new Image that has one more layer.

Each method with `@layer` or `@base` is a signature alone: what it is given is checked against that
and recorded. Nothing is built or installed in this version.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar

from cloudfn.errors import InvalidError, UnimplementedError
from cloudfn.model.gpu import parse_gpus
from cloudfn.model.image import ImageSpec, Layer

if TYPE_CHECKING:
    from cloudfn.sdk.app import App

P = ParamSpec("P")
T = TypeVar("T")

_NOT_BUILT = "Images are recorded and not built in this version."
_INSTALL = "Functions run under the Python that deploys them: install there what they need."


def layer(method: Callable[Concatenate[Any, P], Any]) -> Callable[Concatenate[Any, P], Image]:
    """Make a method one that records its arguments as a layer on top of the Image's."""
    signature = inspect.signature(method)

    @wraps(method)
    def add(image: Image, /, *args: P.args, **kwargs: P.kwargs) -> Image:
        bound = signature.bind(image, *args, **kwargs)
        given = dict(list(bound.arguments.items())[1:])
        return image._with(method.__name__, given)  # noqa: SLF001

    return add


def base(method: Callable[P, Any]) -> Callable[P, Image]:
    """Make a function one that records its arguments as the first layer of an Image."""
    signature = inspect.signature(method)

    @wraps(method)
    def start(*args: P.args, **kwargs: P.kwargs) -> Image:
        return Image()._with(method.__name__, dict(signature.bind(*args, **kwargs).arguments))  # noqa: SLF001

    return start


class Image:
    """What containers have installed, as an immutable list of layers.

    Methods take the arguments of Modal's and record them in order. Variables of `env` and modules
    of `add_local_python_source` are there in containers; a deploy warns of everything else.
    """

    __slots__ = ("spec",)

    def __init__(self, spec: ImageSpec | None = None) -> None:
        self.spec = spec or ImageSpec()

    @property
    def object_id(self) -> str:
        """The id, `im-…`: the same for the same layers."""
        return self.spec.image_id

    # ----------------------------------------------------------------------------------- bases

    @staticmethod
    @base
    def debian_slim(python_version: str | None = None, force_build: bool = False) -> Any:
        """Start from Debian with a Python."""

    @staticmethod
    @base
    def micromamba(python_version: str | None = None, force_build: bool = False) -> Any:
        """Start from Debian with micromamba."""

    @staticmethod
    @base
    def from_registry(
        tag: str,
        secret: Any = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start from an image of a registry."""

    @staticmethod
    @base
    def from_dockerfile(
        path: str | Path,
        *,
        force_build: bool = False,
        context_dir: str | Path | None = None,
        ignore: Any = (),
        build_args: Mapping[str, str] | None = None,
        registry_secret: Any = None,
        secrets: Any = (),
        env: Mapping[str, str | None] | None = None,
        gpu: Any = None,
        add_python: str | None = None,
    ) -> Any:
        """Start from what a Dockerfile says."""

    @staticmethod
    @base
    def from_aws_ecr(
        tag: str,
        secret: Any = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start from an image of AWS's registry."""

    @staticmethod
    @base
    def from_gcp_artifact_registry(
        tag: str,
        secret: Any = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start from an image of Google's registry."""

    @staticmethod
    @base
    def from_scratch() -> Any:
        """Start from nothing."""

    @staticmethod
    def from_name(name: str, **_: Any) -> Image:
        """Raise UnimplementedError: there are no published images."""
        raise UnimplementedError(f"There is no published image {name!r}. {_NOT_BUILT}", hint=_BUILD)

    @staticmethod
    def from_id(image_id: str, **_: Any) -> Image:
        """Raise UnimplementedError: there are no built images."""
        raise UnimplementedError(f"There is no built image {image_id!r}. {_NOT_BUILT}", hint=_BUILD)

    # ------------------------------------------------------------------------------- Python's own

    @layer
    def pip_install(
        self,
        *packages: str | list[str],
        find_links: str | None = None,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install packages with pip."""

    @layer
    def uv_pip_install(
        self,
        *packages: str | list[str],
        requirements: Sequence[str] | None = None,
        find_links: str | None = None,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        uv_version: str | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install packages with uv."""

    @layer
    def uv_sync(
        self,
        uv_project_dir: str = "./",
        *,
        force_build: bool = False,
        groups: Sequence[str] | None = None,
        extras: Sequence[str] | None = None,
        frozen: bool = True,
        extra_options: str = "",
        uv_version: str | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install what a project's lock file names."""

    @layer
    def pip_install_from_requirements(
        self,
        requirements_txt: str,
        find_links: str | None = None,
        *,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install what a requirements file names."""

    @layer
    def pip_install_from_pyproject(
        self,
        pyproject_toml: str,
        optional_dependencies: Sequence[str] = (),
        *,
        find_links: str | None = None,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install a project's dependencies."""

    @layer
    def pip_install_private_repos(
        self,
        *repositories: str,
        git_user: str,
        find_links: str | None = None,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install packages from private repositories."""

    @layer
    def poetry_install_from_file(
        self,
        poetry_pyproject_toml: str,
        poetry_lockfile: str | None = None,
        *,
        ignore_lockfile: bool = False,
        force_build: bool = False,
        with_: Sequence[str] = (),
        without: Sequence[str] = (),
        only: Sequence[str] = (),
        poetry_version: str | None = "latest",
        old_installer: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install what a poetry project names."""

    @layer
    def micromamba_install(
        self,
        *packages: str | list[str],
        spec_file: str | None = None,
        channels: Sequence[str] = (),
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install conda packages."""

    # ------------------------------------------------------------------------------- the system

    @layer
    def apt_install(
        self,
        *packages: str | list[str],
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install Debian packages."""

    @layer
    def run_commands(
        self,
        *commands: str | list[str],
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        volumes: Mapping[Any, Any] | None = None,
        gpu: Any = None,
        force_build: bool = False,
    ) -> Any:
        """Run shell commands while the image is built."""

    @layer
    def run_function(
        self,
        raw_f: Callable[..., Any],
        *,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        volumes: Mapping[Any, Any] | None = None,
        network_file_systems: Mapping[Any, Any] | None = None,
        gpu: Any = None,
        cpu: Any = None,
        memory: Any = None,
        timeout: int = 3600,
        cloud: str | None = None,
        region: Any = None,
        force_build: bool = False,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        include_source: bool = True,
    ) -> Any:
        """Run a Python function while the image is built."""

    @layer
    def dockerfile_commands(
        self,
        *dockerfile_commands: str | list[str],
        context_files: Mapping[str, str] | None = None,
        context_dir: str | Path | None = None,
        ignore: Any = (),
        build_args: Mapping[str, str] | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
        force_build: bool = False,
    ) -> Any:
        """Add lines of a Dockerfile."""

    def env(self, vars: Mapping[str, str]) -> Image:
        """Set variables in containers.

        Raises:
            InvalidError: A name or a value is no text.
        """
        for name, value in vars.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise InvalidError(f"`Image.env` must map names to text, not {name!r} to {value!r}")
        return self._with("env", {"vars": dict(vars)})

    @layer
    def workdir(self, path: str | PurePath) -> Any:
        """Set the working directory."""

    @layer
    def cmd(self, cmd: list[str]) -> Any:
        """Set the default command."""

    @layer
    def entrypoint(self, entrypoint_commands: list[str]) -> Any:
        """Set the entry point."""

    @layer
    def shell(self, shell_commands: list[str]) -> Any:
        """Set the shell that runs commands."""

    # ------------------------------------------------------------------------------ local files

    @layer
    def add_local_file(
        self, local_path: str | Path, remote_path: str, *, copy: bool = False
    ) -> Any:
        """Bring a file; without `copy` nothing can be built on top any more."""

    @layer
    def add_local_dir(
        self, local_path: str | Path, remote_path: str, *, copy: bool = False, ignore: Any = ()
    ) -> Any:
        """Bring a folder; without `copy` nothing can be built on top any more."""

    def add_local_python_source(
        self, *modules: str, copy: bool = False, ignore: Any = None
    ) -> Image:
        """Bring local modules and packages: they become part of the source bundle.

        Raises:
            InvalidError: A name is no module's.
        """
        for name in modules:
            parts = name.split(".") if isinstance(name, str) else [""]
            if not all(part.isidentifier() for part in parts):
                raise InvalidError(
                    f"`add_local_python_source` takes names of modules, not {name!r}.",
                    hint='Write it as in an import: "package.module".',
                )
        given = {"modules": modules, "copy": copy, "ignore": ignore}
        return self._with("add_local_python_source", {k: v for k, v in given.items() if v})

    # -------------------------------------------------------------------------------- the others

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Swallow an ImportError here, where the image's packages may be missing; not there."""
        from cloudfn.sdk.context import is_local

        try:
            yield
        except ImportError:
            if not is_local():
                raise

    def pipe(self, func: Callable[..., Image], *args: Any, **kwargs: Any) -> Image:
        """Return what a function makes of this Image."""
        return func(self, *args, **kwargs)

    def build(self, app: App) -> Image:  # noqa: ARG002 - Modal's signature
        """Raise UnimplementedError: nothing builds images."""
        raise UnimplementedError(_NOT_BUILT, hint=_INSTALL)

    def publish(self, name: str) -> None:  # noqa: ARG002 - Modal's signature
        """Raise UnimplementedError: nothing builds images."""
        raise UnimplementedError(_NOT_BUILT, hint=_INSTALL)

    @property
    def logs(self) -> NoReturn:
        """Raise UnimplementedError: nothing builds images."""
        raise UnimplementedError(_NOT_BUILT, hint=_INSTALL)

    def __repr__(self) -> str:
        return f"<Image {' '.join(each.method for each in self.spec.layers)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec.digest)

    def _with(self, method: str, given: Mapping[str, Any]) -> Image:
        if "gpu" in given:
            parse_gpus(given["gpu"])
        new = Layer(method, {name: _plain(value) for name, value in given.items()})
        if self.spec.attaches and not new.attaches:
            raise InvalidError(
                f"`Image.{method}` is a build step after `Image.add_local_*`, which attaches local "
                "files when containers start and has to come last.",
                hint="Move it before the `add_local_*` steps, or give those copy=True.",
            )
        return Image(self.spec.with_layer(new))


_BUILD = "Make the Image with its methods, for example cloudfn.Image.debian_slim()."


def image_spec(image: object, what: str) -> ImageSpec | None:
    """Return the layers of an `image=` argument; raises InvalidError for what is no Image."""
    if image is None:
        return None
    if not isinstance(image, Image):
        raise InvalidError(
            f"`image` of {what} must be an Image, not {type(image).__name__}.", hint=_BUILD
        )
    return image.spec


def _plain(value: Any) -> Any:
    """Return a value as JSON has it. Objects are named: what is in a secret is never recorded."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(_plain(name)): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(each) for each in value]
    name = getattr(value, "__qualname__", None) or getattr(value, "name", None)
    return f"{type(value).__name__} {name}" if name else type(value).__name__
