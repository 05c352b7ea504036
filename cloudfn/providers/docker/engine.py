"""The Docker engine through its SDK, which is imported when it is first asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cloudfn.errors import (
    ConflictError,
    ConnectionError,  # noqa: A004 - ours
    Error,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ServiceError,
)
from cloudfn.providers.docker.endpoint import Endpoint, find_endpoint

#: seconds that an answer may take, other than that of a long job
_PATIENCE = 60.0
_CONFLICT = 409


class DockerEngine:
    """An engine, found and connected when it is first asked. Usable from any thread.

    Args:
        environ: The variables `DOCKER_*` and `HOME`, which say where it is.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._client: Any = None

    @contextmanager
    def asked(self) -> Iterator[Any]:
        """Give the SDK's client; what it raises inside becomes an error of ours.

        Raises:
            InvalidError: The SDK is not installed, or the settings of Docker make no sense.
            NotFoundError: The engine has no such thing.
            PermissionDeniedError: This user may not ask the engine.
            ConnectionError: No engine answers.
            ConflictError: It cannot do that while others use it.
            ServiceError: It cannot do that.
        """
        try:
            from docker import errors
            from requests.exceptions import RequestException
        except ImportError:
            raise InvalidError(
                "The Docker SDK for Python is not installed.",
                hint="Install it: pip install 'cloudfn[docker]'",
            ) from None
        endpoint = find_endpoint(self._environ)
        try:
            yield self._connected(endpoint)
        except errors.NotFound as error:
            raise NotFoundError(_told(error)) from None
        except errors.APIError as error:
            kind = ConflictError if error.status_code == _CONFLICT else ServiceError
            raise kind(f"Docker says: {_told(error)}") from None
        except (errors.DockerException, RequestException, OSError) as error:
            raise _unreachable(endpoint, error) from None

    def version(self) -> str:
        """Return the engine's version, `28.2.2`; raises what `asked` does."""
        with self.asked() as api:
            return str(api.version()["Version"])

    def close(self) -> None:
        """Hang up; the next question connects again."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _connected(self, endpoint: Endpoint) -> Any:
        from docker import APIClient
        from docker.tls import TLSConfig

        with self._lock:
            if self._client is None:
                _knock(endpoint.host)
                tls: TLSConfig | bool = False
                if (folder := endpoint.certificates) is not None:
                    tls = TLSConfig(
                        client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
                        ca_cert=str(folder / "ca.pem"),
                        verify=endpoint.verify,
                    )
                self._client = APIClient(
                    base_url=endpoint.host,
                    version="auto",
                    timeout=_PATIENCE,
                    tls=tls,
                    use_ssh_client=True,
                )
            return self._client


def _unreachable(endpoint: Endpoint, error: BaseException) -> Error:
    where = f"at {endpoint.host} (named {endpoint.said_by})"
    if isinstance(error, PermissionError):
        return PermissionDeniedError(
            f"This user may not ask the Docker engine {where}.",
            hint="Join the group `docker` (sudo usermod -aG docker $USER), log in anew, and run "
            "`cloudfn daemon stop`.",
        )
    return ConnectionError(
        f"No Docker engine answers {where}: {getattr(error, 'strerror', None) or error}.",
        hint="Start it, or name another with DOCKER_HOST or `docker context use`; `docker info` "
        "has to work.",
    )


def _knock(host: str) -> None:
    """Raise a plain OSError where nobody answers: the SDK wraps it in many others."""
    scheme, _, path = host.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PATIENCE)
            probe.connect(path)


def _told(error: Any) -> str:
    return str(error.explanation or error)
