"""What of cloud-init and systemd our user-data makes use of: parsed strictly. Pure."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cloudfn.errors import InvalidError

_SECONDS = re.compile(r"^(\d+)(s|sec|min|m|h)?$")
_UNITS = {None: 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
#: what units may say; what only orders, describes or ranks has no effect here
_KNOWN = {
    "Unit": {"Description", "After", "Wants", "StartLimitIntervalSec"},
    "Service": {
        "EnvironmentFile", "ExecStartPre", "ExecStart", "Restart", "RestartSec", "KillMode",
        "TimeoutStopSec", "OOMScoreAdjust", "Type",
    },
    "Timer": {"OnActiveSec", "OnUnitActiveSec", "AccuracySec"},
    "Install": {"WantedBy"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class File:
    """A file that user-data writes."""

    path: str
    mode: int
    content: bytes


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """What a machine does at its first boot. Packages are there already."""

    files: tuple[File, ...]
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """A service."""

    start: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    #: files with variables
    environment: tuple[str, ...] = ()
    restarts: bool = False
    #: seconds between two starts, and from SIGTERM to SIGKILL
    pause: float = 0.1
    patience: float = 90.0


@dataclass(frozen=True, slots=True)
class TimerUnit:
    """A timer; its service bears its name."""

    #: seconds from its start to the first time, and from each time to the next
    first: float
    again: float


def cloud_config(text: str) -> CloudConfig:
    """Return what user-data says.

    Raises:
        InvalidError: It is no cloud-config, or says what is not understood here.
    """
    if not text.startswith("#cloud-config\n"):
        raise InvalidError("The user-data is no #cloud-config.", hint="See docs/aws.md, Rehearse.")
    document: dict[str, Any] = yaml.safe_load(text)
    if unknown := set(document) - {"packages", "write_files", "runcmd"}:
        raise InvalidError(
            f"The rehearsal understands no {', '.join(sorted(unknown))} in user-data.",
            hint="It knows packages, write_files and runcmd.",
        )
    return CloudConfig(
        files=tuple(map(_file, document.get("write_files", []))),
        commands=tuple(map(_command, document.get("runcmd", []))),
    )


def unit_of(name: str, text: str) -> ServiceUnit | TimerUnit:
    """Return a unit as its file says.

    Raises:
        InvalidError: It says what is not understood here.
    """
    said = _directives(name, text)
    if name.endswith(".timer"):
        first = _seconds(_last(said, "Timer", "OnActiveSec", "0"))
        return TimerUnit(first, _seconds(_last(said, "Timer", "OnUnitActiveSec", "60")))
    return ServiceUnit(
        start=tuple(shlex.split(_last(said, "Service", "ExecStart", ""))),
        before=tuple(
            tuple(shlex.split(each)) for each in said.get(("Service", "ExecStartPre"), [])
        ),
        environment=tuple(said.get(("Service", "EnvironmentFile"), [])),
        restarts=_last(said, "Service", "Restart", "no") == "always",
        pause=_seconds(_last(said, "Service", "RestartSec", "0")),
        patience=_seconds(_last(said, "Service", "TimeoutStopSec", "90")),
    )


def environment_of(text: str) -> dict[str, str]:
    """Return the variables of an EnvironmentFile."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#;")
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _file(entry: dict[str, Any]) -> File:
    content = str(entry.get("content", "")).encode()
    if entry.get("encoding") in ("b64", "base64"):
        content = base64.b64decode(content)
    elif "encoding" in entry:
        raise InvalidError(f"{entry['path']}: encoding {entry['encoding']!r} is not understood.")
    return File(entry["path"], int(str(entry.get("permissions", "0644")), 8), content)


def _command(entry: str | Sequence[Any]) -> tuple[str, ...]:
    return ("sh", "-c", entry) if isinstance(entry, str) else tuple(map(str, entry))


def _directives(name: str, text: str) -> dict[tuple[str, str], list[str]]:
    said: dict[tuple[str, str], list[str]] = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, _, value = line.partition("=")
        if key not in _KNOWN.get(section, ()):
            raise InvalidError(f"{name}: the rehearsal understands no {key} in [{section}].")
        said.setdefault((section, key), []).append(value.strip())
    return said


def _last(said: dict[tuple[str, str], list[str]], section: str, key: str, default: str) -> str:
    return said.get((section, key), [default])[-1]


def _seconds(text: str) -> float:
    found = _SECONDS.match(text)
    if found is None:
        raise InvalidError(f"The rehearsal does not understand the time {text!r} of a unit.")
    return float(found.group(1)) * _UNITS[found.group(2)]
