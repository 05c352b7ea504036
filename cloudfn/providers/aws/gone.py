"""Payloads in blobs that no store names any more, in DynamoDB, until they can be deleted."""

from __future__ import annotations

from itertools import takewhile

from cloudfn.model.ids import mint
from cloudfn.providers.aws.table import Table, Write, delete, put


def gone(store: str, payload: bytes, now: float) -> Write:
    """Return the write that remembers a payload: who found it just now may still read it.

    Args:
        store: The partition that it is remembered in.
        payload: What refers to the blob.
        now: Seconds since the epoch.
    """
    sk = f"{now:020.6f}#{mint('g')}"
    return put({"pk": store, "sk": sk, "at": now, "payload": payload})


def take_gone(table: Table, store: str, until: float) -> list[bytes]:
    """Forget what is gone since a time, and return it: its blobs can be deleted."""
    items = list(takewhile(lambda item: item["at"] <= until, table.query(store)))
    table.write_all([delete(item["pk"], item["sk"]) for item in items])
    return [item["payload"] for item in items]
