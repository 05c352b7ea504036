"""What a layer that installs Python packages asks for, as arguments of pip and of uv. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from cloudfn.errors import InvalidError
from cloudfn.model.image import Layer

#: methods that come down to `pip install` with names and a requirements file
INSTALLERS = frozenset(
    {
        "from_local_env",
        "pip_install",
        "uv_pip_install",
        "pip_install_from_requirements",
        "pip_install_from_pyproject",
        "pip_install_private_repos",
    }
)
#: host of private repositories → variable with the token that opens it
_TOKENS = {"github.com": "GITHUB_TOKEN", "gitlab.com": "GITLAB_TOKEN"}
#: names of the files that are arguments, by their option
_FILES = {"-r": "requirements.txt", "-c": "constraints.txt"}
_REPOSITORY = re.compile(r"(?:https://)?([\w.-]+)/([\w./-]+?)(?:\.git)?(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class Install:
    """Packages to install in one go.

    Attributes:
        packages: Requirements, each as one argument.
        files: (option, name, content) of files that are arguments: `-r`, `-c`.
        options: What else is asked for, as arguments of pip.
        uv_options: The same as arguments of `uv pip`.
        plain: Nothing was said that pip and uv read differently, so that either may do it.
    """

    packages: tuple[str, ...]
    files: tuple[tuple[str, str, str], ...]
    options: tuple[str, ...]
    uv_options: tuple[str, ...]
    plain: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to install."""
        return not self.packages and all(option != "-r" for option, _, _ in self.files)


def install_of(layer: Layer) -> Install:
    """Return what an installing layer asks for.

    Raises:
        InvalidError: `extra_options` cannot be split into words.
    """
    given = layer.arguments
    packages = tuple(given.get("packages") or ()) + _private(layer)
    files = {"-r": given.get("requirements"), "-c": given.get("constraints")}
    common: list[str] = []
    if layer.method == "from_local_env":
        # All of them are named, and one could be in no index. Too many for a command, too.
        common.append("--no-deps")
        files["-r"], packages = "".join(f"{each}\n" for each in packages), ()
    for name in ("find_links", "index_url", "extra_index_url"):
        if given.get(name):
            common += [f"--{name.replace('_', '-')}", str(given[name])]
    extra = words_of(layer)
    pre = bool(given.get("pre"))
    return Install(
        packages=packages,
        files=tuple((option, _FILES[option], text) for option, text in files.items() if text),
        options=(*common, *(["--pre"] if pre else []), *extra),
        uv_options=(*common, *(["--prerelease", "allow"] if pre else []), *extra),
        plain=not extra,
    )


def sync_options(layer: Layer) -> list[str]:
    """Return what `uv sync` is told for a layer: packages of the project's lock, not itself."""
    given = layer.arguments
    found = ["--inexact", "--no-install-workspace"]
    if given.get("locked") and given.get("frozen", True):
        found.append("--frozen")
    for name, option in (("groups", "--group"), ("extras", "--extra")):
        found += [word for each in given.get(name) or () for word in (option, each)]
    return found + words_of(layer)


def poetry_packages(layer: Layer) -> list[str]:
    """Return what has to be installed for poetry to say what a project's lock names."""
    version = layer.arguments.get("poetry_version") or "latest"
    return ["poetry" if version == "latest" else f"poetry=={version}", "poetry-plugin-export"]


def export_options(layer: Layer, output: str) -> list[str]:
    """Return what poetry is told to write the project's lock as requirements."""
    found = ["export", "--format", "requirements.txt", "--output", output]
    for name, option in (("with_", "--with"), ("without", "--without"), ("only", "--only")):
        if groups := layer.arguments.get(name):
            found += [option, ",".join(groups)]
    return found


def pretended_version(version: str) -> dict[str, str]:
    """Return variables that spare a project the look into its history, which stays behind."""
    return {"SETUPTOOLS_SCM_PRETEND_VERSION": version, "PBR_VERSION": version}


def token_variables(layer: Layer) -> dict[str, str]:
    """Return host → variable with the token for it, for a layer of private repositories."""
    return {host: _TOKENS[host] for host in dict.fromkeys(_hosts(layer))}


def git_settings(layer: Layer) -> str:
    """Return shell text that lets git read private repositories, with tokens from variables.

    The tokens stay in variables: an argument could be seen by every process of the machine.
    """
    user = shlex.quote(str(layer.arguments["git_user"]))
    lines = []
    tokens = token_variables(layer)
    for number, (host, variable) in enumerate(tokens.items()):
        lines += [
            f'GIT_CONFIG_KEY_{number}="url.https://"{user}":${{{variable}}}@{host}/.insteadOf"',
            f"GIT_CONFIG_VALUE_{number}=https://{host}/",
        ]
    return f"export GIT_CONFIG_COUNT={len(tokens)} {' '.join(lines)}"


def _private(layer: Layer) -> tuple[str, ...]:
    if layer.method != "pip_install_private_repos":
        return ()
    found = []
    for repository in layer.arguments.get("repositories") or ():
        host, path, ref = _parts(repository)
        found.append(f"git+https://{host}/{path}{ref}")
    return tuple(found)


def _hosts(layer: Layer) -> list[str]:
    return [_parts(each)[0] for each in layer.arguments.get("repositories") or ()]


def _parts(repository: str) -> tuple[str, str, str]:
    found = _REPOSITORY.fullmatch(repository)
    if found is None or found[1] not in _TOKENS:
        raise InvalidError(
            f"`pip_install_private_repos` cannot read {repository!r}.",
            hint="Write it as github.com/owner/repository@ref or gitlab.com/owner/repository@ref.",
        )
    return found[1], found[2], found[3] or ""


def words_of(layer: Layer) -> list[str]:
    """Return the words of `extra_options`; raises InvalidError where they cannot be told."""
    text = str(layer.arguments.get("extra_options") or "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidError(
            f"`extra_options` of `Image.{layer.method}` cannot be split into words: {error}.",
            hint="Quote them as in a shell.",
        ) from error
