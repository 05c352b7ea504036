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
_REPOSITORY = re.compile(r"(?:https://)?([\w.-]+)/([\w./-]+?)(?:\.git)?(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class Install:
    """Packages to install in one go.

    Attributes:
        packages: Requirements, each as one argument.
        requirements: Text of a requirements file; empty for none.
        options: What else is asked for, as arguments of pip.
        uv_options: The same as arguments of `uv pip`.
        plain: Nothing was said that pip and uv read differently, so that either may do it.
    """

    packages: tuple[str, ...]
    requirements: str
    options: tuple[str, ...]
    uv_options: tuple[str, ...]
    plain: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to install."""
        return not self.packages and not self.requirements


def install_of(layer: Layer) -> Install:
    """Return what an installing layer asks for.

    Raises:
        InvalidError: `extra_options` cannot be split into words.
    """
    given = layer.arguments
    common: list[str] = []
    for name in ("find_links", "index_url", "extra_index_url"):
        if given.get(name):
            common += [f"--{name.replace('_', '-')}", str(given[name])]
    extra = _words(layer)
    pre = bool(given.get("pre"))
    return Install(
        packages=tuple(given.get("packages") or ()) + _private(layer),
        requirements=str(given.get("requirements") or ""),
        options=(*common, *(["--pre"] if pre else []), *extra),
        uv_options=(*common, *(["--prerelease", "allow"] if pre else []), *extra),
        plain=not extra,
    )


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


def _words(layer: Layer) -> list[str]:
    text = str(layer.arguments.get("extra_options") or "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidError(
            f"`extra_options` of `Image.{layer.method}` cannot be split into words: {error}.",
            hint="Quote them as in a shell.",
        ) from error
