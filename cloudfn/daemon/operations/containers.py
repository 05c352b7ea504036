"""Operations on containers: list, stop, exec."""

from __future__ import annotations

from typing import Any

from cloudfn.agent.docker.order import SOURCE
from cloudfn.control.operations import Fields, Group
from cloudfn.daemon.desk import worker_ids
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session
from cloudfn.errors import NotFoundError
from cloudfn.model.call import ContainerLost


class ContainerOperations(Group):
    """Operations on containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def op_container_list(self, _session: Session, fields: Fields) -> Fields:
        app = fields.get("app")
        return {
            "containers": [
                container
                for container in map(self._container, self._engine.agent.containers())
                if app in (None, container["app_name"], container["app_id"])
            ]
        }

    def _container(self, container: Any) -> Fields:
        pool = self._engine.agent.pool(container.pool)
        now_wall, now = self._engine.clock.wall(), self._engine.clock.monotonic()
        state = "starting"
        if container.draining:
            state = "draining"
        elif container.ready:
            state = "busy" if container.busy else "idle"
        idle = state == "idle"
        gpus = self._engine.place.machine.gpus
        return {
            "container_id": container.container_id,
            "app_id": pool.spec.app_id if pool else "",
            "app_name": self._engine.app_names.get(pool.spec.app_id, "") if pool else "",
            "function_name": pool.spec.shown if pool else "",
            "revision": pool.spec.revision if pool else 0,
            "pid": container.pid,
            "state": state,
            "started": now_wall - (now - container.started),
            "inputs_done": container.inputs_done,
            "idle_since": now_wall - (now - container.last_used) if idle else None,
            "gpus": [gpu.index for gpu in gpus if gpu.device_id in container.gpus],
            "gpu_memory": container.spec.function.gpu_memory,
        }

    def op_container_stop(self, _session: Session, fields: Fields) -> Fields:
        container = self._find_container(fields["container_id"])
        if fields.get("graceful"):
            self._engine.agent.stop(container)
            self._engine.planner.poke()
            return {}
        why = ContainerLost("it was stopped by hand", counted=False)
        self._engine.agent.interrupt(container, why)
        return {}

    def op_container_exec(self, _session: Session, fields: Fields) -> Fields:
        container = self._find_container(fields["container_id"])
        pool = self._engine.agent.pool(container.pool)
        if pool is None or not container.pid:
            raise NotFoundError(
                f"Container {container.container_id} is not running yet.",
                hint="Try again when `cloudfn container list` shows its pid.",
            )
        if pool.spec.program.runtime.image:
            return self._in_docker(container)
        return {
            "environ": self._engine.agent.container_environ(pool, container),
            "cwd": pool.spec.program.bundle,
        }

    def _in_docker(self, container: Any) -> Fields:
        """Return the begin of a `docker exec`; no key and no secret, which others would see."""
        uid, gid = worker_ids()
        return {
            "docker": [
                "docker",
                *("exec", "--interactive", "--user", f"{uid}:{gid}", "--workdir", SOURCE),
            ],
            "container": self._engine.cells.docker_id(container.container_id),
            "environ": dict(self._engine.settings.docker.environ),
            "cwd": "/",
        }

    def _find_container(self, container_id: str) -> Any:
        container = self._engine.agent.container(container_id)
        if container is None:
            raise NotFoundError(
                f"There is no container {container_id}.", hint="See `cloudfn container list`."
            )
        return container
