"""Named objects in memory."""

from __future__ import annotations

from dataclasses import replace

from cloudfn.providers.objects import ObjectKind, ObjectRecord, no_object, taken


class MemoryObjects:
    """The `Objects` port as a dictionary."""

    def __init__(self) -> None:
        self._objects: dict[str, ObjectRecord] = {}

    def create(self, record: ObjectRecord) -> None:
        if record.object_id in self._objects:
            return
        self._check_name(record.kind, record.name)
        self._objects[record.object_id] = record

    def get(self, object_id: str) -> ObjectRecord | None:
        return self._objects.get(object_id)

    def find(self, kind: ObjectKind, name: str) -> ObjectRecord | None:
        found = (r for r in self._objects.values() if (r.kind, r.name) == (kind, name) and name)
        return next(found, None)

    def list(self, kind: ObjectKind) -> list[ObjectRecord]:
        records = [r for r in reversed(self._objects.values()) if r.kind is kind]
        return sorted(records, key=lambda record: -record.created)

    def rename(self, object_id: str, name: str) -> None:
        record = self._objects.get(object_id)
        if record is None:
            raise no_object(object_id)
        if record.name != name:
            self._check_name(record.kind, name)
        self._objects[object_id] = replace(record, name=name)

    def delete(self, object_id: str) -> None:
        self._objects.pop(object_id, None)

    def close(self) -> None:
        """See the port; memory needs none."""

    def _check_name(self, kind: ObjectKind, name: str) -> None:
        if self.find(kind, name) is not None:
            raise taken(kind, name)
