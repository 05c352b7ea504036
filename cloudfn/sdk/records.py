"""What the SDK tells about functions and calls, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from cloudfn.model.call import Status


@dataclass(frozen=True, slots=True)
class FunctionCurrentStats:
    """What a Function is doing right now."""

    #: inputs that wait
    backlog: int
    #: containers
    num_total_runners: int
    num_running_inputs: int = 0
    #: inputs that live containers could take at once
    input_headroom: int = 0

    @classmethod
    def from_replies(cls, replies: Iterable[dict[str, Any]]) -> FunctionCurrentStats:
        """Return the sum of the figures in an engine's replies."""
        totals = dict.fromkeys(cls.__slots__, 0)
        for told in replies:
            for name in totals:
                totals[name] += told.get(name, 0)
        return cls(**totals)


FunctionStats = FunctionCurrentStats


@dataclass(frozen=True, slots=True)
class FunctionAutoscalerSettings:
    """How many containers a Function may and should have, as in force now."""

    min_containers: int | None = None
    #: None: no limit
    max_containers: int | None = None
    #: seconds that an idle container is kept
    scaledown_window: int | None = None
    buffer_containers: int | None = None

    @classmethod
    def from_reply(cls, told: dict[str, Any]) -> FunctionAutoscalerSettings:
        """Return the settings in an engine's reply."""
        return cls(**{name: told.get(name) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """A Function as the engine knows it."""

    function_id: str
    name: str
    app_id: str
    app_name: str
    #: number of the revision that it was looked up in
    version: int
    #: the settings of its declaration, as plain data
    definition: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AppInfo:
    """An App as the engine knows it."""

    app_id: str
    name: str
    #: ephemeral, detached, deployed or stopped
    state: str
    #: number of the live revision
    version: int
    created_at: datetime
    #: how many there are now
    containers: int
    #: names of its functions
    functions: tuple[str, ...]
    tags: dict[str, str]

    @classmethod
    def from_reply(cls, told: dict[str, Any]) -> AppInfo:
        """Return the App that an engine's reply describes."""
        return cls(
            app_id=told["app_id"],
            name=told["name"],
            state=told["state"],
            version=told["revision"],
            created_at=datetime.fromtimestamp(told["created"], UTC),
            containers=told["containers"],
            functions=tuple(told["functions"]),
            tags=dict(told["tags"]),
        )


class InputStatus(IntEnum):
    """Where an input is, with Modal's numbers."""

    PENDING = 0
    SUCCESS = 1
    FAILURE = 2
    TERMINATED = 3
    TIMEOUT = 4
    INIT_FAILURE = 5


_STATUSES = {
    Status.PENDING: InputStatus.PENDING,
    Status.RUNNING: InputStatus.PENDING,
    Status.RETURNED: InputStatus.SUCCESS,
    Status.RAISED: InputStatus.FAILURE,
    Status.TIMED_OUT: InputStatus.TIMEOUT,
    Status.CANCELLED: InputStatus.TERMINATED,
    Status.LOST: InputStatus.FAILURE,
}


@dataclass(frozen=True, slots=True)
class InputInfo:
    """One input in a call graph, with the inputs of the calls that it made."""

    input_id: str
    function_call_id: str
    #: the container that runs or ran it; empty when none did
    task_id: str
    status: InputStatus
    function_name: str
    module_name: str
    children: list[InputInfo] = field(default_factory=list)


def call_graph(nodes: list[dict[str, Any]]) -> list[InputInfo]:
    """Return the roots of the graph that an engine's reply describes."""
    known = {node["input_id"]: _info(node) for node in nodes}
    roots: list[InputInfo] = []
    for node in nodes:
        info = known[node["input_id"]]
        above = known.get(node.get("parent") or "")
        (roots if above is None else above.children).append(info)
    return roots


def _info(node: dict[str, Any]) -> InputInfo:
    status = node["status"]
    known = Status[status.upper()] if isinstance(status, str) else Status(status)
    return InputInfo(
        input_id=node["input_id"],
        function_call_id=node["call"],
        task_id=node.get("container") or "",
        status=_STATUSES[known],
        function_name=node.get("function_name", ""),
        module_name=node.get("module_name", ""),
    )
