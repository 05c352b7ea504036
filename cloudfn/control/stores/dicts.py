"""Dicts as clients ask for them: plain fields in, plain fields out."""

from __future__ import annotations

from cloudfn.control.operations import Fields
from cloudfn.control.stores.payloads import ANSWER_SIZE, Intake, StoreBlobs
from cloudfn.control.stores.registry import Registry
from cloudfn.errors import ResourceExhaustedError
from cloudfn.providers.dicts import Dicts
from cloudfn.providers.objects import ObjectKind
from cloudfn.settings import StoreLimits
from cloudfn.wire.texts import from_text, from_texts, to_text, to_texts

_PAGE = 1_000


class DictDesk:
    """Answers questions about dicts."""

    def __init__(
        self, dicts: Dicts, registry: Registry, blobs: StoreBlobs, limits: StoreLimits
    ) -> None:
        self._dicts = dicts
        self._registry = registry
        self._most = limits.dict_update
        self._intake = Intake(
            blobs,
            limits.dict_value_size,
            "A value of a dict",
            "Put what is larger into a Volume.",
        )

    def get(self, fields: Fields, now: float) -> Fields:
        """Return the values of keys."""
        values = self._dicts.get(self._id(fields), from_texts(fields["keys"]), now)
        return {"values": to_texts(values)}

    def put(self, fields: Fields, now: float) -> Fields:
        """Write entries."""
        dict_id, entries = self._id(fields), fields["entries"]
        if len(entries) > self._most:
            raise ResourceExhaustedError(
                f"An update of {len(entries)} entries; at most {self._most} go at once.",
                hint="Update in parts.",
            )
        values = self._intake.take_in(dict_id, [from_text(value) for _, value in entries])
        written = self._dicts.put(
            dict_id,
            [(from_text(key), value) for (key, _), value in zip(entries, values, strict=True)],
            skip_existing=bool(fields.get("skip_existing")),
            request=fields["request"],
            now=now,
        )
        skipped = [value for value, done in zip(values, written, strict=True) if not done]
        self._intake.delete(skipped)
        return {"written": written}

    def pop(self, fields: Fields, now: float) -> Fields:
        """Remove entries, or all, and return their values."""
        keys = fields.get("keys")
        values = self._dicts.pop(
            self._id(fields),
            None if keys is None else from_texts(keys),
            request=fields["request"],
            now=now,
        )
        return {"values": to_texts(values)}

    def scan(self, fields: Fields, now: float) -> Fields:
        """Return entries beyond a position."""
        found = self._dicts.scan(self._id(fields), fields["after"], _PAGE, ANSWER_SIZE, now)
        return {
            "entries": [
                [entry.position, to_text(entry.key), to_text(entry.value)] for entry in found
            ]
        }

    def count(self, fields: Fields, now: float) -> Fields:
        """Return how many entries there are."""
        return {"count": self._dicts.count(self._id(fields), now)}

    def expire(self, now: float, patience: float) -> None:
        """Drop what had its time."""
        self._intake.delete(self._dicts.expire(now, patience))

    def _id(self, fields: Fields) -> str:
        return self._registry.record(fields["dict"], ObjectKind.DICT).object_id
