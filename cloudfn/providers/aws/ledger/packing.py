"""Payloads of many inputs as one sealed piece of bytes, and pieces that fit into items. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from cloudfn.model.call import CallKind, Status
from cloudfn.providers.aws.ledger.pages import (
    CANCELLED,
    SLOTS,
    WAITS,
    Page,
    Segment,
    fence_of,
    name_of,
)
from cloudfn.providers.aws.table import Write, put
from cloudfn.wire.messages import decode_json, encode_json
from cloudfn.wire.seals import SEAL, Seals

#: bytes of one item's piece; an item may have 400 KiB with its keys
PIECE = 380 * 1024
#: bytes that a ring may enclose: as text it shares one chunk of SQS, 64 KiB, with the rest
ENCLOSED = 44 * 1024

_LENGTH = struct.Struct(">I")
_OUTCOME = struct.Struct(">BIBI")


class Ended(NamedTuple):
    """An outcome as it lies in a chunk; it counts if the slot says the same."""

    slot: int
    fence: int
    status: Status
    payload: bytes


def seal_inputs(seals: Seals, page: Page, slot: int, payloads: Sequence[bytes]) -> bytes:
    """Return payloads of consecutive inputs, sealed for where they belong."""
    return seals.seal(_join(payloads), *_inputs(page, slot))


def open_inputs(seals: Seals, page: Page, slot: int, sealed: bytes) -> list[bytes]:
    """Return what `seal_inputs` sealed.

    Raises:
        DataLossError: It is not authentic.
    """
    return list(_split(seals.open(sealed, *_inputs(page, slot))))


def _inputs(page: Page, slot: int) -> tuple[str, ...]:
    return "inputs", page.call_id, str(page.first + slot)


def seal_chunk(seals: Seals, page: Page, outcomes: Iterable[Ended]) -> bytes:
    """Return outcomes of a page, sealed."""
    parts = [
        _OUTCOME.pack(each.slot, each.fence, each.status, len(each.payload)) + each.payload
        for each in outcomes
    ]
    return seals.seal(b"".join(parts), "outcomes", page.call_id, name_of(page.number))


def open_chunk(seals: Seals, page: Page, sealed: bytes) -> Iterator[Ended]:
    """Yield what `seal_chunk` sealed.

    Raises:
        DataLossError: It is not authentic.
    """
    data = seals.open(sealed, "outcomes", page.call_id, name_of(page.number))
    at = 0
    while at < len(data):
        slot, fence, status, length = _OUTCOME.unpack_from(data, at)
        at += _OUTCOME.size
        yield Ended(slot, fence, Status(status), data[at : at + length])
        at += length


def seal_outcome(seals: Seals, page: Page, outcome: Ended) -> bytes:
    """Return one outcome, sealed for the slot that it lies in."""
    return seals.seal(outcome.payload, *_outcome(page, outcome.slot, outcome.fence, outcome.status))


def open_outcome(seals: Seals, page: Page, slot: int, status: Status) -> bytes:
    """Return the outcome that lies on the page itself.

    Raises:
        DataLossError: It is not authentic.
    """
    fence = fence_of(page.slots[slot])
    return seals.open(page.outcomes[slot], *_outcome(page, slot, fence, status))


def _outcome(page: Page, slot: int, fence: int, status: Status) -> tuple[str, ...]:
    return "outcome", page.call_id, name_of(page.number), f"{slot} {fence} {int(status)}"


# ------------------------------------------------------------------------------------------ rings


def enclose(seals: Seals, page: Page, slot: int, payloads: Sequence[bytes]) -> bytes:
    """Return what spares who hears a ring to read the page; empty if it is too much."""
    if sum(map(len, payloads)) + _LENGTH.size * len(payloads) > ENCLOSED - 1024:
        return b""
    head = {
        "c": page.call_id,
        "fn": page.function_id,
        "p": page.pool,
        "k": int(page.kind),
        "du": page.durable,
        "i": page.first,
        "n": len(page.slots),
        "t": page.created,
        "pr": page.priority,
        "nb": page.not_before,
        "dl": page.deadline,
        "r": page.reply,
        "at": slot,
    }
    data = _join([encode_json(head), *payloads])
    return seals.seal(data, "ring", name_of(page.number))


def unclose(seals: Seals, name: str, enclosed: bytes) -> tuple[Page, dict[int, bytes]]:
    """Return a page as it may be, at version 0, and payloads by slot.

    Raises:
        DataLossError: It is not authentic.
    """
    text, *payloads = _split(seals.open(enclosed, "ring", name))
    head = decode_json(text)
    # Of the slots before nothing is known: as good as ended.
    slots = (CANCELLED,) * head["at"] + (WAITS,) * (head["n"] - head["at"])
    page = Page(
        int(name, 16),
        head["c"],
        head["fn"],
        head["p"],
        CallKind(head["k"]),
        head["du"],
        head["i"],
        slots,
        head["t"],
        version=0,
        waiting=len(payloads),
        unfinished=len(payloads),
        priority=head["pr"],
        not_before=head["nb"],
        deadline=head["dl"],
        reply=head["r"],
    )
    return page, dict(enumerate(payloads, head["at"]))


# ----------------------------------------------------------------------------------------- pieces


def segment_key(segment: Segment) -> str:
    """Return how the sort keys of a segment of inputs begin."""
    slot, count, version = segment
    return f"IN#{version:06d}#{slot:02d}#{count:02d}"


def chunk_key(sealed: bytes) -> str:
    """Return how the sort keys of a chunk begin: the same outcomes, the same keys."""
    return f"O#{blake2b(sealed, digest_size=8).hexdigest()}"


def pieces(pk: str, key: str, data: bytes, expires: int | None) -> list[Write]:
    """Return the writes that keep any number of bytes."""
    parts = [data[at : at + PIECE] for at in range(0, len(data), PIECE)] or [b""]
    more = {} if expires is None else {"expires": expires}
    return [
        put({"pk": pk, "sk": f"{key}#{at:04d}", "y": part, "of": len(parts), **more})
        for at, part in enumerate(parts)
    ]


def joined(items: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return what `pieces` kept by its key, as far as it is whole; items come in order."""
    found: dict[str, list[bytes]] = {}
    whole: dict[str, bytes] = {}
    for item in items:
        key = item["sk"].rpartition("#")[0]
        parts = found.setdefault(key, [])
        parts.append(item["y"])
        if len(parts) == item["of"]:
            whole[key] = b"".join(parts)
    return whole


def size_of(page: Page) -> int:
    """Return about how many bytes a page takes when all of its slots run."""
    names = len(page.call_id) + len(page.function_id) + len(page.pool) + len(page.reply)
    sealed = sum(len(each) + 4 for each in page.outcomes.values())
    return 220 + names + 7 * min(len(page.slots), SLOTS) + len(page.inputs) + sealed


def sealed_size(outcome: bytes) -> int:
    """Return how many bytes an outcome takes on a page."""
    return len(outcome) + SEAL + 4


def _join(payloads: Sequence[bytes]) -> bytes:
    return b"".join(part for each in payloads for part in (_LENGTH.pack(len(each)), each))


def _split(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        yield data[at : at + length]
        at += length
