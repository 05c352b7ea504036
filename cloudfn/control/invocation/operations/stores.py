"""Operations on what programs share that are a cloud's own: who has what, and no mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.operations import Fields
from cloudfn.control.stores import operations
from cloudfn.control.stores.operations import check_secrets_from
from cloudfn.errors import InvalidError

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front


class ObjectOperations(operations.ObjectOperations):
    """Operations on named and ephemeral objects of all kinds."""

    def __init__(self, front: Front) -> None:
        super().__init__(front.stores.registry, front.clock)
        self._front = front

    def op_object_open(self, conversation: Conversation, fields: Fields) -> Fields:
        check_secrets_from(conversation, is_secret=fields.get("kind") == "secret")
        unnamed = fields.get("object_id") if not fields.get("name") else None
        if unnamed:
            # First: a client that ends in between leaves nothing that nobody owns.
            self._front.calls.listening.own(unnamed)
        told = self._registry.open(fields, self._clock.wall())
        if unnamed:
            conversation.objects[unnamed] = None
        return told

    def adopt(self, asker: Conversation, object_id: str) -> None:
        """An ephemeral object lives with a client from here on."""
        asker.objects[object_id] = None
        self._front.calls.listening.own(object_id)

    def drop(self, asker: Conversation, object_id: str) -> None:
        """Delete an object with everything in it. Idempotent."""
        self._front.drop_object(asker, object_id)


class VolumeOperations(operations.VolumeOperations):
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
