"""Operations on containers of a cloud: list, stop, exec. Machines report them, and are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.fleet import function_of, present
from cloudfn.control.operations import Fields, Group
from cloudfn.errors import NotFoundError
from cloudfn.providers.machines import ContainerReport, MachineRow, PoolReport, Stop

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front


class ContainerOperations(Group):
    """Operations on containers."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def op_container_list(self, _conversation: Conversation, fields: Fields) -> Fields:
        wanted, directory = fields.get("app"), self._front.directory
        found: list[Fields] = []
        for row, pool, report in self._front.fleet.reports():
            function = self._front.cloud.catalog.function(function_of(pool))
            app_id = function.app_id if function else ""
            name = directory.app_name(function.function_id) if function else ""
            if wanted not in (None, name, app_id):
                continue
            common = {
                "app_id": app_id,
                "app_name": name,
                "function_name": function.shown if function else "",
                "revision": int(pool.rpartition("@")[2]),
                "machine_id": row.report.machine_id,
            }
            found += [{**_NOTHING_KNOWN, **common, **each} for each in _described(report)]
        return {"containers": found}

    def op_container_stop(self, _conversation: Conversation, fields: Fields) -> Fields:
        row, container = self._find(str(fields["container_id"]))
        stop = Stop(container.container_id, graceful=bool(fields.get("graceful")))
        self._front.cloud.machines.stop(row.report.machine_id, [stop])
        return {}

    def op_container_exec(self, _conversation: Conversation, fields: Fields) -> Fields:
        """Return where a container is; Docker runs programs in it there."""
        row, _ = self._find(str(fields["container_id"]))
        return {"machine": row.report.machine_id}

    def _find(self, container_id: str) -> tuple[MachineRow, ContainerReport]:
        unnamed = False
        for row, _, report in self._front.fleet.reports():
            for container in report.containers:
                if container.container_id == container_id:
                    return row, container
            unnamed = unnamed or present(report) > len(report.containers)
        hint = "See `cloudfn container list`; a container that just started is there in 5 s."
        if unnamed:
            hint += " Some machines do not name all of theirs."
        raise NotFoundError(f"There is no container {container_id}.", hint=hint)


#: what machines do not tell
_NOTHING_KNOWN: Fields = {
    "container_id": None,
    "pid": None,
    "started": None,
    "inputs_done": None,
    "idle_since": None,
    "gpus": [],
    "gpu_memory": None,
}


def _described(report: PoolReport) -> Iterator[Fields]:
    """Yield the containers of a pool on one machine, at the end those that have no name."""
    for each in report.containers:
        yield {
            "container_id": each.container_id,
            "state": each.state.value,
            "started": each.started,
            "inputs_done": each.inputs_done,
        }
    for _ in range(present(report) - len(report.containers)):
        yield {"state": "unnamed"}
