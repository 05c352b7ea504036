"""The metadata service (IMDSv2) of all machines: what it answers is pure, `Service` is thin.

It knows machines by their addresses. What it tells each one lies in a file, which the supervisor
replaces whenever something changes. From "Use the Instance Metadata Service", version 2 only.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cloudfn.clock import Clock
from cloudfn.rehearsal.site import ACCOUNT, KEY, SECRET

ADDRESS = "169.254.169.254"
_TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
_TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105 - a header's name
_LONGEST = 21_600
#: seconds for which credentials of a role are good
_CREDENTIALS = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Told:
    """What the metadata service tells one machine, besides what never changes."""

    instance_id: str
    instance_type: str
    zone: str
    region: str
    address: str
    role: str
    user_data: str
    spot: bool = False
    #: seconds since the epoch at which EC2 takes it back; None: no notice
    interrupted: float | None = None
    #: when EC2 recommended to replace it; None: it did not
    recommended: float | None = None
    #: whether its group takes it away
    ending: bool = False
    #: of its role: AccessKeyId, SecretAccessKey, Token
    keys: tuple[str, str, str] = (KEY, SECRET, "rehearsed")


def tree(told: Told, now: float) -> dict[str, str]:
    """Return all paths below `latest/`, and what is there."""
    access, secret, token = told.keys
    credentials = {
        "Code": "Success",
        "LastUpdated": _time(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": access,
        "SecretAccessKey": secret,
        "Token": token,
        "Expiration": _time(now + _CREDENTIALS),
    }
    document = {
        "accountId": ACCOUNT,
        "architecture": "x86_64",
        "availabilityZone": told.zone,
        "imageId": "ami-0123456789abcdef0",
        "instanceId": told.instance_id,
        "instanceType": told.instance_type,
        "pendingTime": _time(now),
        "privateIp": told.address,
        "region": told.region,
        "version": "2017-09-30",
    }
    card = f"meta-data/network/interfaces/macs/{mac_of(told.address)}"
    host = f"ip-{told.address.replace('.', '-')}.{told.region}.compute.internal"
    paths = {
        "user-data": told.user_data,
        "dynamic/instance-identity/document": json.dumps(document, indent=2),
        "meta-data/ami-id": document["imageId"],
        "meta-data/hostname": host,
        "meta-data/instance-id": told.instance_id,
        "meta-data/instance-life-cycle": "spot" if told.spot else "on-demand",
        "meta-data/instance-type": told.instance_type,
        "meta-data/local-hostname": host,
        "meta-data/local-ipv4": told.address,
        "meta-data/mac": mac_of(told.address),
        f"{card}/device-number": "0",
        f"{card}/local-hostname": host,
        f"{card}/local-ipv4s": told.address,
        f"{card}/mac": mac_of(told.address),
        "meta-data/placement/availability-zone": told.zone,
        "meta-data/placement/region": told.region,
        "meta-data/services/domain": "amazonaws.com",
        "meta-data/services/partition": "aws",
        f"meta-data/iam/security-credentials/{told.role}": json.dumps(credentials, indent=2),
        "meta-data/autoscaling/target-lifecycle-state": (
            "Terminated" if told.ending else "InService"
        ),
    }
    if told.interrupted is not None:
        action = {"action": "terminate", "time": _time(told.interrupted)}
        paths["meta-data/spot/instance-action"] = json.dumps(action)
    if told.recommended is not None:
        notice = {"noticeTime": _time(told.recommended)}
        paths["meta-data/events/recommendations/rebalance"] = json.dumps(notice)
    return paths


def mac_of(address: str) -> str:
    """Return the address of the network card that a virtual machine with this address has."""
    return ":".join(f"{each:02x}" for each in (0x02, 0xCF, *map(int, address.split("."))))


def answer(paths: Mapping[str, str], path: str) -> str | None:
    """Return what is at a path below `latest/`: a value, or a list of what is below it."""
    path = path.strip("/")
    if path in paths:
        return paths[path]
    start = f"{path}/" if path else ""
    below = {each.removeprefix(start) for each in paths if each.startswith(start)}
    listed = {
        f"{first}/" if rest else first for first, _, rest in (b.partition("/") for b in below)
    }
    return "\n".join(sorted(listed)) if listed else None


class Tokens:
    """Tokens that were handed out, with whom they were given to and until when they are good."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}

    def make(self, address: str, seconds: str, now: float) -> str | None:
        """Hand one out; None: so many seconds are not allowed."""
        if not seconds.isdecimal() or not 1 <= int(seconds) <= _LONGEST:
            return None
        token = secrets.token_urlsafe(40)
        self._known[token] = (address, now + int(seconds))
        return token

    def is_good(self, token: str, address: str, now: float) -> bool:
        """Whether a token was given to this address and has not expired."""
        owner, until = self._known.get(token, ("", 0.0))
        return owner == address and now < until


class Service:
    """Answers at port 80, with one hop: no answer reaches a container behind a machine.

    Args:
        folder: With one file per address.
        clock: What time it is.
        address: Where it listens.
    """

    def __init__(
        self, folder: Path, clock: Clock, address: tuple[str, int] = (ADDRESS, 80)
    ) -> None:
        self.server = ThreadingHTTPServer(address, _handler(folder, clock))
        self.server.daemon_threads = True
        self.server.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)


def _handler(folder: Path, clock: Clock) -> type[BaseHTTPRequestHandler]:
    tokens = Tokens()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            token = None
            if self.path == "/latest/api/token" and "X-Forwarded-For" not in self.headers:
                ttl = self.headers.get(_TTL_HEADER, "")
                token = tokens.make(self.client_address[0], ttl, clock.wall())
            if token is None:
                self._say(400, "")
            else:
                self._say(200, token, {_TTL_HEADER: self.headers.get(_TTL_HEADER, "")})

        def do_GET(self) -> None:
            address = self.client_address[0]
            file = folder / f"{address}.json"
            given = self.headers.get(_TOKEN_HEADER, "")
            if not tokens.is_good(given, address, clock.wall()):
                self._say(401, "")
                return
            try:
                told = Told(**_told(json.loads(file.read_text())))
            except FileNotFoundError:
                self._say(404, "")
                return
            _, _, path = self.path.lstrip("/").partition("/")
            found = answer(tree(told, clock.wall()), path)
            self._say(404 if found is None else 200, found or "")

        def _say(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: machines ask every few seconds."""

    return Handler


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "keys": tuple(fields["keys"])}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
