"""Finds a docker command that can build with BuildKit: the SDK cannot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from cloudfn.errors import InvalidError

#: clients from the first version on, up to the second, have BuildKit built in
_BUILT_IN = range(18, 23)
_PATIENCE = 20.0


def find_builder(environ: Mapping[str, str]) -> str:
    """Return the path of a docker command whose `docker build` uses BuildKit.

    Args:
        environ: Its variables; `PATH` is searched.

    Raises:
        InvalidError: There is none; the message says what was found instead.
    """
    found = []
    for path in _commands(environ.get("PATH", os.defpath)):
        if _answers(path, environ, "buildx", "version") is not None:
            return path
        version = _answers(path, environ, "--version") or "of no known version"
        number = re.match(r"Docker version (\d+)\.", version)
        if number is not None and int(number[1]) in _BUILT_IN:
            return path
        found.append(f"{path} ({version.strip()})")
    if not found:
        raise InvalidError(
            "There is no docker command to build images with.",
            hint="Install Docker's command line with its buildx plugin (docker-ce-cli and "
            "docker-buildx-plugin, or Debian's docker.io).",
        )
    raise InvalidError(
        f"No docker command here has BuildKit: {', '.join(found)}.",
        hint="Install its buildx plugin (docker-buildx-plugin): `docker buildx version` must work.",
    )


def _commands(path: str) -> Iterator[str]:
    for folder in dict.fromkeys(path.split(os.pathsep)):
        if (found := shutil.which("docker", path=folder)) is not None:
            yield found


def _answers(command: str, environ: Mapping[str, str], *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            [command, *arguments],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
