"""Where the Docker engine answers, found as the docker command finds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudfn.errors import InvalidError

_USUAL = "unix:///var/run/docker.sock"
_NO_CONTEXT = ("", "default")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of an engine.

    Attributes:
        host: `unix:///path`, `tcp://host:port` or `ssh://user@host`.
        said_by: Where that was said, for messages.
        certificates: The folder of `ca.pem`, `cert.pem` and `key.pem`; None: no TLS.
        verify: Whether the engine has to prove who it is, with TLS.
        context: Name of Docker's context, and so of its builder.
    """

    host: str
    said_by: str = "by default"
    certificates: Path | None = None
    verify: bool = True
    context: str = "default"


def find_endpoint(environ: Mapping[str, str]) -> Endpoint:
    """Return the engine that `DOCKER_HOST`, `DOCKER_CONTEXT` or the current context names.

    Args:
        environ: The variables `DOCKER_*` and `HOME`.

    Raises:
        InvalidError: There is no such context, or it says nothing that makes sense.
    """
    folder = config_folder(environ)
    if host := environ.get("DOCKER_HOST"):
        return Endpoint(_written_out(host), "by DOCKER_HOST", *_certificates(environ, folder))
    context, said_by = environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not context:
        said_by = str(folder / "config.json")
        context = str(read_config(folder).get("currentContext") or "")
    if context in _NO_CONTEXT:
        return Endpoint(_USUAL, "by default", *_certificates(environ, folder))
    return _of_context(folder, context, said_by)


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return where the docker command keeps its settings."""
    if given := environ.get("DOCKER_CONFIG"):
        return Path(given)
    return Path(environ.get("HOME") or Path.home()) / ".docker"


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of the docker command; empty where there are none.

    Raises:
        InvalidError: They are no JSON.
    """
    path = folder / "config.json"
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidError(f"The settings of Docker in {path} cannot be read: {error}.") from None
    return told if isinstance(told, dict) else {}


def _of_context(folder: Path, name: str, said_by: str) -> Endpoint:
    # The docker command names the folders of contexts like this.
    key = hashlib.sha256(name.encode()).hexdigest()
    path = folder / "contexts" / "meta" / key / "meta.json"
    try:
        told = json.loads(path.read_bytes())["Endpoints"]["docker"]
        host = str(told["Host"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InvalidError(
            f"There is no Docker context {name!r} that could be read, which {said_by} names.",
            hint="`docker context ls` shows those that there are.",
        ) from error
    certificates = folder / "contexts" / "tls" / key / "docker"
    return Endpoint(
        host,
        f"by the context {name!r} of {said_by}",
        certificates if certificates.is_dir() else None,
        verify=not told.get("SkipTLSVerify"),
        context=name,
    )


def _certificates(environ: Mapping[str, str], folder: Path) -> tuple[Path | None, bool]:
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    given = environ.get("DOCKER_CERT_PATH")
    if given or verify:
        return Path(given) if given else folder, verify
    return None, True


def _written_out(host: str) -> str:
    return host if "://" in host else f"tcp://{host}"
