"""Named objects as clients ask for them: opened, listed, renamed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudfn.control.operations import Fields
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.names import check_characters
from cloudfn.providers.objects import ObjectKind, ObjectRecord, Objects

Wipe = Callable[[str], None]


class Registry:
    """Which objects there are.

    Args:
        objects: Where they are registered.
        wipes: For each kind, what deletes everything that an object holds.
    """

    def __init__(self, objects: Objects, wipes: Mapping[ObjectKind, Wipe]) -> None:
        self._objects = objects
        self._wipes = wipes

    def open(self, fields: Fields, now: float) -> Fields:
        """Find an object by name, or make it under the id that the client minted."""
        kind = _kind(fields["kind"])
        name, new_id = fields.get("name") or "", fields.get("object_id")
        found = self._objects.find(kind, name)
        if found is None or not (fields.get("exist_ok") or found.object_id == new_id or not new_id):
            found = self._make(kind, name, new_id, now)
        return _told(found)

    def _make(self, kind: ObjectKind, name: str, object_id: str | None, now: float) -> ObjectRecord:
        if object_id is None:
            raise NotFoundError(
                f"There is no {kind.noun} named {name!r} in this environment.",
                hint=f"Make it with `cloudfn {kind.noun} create {name}`, or with "
                "create_if_missing=True.",
            )
        if not object_id.startswith(f"{kind.value}-"):
            raise InvalidError(f"{object_id!r} is no id of a {kind.noun}.")
        if name:
            check_characters(kind.noun, name)
        record = ObjectRecord(object_id, kind, name, now)
        self._objects.create(record)
        return record

    def listing(self, fields: Fields) -> Fields:
        """Return the named objects of a kind."""
        records = self._objects.list(_kind(fields["kind"]))
        return {"objects": [_told(record) for record in records if record.name]}

    def rename(self, fields: Fields) -> Fields:
        """Give an object another name."""
        record = self.record(fields["object_id"])
        check_characters(record.kind.noun, fields["name"])
        self._objects.rename(record.object_id, fields["name"])
        return {}

    def delete(self, object_id: str) -> None:
        """Delete an object with everything in it. Idempotent."""
        record = self._objects.get(object_id)
        if record is not None:
            # The name last: whoever dies in between has this done again.
            self._wipes[record.kind](object_id)
            self._objects.delete(object_id)

    def ephemeral(self) -> list[str]:
        """Return the ids of all ephemeral objects."""
        records = [record for kind in ObjectKind for record in self._objects.list(kind)]
        return [record.object_id for record in records if not record.name]

    def knows(self, object_id: str) -> bool:
        """Whether there is such an object."""
        return self._objects.get(object_id) is not None

    def record(self, object_id: str, kind: ObjectKind | None = None) -> ObjectRecord:
        """Return an object; raises NotFoundError when it is gone or something else."""
        record = self._objects.get(object_id)
        if record is None or kind not in (None, record.kind):
            noun = kind.noun if kind else "object"
            raise NotFoundError(
                f"There is no {noun} {object_id}.", hint="It was deleted; make it anew."
            )
        return record


def _kind(noun: str) -> ObjectKind:
    try:
        return ObjectKind[str(noun).upper()]
    except KeyError:
        raise InvalidError(f"There are no objects of the kind {noun!r}.") from None


def _told(record: ObjectRecord) -> Fields:
    return {"object_id": record.object_id, "name": record.name, "created": record.created}
