"""Operations on what programs share, wherever it is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Protocol

from cloudfn.clock import Clock
from cloudfn.control.operations import Asker, Fields, Group
from cloudfn.control.stores.dicts import DictDesk
from cloudfn.control.stores.later import Later
from cloudfn.control.stores.queues import QueueDesk
from cloudfn.control.stores.registry import Registry
from cloudfn.control.stores.secrets import SecretDesk
from cloudfn.control.stores.volumes import VolumeDesk
from cloudfn.errors import PermissionDeniedError
from cloudfn.wire.texts import from_text


class Client(Asker, Hashable, Protocol):
    """A client whose payloads may lie in files."""

    def bring(self, payloads: Iterable[bytes]) -> None:
        """What lies in files of payloads that it hands over has to be where it is kept."""
        ...

    def show(self, payloads: Iterable[bytes]) -> None:
        """Let it read what lies in files of payloads that it is about to get."""
        ...


class ObjectOperations(Group, ABC):
    """Operations on named and ephemeral objects of all kinds, but for opening them.

    Args:
        registry: Has them.
        clock: The time.
    """

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

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock

    @abstractmethod
    def adopt(self, asker: Any, object_id: str) -> None:
        """An ephemeral object lives with a client from here on."""

    @abstractmethod
    def drop(self, asker: Any, object_id: str) -> None:
        """Delete an object with everything in it. Idempotent."""

    def op_object_reattach(self, asker: Asker, fields: Fields) -> Fields:
        record = self._registry.record(fields["object_id"])
        if not record.name:
            self.adopt(asker, record.object_id)
        return {}

    def op_object_close(self, asker: Asker, fields: Fields) -> Fields:
        return self.op_object_delete(asker, fields)

    def op_object_delete(self, asker: Asker, fields: Fields) -> Fields:
        check_secrets_from(asker, is_secret=fields["object_id"].startswith("st-"))
        self.drop(asker, fields["object_id"])
        return {}

    def op_object_list(self, asker: Asker, fields: Fields) -> Fields:
        check_secrets_from(asker, is_secret=fields.get("kind") == "secret")
        return self._registry.listing(fields)

    def op_object_rename(self, asker: Asker, fields: Fields) -> Fields:
        check_secrets_from(asker, is_secret=fields["object_id"].startswith("st-"))
        return self._registry.rename(fields)


class SecretOperations(Group):
    """Operations on secrets: none tells a value, and none is for containers."""

    def __init__(self, secrets: SecretDesk, clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock

    def op_secret_create(self, _asker: Asker, fields: Fields) -> Fields:
        return self._secrets.create(fields, self._clock.wall())

    def op_secret_store(self, _asker: Asker, fields: Fields) -> Fields:
        return self._secrets.store(fields, self._clock.wall())

    def op_secret_update(self, _asker: Asker, fields: Fields) -> Fields:
        return self._secrets.update(fields, self._clock.wall())


class VolumeOperations(Group):
    """Operations on volumes, but for those on the mounts of whoever asks."""

    def __init__(self, volumes: VolumeDesk, clock: Clock) -> None:
        self._volumes = volumes
        self._clock = clock

    def op_volume_list(self, _asker: Asker, fields: Fields) -> Fields:
        return self._volumes.list(fields, self._clock.wall())

    def op_volume_locate(self, _asker: Asker, fields: Fields) -> Fields:
        return self._volumes.locate(fields, self._clock.wall())

    def op_volume_link(self, _asker: Asker, fields: Fields) -> Fields:
        return self._volumes.link(fields, self._clock.wall())

    def op_volume_usage(self, _asker: Asker, fields: Fields) -> Fields:
        return self._volumes.usage(fields, self._clock.wall())

    def op_volume_stage(self, _asker: Asker, fields: Fields) -> Fields:
        return self._volumes.stage(fields, self._clock.wall())

    def op_volume_put(self, _asker: Asker, fields: Fields) -> Fields:
        return self._volumes.put(fields, self._clock.wall())

    def op_volume_remove(self, _asker: Asker, fields: Fields) -> Fields:
        return self._volumes.remove(fields, self._clock.wall())

    def op_volume_copy(self, _asker: Asker, fields: Fields) -> Fields:
        return self._volumes.copy(fields, self._clock.wall())


class DictOperations(Group):
    """Operations on dicts."""

    for_containers = frozenset({"dict_count", "dict_get", "dict_pop", "dict_put", "dict_scan"})

    def __init__(self, dicts: DictDesk, clock: Clock) -> None:
        self._dicts = dicts
        self._clock = clock

    def op_dict_get(self, client: Client, fields: Fields) -> Fields:
        told = self._dicts.get(fields, self._clock.wall())
        client.show(_payloads(told["values"]))
        return told

    def op_dict_put(self, client: Client, fields: Fields) -> Fields:
        client.bring(_payloads(value for _, value in fields["entries"]))
        return self._dicts.put(fields, self._clock.wall())

    def op_dict_pop(self, client: Client, fields: Fields) -> Fields:
        told = self._dicts.pop(fields, self._clock.wall())
        client.show(_payloads(told["values"]))
        return told

    def op_dict_scan(self, client: Client, fields: Fields) -> Fields:
        told = self._dicts.scan(fields, self._clock.wall())
        client.show(_payloads(text for entry in told["entries"] for text in entry[1:]))
        return told

    def op_dict_count(self, _client: Client, fields: Fields) -> Fields:
        return self._dicts.count(fields, self._clock.wall())


class QueueOperations(Group):
    """Operations on queues.

    Args:
        queues: Has them.
        clock: The time.
        awaited: Makes an answer that is perhaps not there yet one of a request.
    """

    for_containers = frozenset(
        {"queue_clear", "queue_counts", "queue_peek", "queue_put", "queue_settle", "queue_take"}
    )

    def __init__(
        self, queues: QueueDesk, clock: Clock, awaited: Callable[[Later], Fields | Later]
    ) -> None:
        self._queues = queues
        self._clock = clock
        self._awaited = awaited

    def op_queue_put(self, client: Client, fields: Fields) -> Fields | Later:
        client.bring(_payloads(fields["items"]))
        return self._awaited(self._queues.put(client, fields, self._clock.wall()))

    def op_queue_take(self, client: Client, fields: Fields) -> Fields | Later:
        later = self._queues.take(client, fields, self._clock.wall())
        later.then(lambda told: client.show(_payloads(told["items"])))
        return self._awaited(later)

    def op_queue_peek(self, client: Client, fields: Fields) -> Fields | Later:
        later = self._queues.peek(client, fields, self._clock.wall())
        later.then(lambda told: client.show(_payloads(text for _, text in told["items"])))
        return self._awaited(later)

    def op_queue_settle(self, _client: Client, fields: Fields) -> Fields:
        return self._queues.settle(fields, self._clock.wall())

    def op_queue_counts(self, _client: Client, fields: Fields) -> Fields:
        return self._queues.counts(fields, self._clock.wall())

    def op_queue_clear(self, _client: Client, fields: Fields) -> Fields:
        return self._queues.clear(fields, self._clock.wall())


def check_secrets_from(asker: Asker, *, is_secret: bool) -> None:
    """Raise PermissionDeniedError where user code in a container looks for secrets."""
    if is_secret and asker.container_id is not None:
        raise PermissionDeniedError(
            "User code in a container may not look for secrets.",
            hint="Name those that it needs in `@app.function(secrets=[…])`.",
        )


def _payloads(texts: Iterable[str | None]) -> Iterator[bytes]:
    """Yield payloads as they are asked for: most clients need no look at them."""
    return (from_text(text) for text in texts if text is not None)
