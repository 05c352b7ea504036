"""What Terraform says of its work, line by line (`-json`), as frozen values. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Planned:
    """A resource that a plan would change, or changes outside of it that it found (drift)."""

    address: str
    #: create, read, update, replace, delete, noop, move, import, forget
    action: str
    drift: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """A resource is being changed, has been, or could not be."""

    address: str
    action: str
    #: begun | goes on | done | failed
    state: str
    #: seconds since it began
    elapsed: float = 0.0


@dataclass(frozen=True, slots=True)
class Problem:
    """A warning or an error."""

    severity: str
    summary: str
    detail: str = ""
    address: str = ""
    #: `main.tf:12`
    where: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """How many resources were or would be added, changed and removed."""

    add: int
    change: int
    remove: int
    #: plan | apply | destroy
    operation: str

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.add or self.change or self.remove)


@dataclass(frozen=True, slots=True)
class Said:
    """Anything else, for people."""

    text: str


Event = Planned | Progress | Problem | Summary | Said

_STATES = {
    "apply_start": "begun",
    "apply_progress": "goes on",
    "apply_complete": "done",
    "apply_errored": "failed",
}


def parse(line: str) -> Event | None:
    """Return what a line of Terraform's output says; None for what nobody needs to know.

    What is no JSON is passed on as it is: a Terraform that dies says why in plain text.
    """
    if not line.strip():
        return None
    try:
        told = json.loads(line)
    except ValueError:
        return Said(line.rstrip())
    if not isinstance(told, dict):
        return Said(line.rstrip())
    kind = told.get("type")
    match kind:
        case "planned_change" | "resource_drift":
            change = told.get("change", {})
            return Planned(_address(change), change.get("action", ""), kind == "resource_drift")
        case "apply_start" | "apply_progress" | "apply_complete" | "apply_errored":
            hook = told.get("hook", {})
            elapsed = float(hook.get("elapsed_seconds") or 0.0)
            return Progress(_address(hook), hook.get("action", ""), _STATES[kind], elapsed)
        case "diagnostic":
            return _problem(told.get("diagnostic", {}), str(told.get("@message", "")))
        case "change_summary":
            counts = told.get("changes", {})
            return Summary(
                int(counts.get("add", 0)),
                int(counts.get("change", 0)),
                int(counts.get("remove", 0)),
                str(counts.get("operation", "")),
            )
        case "init_output" | "log":
            return Said(str(told.get("@message", "")))
        case _:
            return None


def _address(told: dict[str, Any]) -> str:
    resource = told.get("resource", {})
    return str(resource.get("addr") or resource.get("resource") or "")


def _problem(told: dict[str, Any], message: str) -> Problem:
    place = told.get("range") or {}
    line = (place.get("start") or {}).get("line")
    return Problem(
        severity=str(told.get("severity", "error")),
        summary=str(told.get("summary") or message),
        detail=str(told.get("detail", "")),
        address=str(told.get("address", "")),
        where=f"{place['filename']}:{line}" if place.get("filename") else "",
    )
