"""The Image builder's methods for packages of Python and of conda."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.sdk.images import recording
from cloudfn.sdk.images.recording import Recorded, layer, path, words


class Packages(Recorded):
    """The methods that install packages of Python and of conda.

    `env` and `secrets` are variables of that step alone. A `gpu` has no effect: builds see none.
    """

    __slots__ = ()

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
        return {"packages": recording.packages("pip_install", packages)}

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
        """Install packages, and what requirements files name, with uv."""
        given: dict[str, Any] = {"packages": recording.packages("uv_pip_install", packages)}
        if requirements is not None:
            given["requirements"] = words("uv_pip_install", "requirements", requirements)
        return given

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
        """Install what the lock file of a project names, but not the project itself."""
        return {
            "uv_project_dir": path("uv_sync", "uv_project_dir", uv_project_dir),
            "groups": words("uv_sync", "groups", groups or []),
            "extras": words("uv_sync", "extras", extras or []),
        }

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
        file = path("pip_install_from_requirements", "requirements_txt", requirements_txt)
        return {"requirements_txt": file}

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
        """Install a project's dependencies, and those of the optional groups that are named."""
        method = "pip_install_from_pyproject"
        return {
            "pyproject_toml": path(method, "pyproject_toml", pyproject_toml),
            "optional_dependencies": words(method, "optional_dependencies", optional_dependencies),
        }

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
        """Install packages from private repositories, with the token in a secret.

        Its variable is `GITHUB_TOKEN` or `GITLAB_TOKEN`.
        """
        method = "pip_install_private_repos"
        if not isinstance(git_user, str) or not git_user:
            raise InvalidError(f"`git_user` of `Image.{method}` must be a name.")
        if not secrets:
            raise InvalidError(
                f"`Image.{method}` needs `secrets`, one of them with a token.",
                hint="Make it with `cloudfn secret create NAME GITHUB_TOKEN=…`.",
            )
        return {"repositories": recording.texts(method, "repositories", *repositories)}

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
        """Install what a poetry project names, but not the project itself."""
        method = "poetry_install_from_file"
        given: dict[str, Any] = {
            "poetry_pyproject_toml": path(method, "poetry_pyproject_toml", poetry_pyproject_toml),
        }
        if poetry_lockfile is not None:
            given["poetry_lockfile"] = path(method, "poetry_lockfile", poetry_lockfile)
        for name, groups in (("with_", with_), ("without", without), ("only", only)):
            given[name] = words(method, name, groups)
        return given

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
        """Install conda packages, on top of `Image.micromamba`."""
        method = "micromamba_install"
        given: dict[str, Any] = {
            "packages": recording.packages(method, packages),
            "channels": words(method, "channels", channels),
        }
        if spec_file is not None:
            given["spec_file"] = path(method, "spec_file", spec_file)
        return given
