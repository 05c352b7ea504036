"""Operations on objects that programs share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cloudfn.control.invocation.caller import Fields
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.operations.table import Group
from cloudfn.control.stores.later import Later
from cloudfn.errors import InvalidError, PermissionDeniedError
from cloudfn.wire.messages import BlobRef, is_blob
from cloudfn.wire.texts import from_text

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front


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

    def __init__(self, front: Front) -> None:
        self._front = front
        self._registry = front.stores.registry

    def op_object_open(self, conversation: Conversation, fields: Fields) -> Fields:
        _check_secrets_from(conversation, is_secret=fields.get("kind") == "secret")
        unnamed = fields.get("object_id") if not fields.get("name") else None
        if unnamed:
            # First: a client that ends in between leaves nothing that nobody owns.
            self._front.calls.listening.own(unnamed)
        told = self._registry.open(fields, self._front.clock.wall())
        if unnamed:
            conversation.objects[unnamed] = None
        return told

    def op_object_reattach(self, conversation: Conversation, fields: Fields) -> Fields:
        record = self._registry.record(fields["object_id"])
        if not record.name:
            conversation.objects[record.object_id] = None
            self._front.calls.listening.own(record.object_id)
        return {}

    def op_object_close(self, conversation: Conversation, fields: Fields) -> Fields:
        return self.op_object_delete(conversation, fields)

    def op_object_delete(self, conversation: Conversation, fields: Fields) -> Fields:
        object_id = fields["object_id"]
        _check_secrets_from(conversation, is_secret=object_id.startswith("st-"))
        self._front.drop_object(conversation, object_id)
        return {}

    def op_object_list(self, conversation: Conversation, fields: Fields) -> Fields:
        _check_secrets_from(conversation, is_secret=fields.get("kind") == "secret")
        return self._registry.listing(fields)

    def op_object_rename(self, conversation: Conversation, fields: Fields) -> Fields:
        _check_secrets_from(conversation, is_secret=fields["object_id"].startswith("st-"))
        return self._registry.rename(fields)


class SecretOperations(Group):
    """Operations on secrets: none tells a value, and none is for containers."""

    def __init__(self, front: Front) -> None:
        self._secrets = front.stores.secrets
        self._clock = front.clock

    def op_secret_create(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._secrets.create(fields, self._clock.wall())

    def op_secret_store(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._secrets.store(fields, self._clock.wall())

    def op_secret_update(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._secrets.update(fields, self._clock.wall())


class VolumeOperations(Group):
    """Operations on volumes from outside of containers, or beside their mounts."""

    for_containers = frozenset(
        {
            "volume_copy",
            "volume_link",
            "volume_list",
            "volume_mounts",
            "volume_remove",
            "volume_usage",
        }
    )

    def __init__(self, front: Front) -> None:
        self._volumes = front.stores.volumes
        self._clock = front.clock

    def op_volume_list(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._volumes.list(fields, self._clock.wall())

    def op_volume_locate(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._volumes.locate(fields, self._clock.wall())

    def op_volume_link(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._volumes.link(fields, self._clock.wall())

    def op_volume_usage(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._volumes.usage(fields, self._clock.wall())

    def op_volume_stage(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._volumes.stage(fields, self._clock.wall())

    def op_volume_put(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._volumes.put(fields, self._clock.wall())

    def op_volume_remove(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._volumes.remove(fields, self._clock.wall())

    def op_volume_copy(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._volumes.copy(fields, self._clock.wall())

    def op_volume_mounts(self, _conversation: Conversation, fields: Fields) -> Fields:
        self._volumes.id_of(fields)
        return {"mounts": []}

    def op_volume_commit(self, _conversation: Conversation, fields: Fields) -> Fields:
        self._volumes.id_of(fields)
        raise InvalidError(
            "Only containers have mounts to commit.",
            hint="Use `batch_upload` outside of containers.",
        )

    def op_volume_reload(self, _conversation: Conversation, fields: Fields) -> Fields:
        self._volumes.id_of(fields)
        raise InvalidError("Only containers have mounts to reload.")


class DictOperations(Group):
    """Operations on dicts."""

    for_containers = frozenset({"dict_count", "dict_get", "dict_pop", "dict_put", "dict_scan"})

    def __init__(self, front: Front) -> None:
        self._front = front
        self._dicts = front.stores.dicts
        self._clock = front.clock

    def op_dict_get(self, conversation: Conversation, fields: Fields) -> Fields:
        told = self._dicts.get(fields, self._clock.wall())
        return self._shown(conversation, told, told["values"])

    def op_dict_put(self, conversation: Conversation, fields: Fields) -> Fields:
        self._front.send(conversation.caller, _blobs(value for _, value in fields["entries"]))
        return self._dicts.put(fields, self._clock.wall())

    def op_dict_pop(self, conversation: Conversation, fields: Fields) -> Fields:
        told = self._dicts.pop(fields, self._clock.wall())
        return self._shown(conversation, told, told["values"])

    def op_dict_scan(self, conversation: Conversation, fields: Fields) -> Fields:
        told = self._dicts.scan(fields, self._clock.wall())
        texts = [text for entry in told["entries"] for text in entry[1:]]
        return self._shown(conversation, told, texts)

    def op_dict_count(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._dicts.count(fields, self._clock.wall())

    def _shown(
        self, conversation: Conversation, told: Fields, texts: Iterable[str | None]
    ) -> Fields:
        self._front.fetch(conversation.caller, _blobs(texts))
        return told


class QueueOperations(Group):
    """Operations on queues; those that wait block."""

    for_containers = frozenset(
        {"queue_clear", "queue_counts", "queue_peek", "queue_put", "queue_settle", "queue_take"}
    )

    def __init__(self, front: Front) -> None:
        self._front = front
        self._queues = front.stores.queues
        self._clock = front.clock

    def op_queue_put(self, conversation: Conversation, fields: Fields) -> Fields:
        self._front.send(conversation.caller, _blobs(fields["items"]))
        return _given(self._queues.put(conversation, fields, self._clock.wall()))

    def op_queue_take(self, conversation: Conversation, fields: Fields) -> Fields:
        told = _given(self._queues.take(conversation, fields, self._clock.wall()))
        self._front.fetch(conversation.caller, _blobs(told["items"]))
        return told

    def op_queue_peek(self, conversation: Conversation, fields: Fields) -> Fields:
        told = _given(self._queues.peek(conversation, fields, self._clock.wall()))
        self._front.fetch(conversation.caller, _blobs(text for _, text in told["items"]))
        return told

    def op_queue_settle(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._queues.settle(fields, self._clock.wall())

    def op_queue_counts(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._queues.counts(fields, self._clock.wall())

    def op_queue_clear(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._queues.clear(fields, self._clock.wall())


def _given(later: Later) -> Fields:
    """Return an answer that is there."""
    told: list[Fields] = []
    later.then(told.append)
    return told[0]


def _blobs(texts: Iterable[str | None]) -> list[BlobRef]:
    """Return what of payloads, as texts, lies in files."""
    payloads = [from_text(text) for text in texts if text is not None]
    return [BlobRef.decode(each) for each in payloads if is_blob(each)]


def _check_secrets_from(conversation: Conversation, *, is_secret: bool) -> None:
    if is_secret and conversation.caller.container_id is not None:
        raise PermissionDeniedError(
            "User code in a container may not look for secrets.",
            hint="Name those that it needs in `@app.function(secrets=[…])`.",
        )
