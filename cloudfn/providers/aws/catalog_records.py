"""How apps, revisions and functions look in DynamoDB. Pure."""

from __future__ import annotations

import zlib
from json import dumps, loads

from cloudfn.errors import RequestSizeError
from cloudfn.model.ids import derive
from cloudfn.model.variant import Variant
from cloudfn.providers.aws.table import Item
from cloudfn.providers.catalog import (
    AppRecord,
    FunctionRecord,
    RevisionRecord,
    RevisionSpec,
    unreadable,
)

#: bytes of a compressed revision; an item may have 400 KB
_MOST_BYTES = 390_000


def function_id_of(app_id: str, name: str) -> str:
    """Return the id of a function, which follows from what it belongs to and its name."""
    return derive("fu", app_id, name)


def app_of(item: Item) -> AppRecord:
    """Return an app from its item."""
    stopped = item.get("stopped")
    return AppRecord(
        item["sk"].removeprefix("APP#"),
        item["name"],
        item["state"],
        item["revision"],
        float(item["created"]),
        None if stopped is None else float(stopped),
        loads(item.get("tags", "{}")),
    )


def revision_sort(number: int) -> str:
    """Return the sort key of a revision."""
    return f"REV#{number:08}"


def revision_item(record: RevisionRecord) -> Item:
    """Return the item of a revision.

    Raises:
        RequestSizeError: It is too large for one.
    """
    text = dumps(record.spec.to_json(), separators=(",", ":"))
    spec = zlib.compress(text.encode())
    if len(spec) > _MOST_BYTES:
        raise RequestSizeError(
            f"The app's functions and settings take {len(spec) >> 10} KiB, compressed; at most"
            f" {_MOST_BYTES >> 10} are possible.",
            hint="Import functions from modules rather than with serialized=True, and pass large"
            " values as arguments.",
        )
    item: Item = {
        "pk": f"APP#{record.app_id}",
        "sk": revision_sort(record.number),
        "spec": spec,
        "created": record.created,
    }
    if record.rollback_of is not None:
        item["rollback_of"] = record.rollback_of
    return item


def revision_of(item: Item) -> RevisionRecord:
    """Return a revision from its item.

    Raises:
        DataLossError: It makes no sense.
    """
    app_id = item["pk"].removeprefix("APP#")
    number = int(item["sk"].removeprefix("REV#"))
    try:
        spec = RevisionSpec.from_json(loads(zlib.decompress(item["spec"])))
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise unreadable(number, app_id, "DynamoDB") from error
    return RevisionRecord(app_id, number, spec, float(item["created"]), item.get("rollback_of"))


def function_item(record: FunctionRecord) -> Item:
    """Return the item that leads from a function or variant to its app."""
    item: Item = {
        "pk": f"FN#{record.function_id}",
        "sk": "FN",
        "function_id": record.function_id,
        "app_id": record.app_id,
        "name": record.name,
    }
    if record.variant is not None:
        item["variant"] = dumps(record.variant.to_json())
    return item


def function_of(item: Item) -> FunctionRecord:
    """Return a function or variant from its item."""
    variant = Variant.from_json(loads(item["variant"])) if "variant" in item else None
    return FunctionRecord(item["function_id"], item["app_id"], item["name"], variant)
