"""How elements and requests of queues look in DynamoDB. Pure, but for random names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cloudfn.providers.aws.table import Item, Write, put
from cloudfn.wire.messages import is_blob

HEAD, REQUEST, _VALUE, GONE = "HEAD", "R", "V", "QU#GONE"
#: states of requests
PUT, HELD, KEPT, BACK = "put", "held", "kept", "back"
#: parts of one transaction, which may have 100, and bytes, of which it may have 4 MB
MOST_PARTS = 90
_MOST_BYTES = 2 << 20
#: bytes of an element that lies beside its position, so that both cost one write unit
_SMALL = 800


def partition_key(queue_id: str, partition: str) -> str:
    """Return the key under which a partition's head and elements lie."""
    return f"QU#{queue_id}#{partition}"


def request_key(request: str) -> tuple[str, str]:
    """Return the key of a request's record."""
    return f"QU#R#{request}", REQUEST


def element_sort(generation: int, position: int) -> str:
    """Return the sort key of an element: by generation, and then by position."""
    return f"I#{generation:016}#{position:012}"


def away_key(pk: str, sk: str) -> tuple[str, str]:
    """Return the key of an element that is not small."""
    return f"{pk}#{sk}", _VALUE


def is_far(item: Item) -> bool:
    """Say whether an element is not small, and lies elsewhere."""
    return "payload" not in item


def blobs_of(items: Iterable[Item]) -> list[bytes]:
    """Return those elements that refer to a blob."""
    return [item["payload"] for item in items if is_blob(item.get("payload", b""))]


def elements(record: Item, first: int, payloads: Sequence[bytes]) -> list[Write]:
    """Return the writes that put elements of a request, from a position on."""
    writes: list[Write] = []
    for n, payload in enumerate(payloads, first):
        pk, sk = record["partition"], element_sort(record["generation"], n)
        element = {"pk": pk, "sk": sk, "size": len(payload)}
        if len(payload) <= _SMALL:
            writes.append(put({**element, "payload": payload}))
        else:
            away_pk, away_sk = away_key(pk, sk)
            writes += [put(element), put({"pk": away_pk, "sk": away_sk, "payload": payload})]
    return writes


def holding_record(
    request: str, head: Item, found: Sequence[Item], before: Item | None, now: float
) -> Item:
    """Return the record of a request that holds elements, and those that it held before."""
    return {
        "pk": request_key(request)[0],
        "sk": REQUEST,
        "request": request,
        "state": HELD,
        "at": now,
        "partition": head["pk"],
        "generation": head["generation"],
        "positions": [*(before["positions"] if before else ()), *(each["sk"] for each in found)],
        "away": [
            *(before["away"] if before else ()),
            *(each["sk"] for each in found if is_far(each)),
        ],
        "blobs": [*(before["blobs"] if before else ()), *blobs_of(found)],
    }


def as_read(record: Item) -> dict[str, Any]:
    """Return the condition that a record holds what was read of it."""
    return {
        "when": "#state = :state AND size(#positions) = :number",
        "state": record["state"],
        "number": len(record["positions"]),
    }


def portions(items: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Cut elements into what one transaction can write."""
    some: list[bytes] = []
    size = parts = 0
    for item in items:
        size += len(item)
        parts += 1 if len(item) <= _SMALL else 2
        if some and (parts > MOST_PARTS or size > _MOST_BYTES):
            yield some
            some, size, parts = [], len(item), 2
        some.append(item)
    if some:
        yield some
