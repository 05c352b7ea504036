"""Operations on the daemon itself: how it is, and that it should leave."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict

from cloudfn.control.operations import Fields, Group
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session
from cloudfn.errors import InvalidError
from cloudfn.model.call import Status
from cloudfn.model.gpu import Gpu


class DaemonOperations(Group):
    """Operations on the daemon itself."""

    def __init__(
        self, engine: Engine, facts: Callable[[], Fields], shut_down: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._facts = facts
        self._shut_down = shut_down

    def op_status(self, _session: Session, _fields: Fields) -> Fields:
        agent = self._engine.agent
        return {
            **self._facts(),
            "pid": os.getpid(),
            "environment": self._engine.settings.environment,
            "containers": len(agent.containers()),
            "apps": len(self._engine.catalog.apps()),
            "calls": self._engine.calls.active,
            "socket": self._engine.place.socket,
            "state_dir": str(self._engine.place.state_dir),
            "gpus": [self._gpu(gpu) for gpu in self._engine.place.machine.gpus],
            "trouble": str(self._engine.journal.trouble or ""),
            "statuses": [status.name for status in Status],
        }

    def _gpu(self, gpu: Gpu) -> Fields:
        holders = (c for c in self._engine.agent.containers() if gpu.device_id in c.gpus)
        return {**asdict(gpu), "containers": [container.container_id for container in holders]}

    def op_shutdown(self, _session: Session, fields: Fields) -> Fields:
        mode = fields.get("mode") or "drain"
        if mode not in ("drain", "now"):
            raise InvalidError(f"Unknown mode {mode!r}.", hint="Use drain or now.")
        self._shut_down(mode)
        return {}
