"""Operations on what programs share that are a daemon's own: who has what, and mounts."""

from __future__ import annotations

from cloudfn.control.operations import Fields
from cloudfn.control.stores import operations
from cloudfn.control.stores.later import Later
from cloudfn.control.stores.operations import check_secrets_from
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session


class ObjectOperations(operations.ObjectOperations):
    """Operations on named and ephemeral objects of all kinds."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.stores.registry, engine.clock)
        self._stores = engine.stores

    def op_object_open(self, session: Session, fields: Fields) -> Fields:
        check_secrets_from(session, is_secret=fields.get("kind") == "secret")
        told = self._registry.open(fields, self._clock.wall())
        if not told["name"]:
            self.adopt(session, told["object_id"])
        return told

    def adopt(self, asker: Session, object_id: str) -> None:
        """An ephemeral object lives with a client from here on."""
        self._stores.adopt(object_id, asker)

    def drop(self, asker: Session, object_id: str) -> None:  # noqa: ARG002 - whoever has it
        """Delete an object with everything in it. Idempotent."""
        self._stores.delete(object_id)


class VolumeOperations(operations.VolumeOperations):
    """Operations on volumes; `commit` and `reload` are about the container that asks."""

    for_containers = frozenset(
        {
            "volume_commit",
            "volume_copy",
            "volume_link",
            "volume_list",
            "volume_locate",
            "volume_mounts",
            "volume_put",
            "volume_reload",
            "volume_remove",
            "volume_stage",
            "volume_usage",
        }
    )
    for_processes = frozenset({"volume_locate", "volume_put", "volume_stage"})

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.stores.volumes, engine.clock)
        self._workspaces = engine.workspaces

    def op_volume_mounts(self, session: Session, fields: Fields) -> Fields:
        volume_id = self._volumes.id_of(fields)
        return {"mounts": self._workspaces.mounts(session.container_id, volume_id)}

    def op_volume_commit(self, session: Session, fields: Fields) -> Later:
        return self._workspaces.commit(session.container_id, self._volumes.id_of(fields))

    def op_volume_reload(self, session: Session, fields: Fields) -> Later:
        return self._workspaces.reload(session.container_id, self._volumes.id_of(fields))
