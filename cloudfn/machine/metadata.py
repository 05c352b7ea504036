"""What the instance metadata service (IMDSv2) says of this machine. Blocks; called in threads."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from cloudfn.errors import ConnectionError  # noqa: A004 - ours

ENDPOINT = "http://169.254.169.254"
#: seconds that an answer may take; the service is on this machine
_TIMEOUT = 2.0
#: seconds that a token is good for, and tries before the service counts as gone
_TOKEN_SECONDS = 300
_TRIES = 3
#: target states of machines in warm pools
_ASIDE = frozenset({"Warmed:Stopped", "Warmed:Running", "Warmed:Hibernated"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Which machine this is."""

    instance_id: str
    instance_type: str = ""
    zone: str = ""
    region: str = ""
    #: private address
    address: str = ""
    spot: bool = False
    #: of its SSH server, as lines of `ssh_host_*_key.pub`
    host_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """What is about to befall this machine; nothing by default."""

    #: seconds since the epoch at which its provider takes it away
    ends: float | None = None
    #: it is likelier than others to be taken away soon
    at_risk: bool = False
    #: its Auto Scaling Group is ending it
    leaving: bool = False
    #: its group puts it aside, or has put it aside, in a warm pool
    aside: bool = False

    @property
    def reason(self) -> str:
        """Why to leave, for people; empty: there is no reason."""
        if self.ends is not None:
            return "its provider takes the machine away"
        if self.leaving:
            return "its group ends the machine"
        if self.aside:
            return "its group puts the machine aside"
        return "its provider may take the machine away soon" if self.at_risk else ""


def host_keys(folder: Path = Path("/etc/ssh")) -> tuple[str, ...]:
    """Return the public keys of this machine's SSH server, where it has one."""
    found = []
    for path in sorted(folder.glob("ssh_host_*_key.pub")):
        with suppress(OSError):
            found.append(path.read_text().strip())
    return tuple(found)


class Metadata:
    """The metadata service.

    Args:
        endpoint: Where it is.
    """

    def __init__(self, endpoint: str = ENDPOINT) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._lock = threading.Lock()
        self._token = ""

    def identity(self) -> Identity:
        """Return which machine this is.

        Raises:
            ConnectionError: The service does not answer.
        """
        instance_id = self._get("meta-data/instance-id")
        if instance_id is None:
            raise _silent("it knows no instance id")
        zone = self._get("meta-data/placement/availability-zone") or ""
        return Identity(
            instance_id,
            self._get("meta-data/instance-type") or "",
            zone,
            self._get("meta-data/placement/region") or "",
            self._get("meta-data/local-ipv4") or "",
            spot=self._get("meta-data/instance-life-cycle") == "spot",
        )

    def notice(self) -> Notice:
        """Return what is about to befall this machine.

        Raises:
            ConnectionError: The service does not answer.
        """
        action = self._get("meta-data/spot/instance-action")
        state = self._get("meta-data/autoscaling/target-lifecycle-state") or ""
        return Notice(
            None if action is None else _time_of(action),
            at_risk=self._get("meta-data/events/recommendations/rebalance") is not None,
            leaving=state.strip() in {"Terminated", "Warmed:Terminated"},
            aside=state.strip() in _ASIDE,
        )

    def _get(self, path: str) -> str | None:
        """Return what there is at a path; None: nothing."""
        last = ""
        for _ in range(_TRIES):
            headers = {"X-aws-ec2-metadata-token": self._fresh_token()}
            request = urllib.request.Request(f"{self._endpoint}/latest/{path}", headers=headers)  # noqa: S310
            try:
                return self._read(request)
            except urllib.error.HTTPError as error:
                if error.code == HTTPStatus.NOT_FOUND:
                    return None
                if error.code == HTTPStatus.UNAUTHORIZED:
                    self._forget_token()
                last = f"it says {error.code}"
            except OSError as error:
                last = str(error)
        raise _silent(last)

    def _fresh_token(self) -> str:
        with self._lock:
            if not self._token:
                headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
                url = f"{self._endpoint}/latest/api/token"
                request = urllib.request.Request(url, method="PUT", headers=headers)  # noqa: S310
                try:
                    self._token = self._read(request)
                except OSError as error:
                    raise _silent(str(error)) from error
            return self._token

    def _forget_token(self) -> None:
        with self._lock:
            self._token = ""

    def _read(self, request: urllib.request.Request) -> str:
        # No proxy: the service is on this machine, whatever the environment says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_TIMEOUT) as answer:
            text: str = answer.read().decode()
        return text


def _time_of(action: str) -> float | None:
    """Return the time in a Spot notice, in seconds since the epoch; None where nothing ends."""
    try:
        told = json.loads(action)
        if told.get("action") not in ("terminate", "stop", "hibernate"):
            return None
        return datetime.fromisoformat(told["time"]).timestamp()
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _silent(why: str) -> ConnectionError:
    return ConnectionError(
        f"The instance metadata service does not answer: {why}.",
        hint="cloudfn.machine runs on EC2 instances; elsewhere, say who the machine is in "
        "machine.json.",
    )
