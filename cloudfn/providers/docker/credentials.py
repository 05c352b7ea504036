"""Who one is to a registry: names and passwords from secrets, handed to the docker command."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cloudfn.errors import InvalidError
from cloudfn.providers.docker.context import write_private
from cloudfn.providers.docker.endpoint import read_config

_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.MULTILINE | re.IGNORECASE)
#: the user that Google's registries expect with the key of a service account
_GOOGLE_USER = "_json_key"
#: what else of the docker command's settings a build needs
_LINKED = ("contexts", "cli-plugins", "buildx")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password."""

    username: str
    password: str = field(repr=False)


def of_secret(variables: Mapping[str, str], where: str) -> Credentials:
    """Return what a secret that opens a registry says.

    Args:
        variables: Those of the secret.
        where: What names it, for messages.

    Raises:
        InvalidError: It says nothing that would open a registry.
    """
    username, password = (variables.get(f"REGISTRY_{name}") for name in ("USERNAME", "PASSWORD"))
    if username and password:
        return Credentials(username, password)
    if key := variables.get("SERVICE_ACCOUNT_JSON"):
        return Credentials(_GOOGLE_USER, key)
    if "AWS_ACCESS_KEY_ID" in variables:
        raise InvalidError(
            f"The secret of {where} has keys of AWS, which cannot be turned into a login yet.",
            hint="Leave the secret out and log in before: `aws ecr get-login-password | docker "
            "login --username AWS --password-stdin REGISTRY`.",
        )
    raise InvalidError(
        f"The secret of {where} does not open a registry.",
        hint="It needs the variables REGISTRY_USERNAME and REGISTRY_PASSWORD.",
    )


def registry_of(reference: str) -> str:
    """Return the registry in the name of an image, as Docker's settings name it."""
    from docker.auth import INDEX_URL  # what Docker's own is called there

    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return str(INDEX_URL)


def registries_of(dockerfile: str) -> set[str]:
    """Return the registries that a Dockerfile builds on; Docker's own only if there is no other."""
    found = {registry_of(name) for name in _FROM.findall(dockerfile)}
    return found - {registry_of("")} or found


def write_config(
    folder: Path, own: Path, registries: Collection[str], credentials: Credentials
) -> None:
    """Make a folder of settings that are the user's own, and open more registries.

    Args:
        folder: Is made; nobody else may read it.
        own: The folder of the user's settings.
        registries: What the credentials open.
        credentials: Who one is there.
    """
    told = read_config(own)
    # A store of credentials would be asked instead of what is written here.
    told.pop("credsStore", None)
    told["credHelpers"] = {
        name: helper
        for name, helper in told.get("credHelpers", {}).items()
        if name not in registries
    }
    login = f"{credentials.username}:{credentials.password}".encode()
    entry = {"auth": base64.b64encode(login).decode()}
    told["auths"] = {**told.get("auths", {}), **dict.fromkeys(registries, entry)}
    folder.mkdir(mode=0o700)
    write_private(folder / "config.json", json.dumps(told))
    for name in _LINKED:
        if (own / name).exists():
            (folder / name).symlink_to((own / name).absolute())
