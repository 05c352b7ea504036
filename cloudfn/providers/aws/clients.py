"""One boto3 client per service, made when it is first asked for, and shared by all threads.

Stock boto3 finds credentials, `AWS_ENDPOINT_URL[_<SERVICE>]` and, once it is told of AWS_REGION,
the region by itself; what is named in an `Access` goes before what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from socket import getaddrinfo
from threading import Lock
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

from cloudfn.errors import InvalidError
from cloudfn.providers.aws.errors import explained
from cloudfn.wire.version import VERSION


@dataclass(frozen=True, slots=True)
class Patience:
    """How long calls of a service may take, and how often botocore tries."""

    #: seconds until there is a connection
    connect: float
    #: seconds without a byte of the answer
    read: float
    #: tries in all; botocore waits up to 20 s between two, with full jitter
    attempts: int
    #: connections, which is how many threads may be in a call at once
    connections: int = 16


_USUAL = Patience(connect=3, read=20, attempts=6)
#: What differs from the usual. A read must outlast SQS's long poll of 20 s. DynamoDB answers in
#: milliseconds or not at all. SSM allows 40 calls a second to all machines of an account together,
#: and EC2's buckets fill slowly: both need many tries.
_PATIENCE: Mapping[str, Patience] = {
    "sqs": Patience(connect=3, read=30, attempts=5, connections=32),
    "dynamodb": Patience(connect=2, read=5, attempts=8, connections=32),
    "s3": Patience(connect=3, read=60, attempts=6, connections=32),
    "ssm": Patience(connect=3, read=10, attempts=10),
    "ec2": Patience(connect=3, read=30, attempts=8),
    "autoscaling": Patience(connect=3, read=30, attempts=8),
}


#: in the names of its hosts
_AWS = ".amazonaws.com"
#: where the region is read: boto3 alone of AWS's tools does not look into AWS_REGION
_REGION = {"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)}


def patience(service: str) -> Patience:
    """Return how long calls of a service may take; the service is named as in boto3."""
    return _PATIENCE.get(service, _USUAL)


def _has_address(host: str) -> bool:
    try:
        return bool(getaddrinfo(host, None))
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Access:
    """Whose account, and where; None and absent keys leave it to boto3."""

    region: str | None = None
    #: of ~/.aws/config
    profile: str | None = None
    #: of every service, for an emulator
    endpoint: str | None = None
    #: of single services by their boto3 names; before `endpoint`
    endpoints: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class ClientSource(Protocol):
    """Where adapters take clients from."""

    def of(self, service: str) -> Any:
        """Return the one client of a service, by its boto3 name. Safe to share between threads."""
        ...


class Clients:
    """Clients by the name of their service. Safe to share between threads.

    Args:
        access: Whose account, and where.
        resolves: Whether a host's name has an address.
    """

    def __init__(
        self, access: Access | None = None, resolves: Callable[[str], bool] | None = None
    ) -> None:
        self._access = access or Access()
        self._resolves = resolves or _has_address
        self._session: Any = None
        self._made: dict[str, Any] = {}
        # Sessions are not safe to share between threads, clients are.
        self._making = Lock()

    def of(self, service: str) -> Any:
        """Return the one client of a service, such as "sqs".

        Asks nothing of the network, but for the address of a region that botocore does not know.

        Raises:
            InvalidError: The profile is unknown, there is no region, or none of that name, or an
                endpoint is no URL.
            AuthError: The profile's credentials cannot be used.
        """
        if (known := self._made.get(service)) is not None:
            return known
        with self._making:
            if service not in self._made:
                self._made[service] = self._make(service)
            return self._made[service]

    @property
    def region(self) -> str:
        """The region that calls go to.

        Raises:
            InvalidError: None is named anywhere, or the profile is unknown.
        """
        with self._making, explained("aws", ""):
            found = self._opened().region_name
        if not found:
            raise InvalidError(
                "No AWS region is named.",
                hint="Set AWS_REGION, name one in ~/.aws/config, or pass --region.",
            )
        return str(found)

    def close(self) -> None:
        """Close all connections; the next call of `of` makes a client anew."""
        with self._making:
            made, self._made = self._made, {}
        for client in made.values():
            client.close()

    def _make(self, service: str) -> Any:
        from botocore.config import Config

        allowed = patience(service)
        config = Config(
            connect_timeout=allowed.connect,
            read_timeout=allowed.read,
            # "standard" knows throttling, lost connections and its quota of retries; "adaptive"
            # would slow down the whole process for one hot partition.
            retries={"mode": "standard", "total_max_attempts": allowed.attempts},
            max_pool_connections=allowed.connections,
            tcp_keepalive=True,
            user_agent_extra=f"cloudfn/{VERSION}",
            # In older regions botocore would sign addresses as today's buckets do not take them.
            signature_version="s3v4" if service == "s3" else None,
        )
        endpoint = self._access.endpoints.get(service, self._access.endpoint)
        try:
            with explained(service, ""):
                client = self._opened().client(service, endpoint_url=endpoint, config=config)
        except ValueError as error:
            raise InvalidError(
                f"What is named as the endpoint of {service} is none: {error}.",
                hint="Name a URL such as http://127.0.0.1:4566.",
            ) from error
        self._check_region(urlsplit(client.meta.endpoint_url).hostname or "")
        return client

    def _check_region(self, host: str) -> None:
        """Refuse a region that there is not: calls would try for a minute to reach it."""
        session = self._opened()
        region, partitions = session.region_name, session.get_available_partitions()
        known = {name for each in partitions for name in session.get_available_regions("ssm", each)}
        if region is None or region in known or _AWS not in host or self._resolves(host):
            return
        raise InvalidError(
            f"There seems to be no AWS region {region!r}: {host} has no address.",
            hint="Set AWS_REGION, name one in ~/.aws/config, or pass --region.",
        )

    def _opened(self) -> Any:
        if self._session is None:
            # Takes 0.3 s, which local commands do not have.
            import boto3
            import botocore.session

            self._session = boto3.session.Session(
                region_name=self._access.region,
                profile_name=self._access.profile,
                botocore_session=botocore.session.Session(session_vars=_REGION),
            )
        return self._session
