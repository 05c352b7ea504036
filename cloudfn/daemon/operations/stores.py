"""Operations on objects that programs share: any of them, dicts, queues."""

from __future__ import annotations

from collections.abc import Iterable

from cloudfn.control.stores.later import Later
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.operations.table import Fields, Group
from cloudfn.daemon.session import Session
from cloudfn.errors import PermissionDeniedError
from cloudfn.wire.texts import from_texts


class ObjectOperations(Group):
    """Operations on named and ephemeral objects of all kinds."""

    for_containers = frozenset(
        {
            "object_close",
            "object_delete",
            "object_list",
            "object_open",
            "object_reattach",
            "object_rename",
        }
    )

    def __init__(self, engine: Engine) -> None:
        self._stores = engine.stores
        self._clock = engine.clock

    def op_object_open(self, session: Session, fields: Fields) -> Fields:
        _check_secrets_from(session, is_secret=fields.get("kind") == "secret")
        told = self._stores.registry.open(fields, self._clock.wall())
        if not told["name"]:
            self._stores.adopt(told["object_id"], session)
        return told

    def op_object_reattach(self, session: Session, fields: Fields) -> Fields:
        record = self._stores.registry.record(fields["object_id"])
        if not record.name:
            self._stores.adopt(record.object_id, session)
        return {}

    def op_object_close(self, session: Session, fields: Fields) -> Fields:
        return self.op_object_delete(session, fields)

    def op_object_delete(self, session: Session, fields: Fields) -> Fields:
        _check_secrets_from(session, is_secret=fields["object_id"].startswith("st-"))
        self._stores.delete(fields["object_id"])
        return {}

    def op_object_list(self, session: Session, fields: Fields) -> Fields:
        _check_secrets_from(session, is_secret=fields.get("kind") == "secret")
        return self._stores.registry.listing(fields)

    def op_object_rename(self, session: Session, fields: Fields) -> Fields:
        _check_secrets_from(session, is_secret=fields["object_id"].startswith("st-"))
        return self._stores.registry.rename(fields)


class SecretOperations(Group):
    """Operations on secrets: none tells a value, and none is for containers."""

    def __init__(self, engine: Engine) -> None:
        self._secrets = engine.stores.secrets
        self._clock = engine.clock

    def op_secret_create(self, _session: Session, fields: Fields) -> Fields:
        return self._secrets.create(fields, self._clock.wall())

    def op_secret_store(self, _session: Session, fields: Fields) -> Fields:
        return self._secrets.store(fields, self._clock.wall())

    def op_secret_update(self, _session: Session, fields: Fields) -> Fields:
        return self._secrets.update(fields, self._clock.wall())


class VolumeOperations(Group):
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
        self._volumes = engine.stores.volumes
        self._workspaces = engine.workspaces
        self._clock = engine.clock

    def op_volume_list(self, _session: Session, fields: Fields) -> Fields:
        return self._volumes.list(fields, self._clock.wall())

    def op_volume_locate(self, _session: Session, fields: Fields) -> Fields:
        return self._volumes.locate(fields, self._clock.wall())

    def op_volume_link(self, _session: Session, fields: Fields) -> Fields:
        return self._volumes.link(fields, self._clock.wall())

    def op_volume_usage(self, _session: Session, fields: Fields) -> Fields:
        return self._volumes.usage(fields, self._clock.wall())

    def op_volume_stage(self, _session: Session, fields: Fields) -> Fields:
        return self._volumes.stage(fields, self._clock.wall())

    def op_volume_put(self, _session: Session, fields: Fields) -> Fields:
        return self._volumes.put(fields, self._clock.wall())

    def op_volume_remove(self, _session: Session, fields: Fields) -> Fields:
        return self._volumes.remove(fields, self._clock.wall())

    def op_volume_copy(self, _session: Session, fields: Fields) -> Fields:
        return self._volumes.copy(fields, self._clock.wall())

    def op_volume_mounts(self, session: Session, fields: Fields) -> Fields:
        volume_id = self._volumes.id_of(fields)
        return {"mounts": self._workspaces.mounts(session.container_id, volume_id)}

    def op_volume_commit(self, session: Session, fields: Fields) -> Later:
        return self._workspaces.commit(session.container_id, self._volumes.id_of(fields))

    def op_volume_reload(self, session: Session, fields: Fields) -> Later:
        return self._workspaces.reload(session.container_id, self._volumes.id_of(fields))


