"""What a rehearsal was asked for: a line of JSON for each request that came to its front.

No line has an argument's value beyond the name of what it was about, and none has a credential.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

#: bytes of a body that are looked at
START = 4_096
#: bytes of one file; there are two, the older one is forgotten when the newer one is full
_FULL = 16 << 20
_ACTION = re.compile(rb"(?:^|&)Action=([A-Za-z]+)")
#: what a request is about: a partition of the table, a queue, a parameter, a group, a function
_ABOUT = (
    re.compile(rb'pk":\s*\{\s*"S":\s*"([^"]+)"'),
    re.compile(rb'"QueueUrl":\s*"[^"]*/([^"/]+)"'),
    re.compile(rb'"(?:Name|QueueName|logGroupName|repositoryName|TableName)":\s*"([^"]+)"'),
    re.compile(rb"AutoScalingGroupName=([^&]+)"),
)
_AT_ONCE = re.compile(rb'"WaitTimeSeconds":\s*0\b')
_LAMBDA = "exec-env/AWS_Lambda"


class Caller(StrEnum):
    """Who asks."""

    #: a program, a command, or the rehearsal itself, on this machine
    CLIENT = "client"
    #: what runs on an emulated machine: its agent, its Docker engine
    AGENT = "agent"
    #: what Lambda runs
    PLANNER = "planner"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and what came of it."""

    #: seconds since the epoch when its head was there
    at: float
    #: seconds until its answer was given
    seconds: float
    #: of these, seconds in which an emulator had it
    emulator: float
    caller: Caller
    #: as it was signed for; empty for what is not signed, such as images
    service: str
    #: as in policies, `UpdateItem`; of services that go by paths, the method
    action: str
    #: partition of the table, queue, parameter, group or path; empty where it names none
    about: str
    #: of HTTP; 0 where there was no answer
    status: int
    #: bytes of the answer's body
    answer: int
    #: whether it may wait for something to come: a long poll
    waits: bool


def caller_of(peer: str, headers: Mapping[str, str]) -> Caller:
    """Return who asks.

    Args:
        peer: Address that the connection comes from.
        headers: By small names.
    """
    if not peer.startswith("127."):
        return Caller.AGENT
    return Caller.PLANNER if _LAMBDA in headers.get("user-agent", "") else Caller.CLIENT


def action_of(method: str, headers: Mapping[str, str], start: bytes) -> str:
    """Return what is asked for.

    Args:
        method: Of HTTP.
        headers: By small names.
        start: What the body begins with.
    """
    target = headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2]
    found = _ACTION.search(start)
    return found.group(1).decode() if found else method


def about(target: str, headers: Mapping[str, str], start: bytes) -> str:
    """Return the name of what a request is about; empty if it has none.

    Args:
        target: Path and query.
        headers: By small names.
        start: What the body begins with.
    """
    path = target.partition("?")[0].strip("/")
    if path and "x-amz-target" not in headers:
        return path
    found = next((match for each in _ABOUT if (match := each.search(start))), None)
    return found.group(1).decode(errors="replace") if found else ""


def waits(action: str, start: bytes) -> bool:
    """Return whether a request is a long poll; queues of ours wait unless they are told not to."""
    return action == "ReceiveMessage" and not _AT_ONCE.search(start)


class RequestLog:
    """Notes requests in a file, and keeps some 50,000 at least.

    Args:
        path: Of the file; the one before it lies beside it.
        full: Bytes after which there is a new file.
    """

    def __init__(self, path: Path, full: int = _FULL) -> None:
        self._path = path
        self._full = full

    def add(self, request: Request) -> None:
        """Note one."""
        with self._path.open("ab") as file:
            file.write(json.dumps(asdict(request)).encode() + b"\n")
            is_full = file.tell() > self._full
        if is_full:
            self._path.rename(_before(self._path))


def recorded(path: Path, since: float = 0.0) -> list[Request]:
    """Return what was noted, in the order in which answers were given.

    Args:
        path: Of the file.
        since: Seconds since the epoch from which on requests came.
    """
    found = []
    for file in (_before(path), path):
        if file.exists():
            # Nothing that is just being written has an end.
            lines = file.read_text().rpartition("\n")[0].splitlines()
            found += [request for each in lines if (request := _request(each)).at >= since]
    return found


def _request(line: str) -> Request:
    told = json.loads(line)
    return Request(**{**told, "caller": Caller(told["caller"])})


def _before(path: Path) -> Path:
    return path.with_suffix(f".1{path.suffix}")


class Line(NamedTuple):
    """Requests of one kind."""

    caller: Caller
    service: str
    action: str
    number: int
    #: of 400 and more, and without an answer
    failed: int
    #: seconds in emulators, for all of them; of those that wait for something, waiting too
    emulator: float


def summary(requests: Iterable[Request]) -> list[Line]:
    """Return who asked for what how often, the most frequent first."""
    numbers: Counter[tuple[Caller, str, str]] = Counter()
    failed: Counter[tuple[Caller, str, str]] = Counter()
    emulator: dict[tuple[Caller, str, str], float] = {}
    for each in requests:
        kind = (each.caller, each.service or "-", each.action)
        numbers[kind] += 1
        failed[kind] += each.status >= 400 or not each.status
        emulator[kind] = emulator.get(kind, 0.0) + each.emulator
    return [
        Line(*kind, number, failed[kind], emulator[kind]) for kind, number in numbers.most_common()
    ]


def told(path: Path, since: float, *, each: bool) -> dict[str, Any]:
    """Return what is told of requests: each one, or how many there are of each kind.

    Args:
        path: Of the file.
        since: Seconds since the epoch from which on requests came.
        each: Whether each one is told.
    """
    noted = recorded(path, since)
    if each:
        return {"requests": [asdict(request) for request in noted]}
    return {"kinds": [line._asdict() for line in summary(noted)]}
