"""Lines of Dockerfiles with everything quoted that has to be. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence

#: where a step finds the secret of an id, as lines of `export NAME='value'`
SECRETS = "/run/secrets"
#: ids of what steps that install packages may need: variables that say where packages are, as in
#: the file of a secret, and the certificates of those places
REACH, CERTIFICATES = "cloudfn-reach", "cloudfn-certificates"
#: where pip, uv and poetry keep what they downloaded, whoever the user of the base is
CACHE = "/var/cache/cloudfn"
_APT_CACHES = (
    "--mount=type=cache,target=/var/cache/apt,sharing=locked "
    "--mount=type=cache,target=/var/lib/apt/lists,sharing=locked"
)
_DEFAULT_SHELL = ("/bin/sh", "-c")


def env_line(variables: Mapping[str, str]) -> str:
    """Return the ENV line that sets variables for later steps and for containers."""
    pairs = (f"{name}={quoted(value)}" for name, value in variables.items())
    return f"ENV {' '.join(pairs)}"


def exec_line(instruction: str, words: Sequence[str]) -> str:
    """Return a line whose words go through no shell: CMD, ENTRYPOINT, SHELL, or a COPY."""
    return f"{instruction} {json.dumps(list(words), ensure_ascii=False)}"


def run_line(
    command: str,
    *,
    mounts: str = "",
    env: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    shell: Sequence[str] = _DEFAULT_SHELL,
) -> str:
    """Return the RUN line of a shell command.

    Args:
        command: The command.
        mounts: `--mount=…` flags.
        env: Variables of this command alone.
        secrets: Ids of secrets whose variables it sees; they leave no trace in the image.
        shell: What runs it.
    """
    before = [f". {SECRETS}/{each}" for each in secrets]
    if env:
        pairs = (f"{name}={shlex.quote(value)}" for name, value in env.items())
        before.append(f"export {' '.join(pairs)}")
    flags = [mounts] if mounts else []
    flags += [f"--mount=type=secret,id={each},required=true" for each in secrets]
    # A step may have flags of its own, which have to stay in front.
    while (own := re.match(r"\s*(--[a-z]+=\S+)\s+", command)) is not None:
        flags.append(own[1])
        command = command[own.end() :]
    whole = " && ".join([*before, command])
    return " ".join(["RUN", *flags, _shell_form(whole, shell)])


def pip_line(
    command: str, *, reach: bool = False, secrets: Sequence[str] = (), **options: object
) -> str:
    """Return the RUN line of a command that downloads packages, with their cache.

    Args:
        command: The command.
        reach: It sees the secrets `REACH` and `CERTIFICATES`.
        secrets: Ids of further secrets.
        options: See `run_line`.
    """
    mounts = f"--mount=type=cache,target={CACHE}"
    if reach:
        mounts += f" --mount=type=secret,id={CERTIFICATES}"
        secrets = (REACH, *secrets)
    return run_line(command, mounts=mounts, secrets=secrets, **options)  # type: ignore[arg-type]


def apt_line(packages: Sequence[str], **options: object) -> str:
    """Return the RUN line that installs packages of Debian, with their cache."""
    names = " ".join(map(shlex.quote, packages))
    command = (
        "rm -f /etc/apt/apt.conf.d/docker-clean && apt-get update"
        f" && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {names}"
    )
    return run_line(command, mounts=_APT_CACHES, **options)  # type: ignore[arg-type]


def secret_file(variables: Mapping[str, str]) -> str:
    """Return what the file of a build secret has to hold for a step to see the variables."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _shell_form(command: str, shell: Sequence[str]) -> str:
    """Return a command so that Docker hands it to the shell as it stands.

    Newlines, what looks like a here-document, a leading bracket and a trailing backslash mean
    something to Docker itself.
    """
    if re.search(r"[\n\r]|<<|^\s*\[|^\s*--|\\\s*$|^\s*$", command):
        return json.dumps([*shell, command], ensure_ascii=False)
    return command


def quoted(value: str) -> str:
    """Quote a value of ENV or a path: Docker takes `$`, quotes and backslashes as its own."""
    inside = re.sub(r'(["\\$])', r"\\\1", value)
    return f'"{inside}"'
