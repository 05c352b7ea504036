"""What an Image begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudfn.errors import InvalidError, UnimplementedError
from cloudfn.sdk.images.recording import Recorded, base, path, python_version, words

_BUILD = "Make the Image with its methods, for example cloudfn.Image.debian_slim()."


class Bases(Recorded):
    """The functions that return an Image with a first layer."""

    __slots__ = ()

    @staticmethod
    @base
    def debian_slim(python_version: str | None = None, force_build: bool = False) -> Any:
        """Start from Debian with a Python, that of the client when `python_version` is omitted."""
        _check_python("debian_slim", python_version)

    @staticmethod
    @base
    def from_local_env(force_build: bool = False) -> Any:
        """Start from what the client has installed: the same Python, and the same packages.

        Packages that were installed from a local folder, editable ones too, are brought as
        sources and built. cloudfn itself is left out: containers have it anyway.
        """

    @staticmethod
    @base
    def micromamba(python_version: str | None = None, force_build: bool = False) -> Any:
        """Start from Debian with micromamba, and a Python from conda-forge."""
        _check_python("micromamba", python_version)

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
        """Start from an image of a registry; `add_python` brings a Python where it has none."""
        return _registry("from_registry", tag, setup_dockerfile_commands, add_python)

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
        """Start from what a Dockerfile says, with the files of `context_dir`."""
        _check_python("from_dockerfile", add_python)
        given = {"path": _path("from_dockerfile", "path", path)}
        if context_dir is not None:
            given["context_dir"] = _path("from_dockerfile", "context_dir", context_dir)
        return given

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
        return _registry("from_aws_ecr", tag, setup_dockerfile_commands, add_python)

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
        return _registry("from_gcp_artifact_registry", tag, setup_dockerfile_commands, add_python)

    @staticmethod
    @base
    def from_scratch() -> Any:
        """Start from nothing: containers need a Python, which later layers have to bring."""

    @staticmethod
    def from_name(name: str, **_: Any) -> Any:
        """Raise UnimplementedError: there are no published images."""
        raise UnimplementedError(f"There is no published image {name!r}.", hint=_BUILD)

    @staticmethod
    def from_id(image_id: str, **_: Any) -> Any:
        """Raise UnimplementedError: images are found by their layers."""
        raise UnimplementedError(f"There is no Image to be had of {image_id!r} alone.", hint=_BUILD)


# Parameters of the methods hide these names.
_check_python, _path = python_version, path


def _registry(method: str, tag: Any, setup: Any, add_python: Any) -> Mapping[str, Any]:
    if not isinstance(tag, str) or not tag or any(c.isspace() for c in tag):
        raise InvalidError(
            f"`Image.{method}` takes the name of an image, not {tag!r}.",
            hint='Write it as "ubuntu:24.04".',
        )
    _check_python(method, add_python)
    return {"setup_dockerfile_commands": words(method, "setup_dockerfile_commands", setup)}