class DictOperations(Group):
    """Operations on dicts."""

    for_containers = frozenset({"dict_count", "dict_get", "dict_pop", "dict_put", "dict_scan"})

    def __init__(self, engine: Engine) -> None:
        self._dicts = engine.stores.dicts
        self._clock = engine.clock

    def op_dict_get(self, session: Session, fields: Fields) -> Fields:
        told = self._dicts.get(fields, self._clock.wall())
        return _shown(session, told, told["values"])

    def op_dict_put(self, _session: Session, fields: Fields) -> Fields:
        return self._dicts.put(fields, self._clock.wall())

    def op_dict_pop(self, session: Session, fields: Fields) -> Fields:
        told = self._dicts.pop(fields, self._clock.wall())
        return _shown(session, told, told["values"])

    def op_dict_scan(self, session: Session, fields: Fields) -> Fields:
        told = self._dicts.scan(fields, self._clock.wall())
        return _shown(session, told, [text for entry in told["entries"] for text in entry[1:]])

    def op_dict_count(self, _session: Session, fields: Fields) -> Fields:
        return self._dicts.count(fields, self._clock.wall())


class QueueOperations(Group):
    """Operations on queues."""

    for_containers = frozenset(
        {"queue_clear", "queue_counts", "queue_peek", "queue_put", "queue_settle", "queue_take"}
    )

    def __init__(self, engine: Engine) -> None:
        self._stores = engine.stores
        self._queues = engine.stores.queues
        self._clock = engine.clock

    def op_queue_put(self, session: Session, fields: Fields) -> Later:
        return self._armed(self._queues.put(session, fields, self._clock.wall()))

    def op_queue_take(self, session: Session, fields: Fields) -> Later:
        return self._armed(self._queues.take(session, fields, self._clock.wall()), session)

    def op_queue_peek(self, session: Session, fields: Fields) -> Later:
        return self._armed(self._queues.peek(session, fields, self._clock.wall()), session)

    def op_queue_settle(self, _session: Session, fields: Fields) -> Fields:
        return self._queues.settle(fields, self._clock.wall())

    def op_queue_counts(self, _session: Session, fields: Fields) -> Fields:
        return self._queues.counts(fields, self._clock.wall())

    def op_queue_clear(self, _session: Session, fields: Fields) -> Fields:
        return self._queues.clear(fields, self._clock.wall())

    def _armed(self, later: Later, session: Session | None = None) -> Later:
        if session is not None and session.view is not None:
            later.then(lambda told: _show_items(session, told))
        if not later.given:
            self._stores.arm()
        return later


def _show_items(session: Session, told: Fields) -> None:
    """Let a client read elements that are about to come: texts, or texts with their positions."""
    items = told.get("items") or ()
    _shown(session, told, [each if isinstance(each, str) else each[-1] for each in items])


def _shown(session: Session, told: Fields, texts: Iterable[str | None]) -> Fields:
    """Return an answer, once the client can read the payloads in it."""
    if session.view is not None:
        session.show(from_texts(text for text in texts if text is not None))
    return told


def _check_secrets_from(session: Session, *, is_secret: bool) -> None:
    if is_secret and session.container_id is not None:
        raise PermissionDeniedError(
            "User code in a container may not look for secrets.",
            hint="Name those that it needs in `@app.function(secrets=[…])`.",
        )
