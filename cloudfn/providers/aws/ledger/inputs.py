"""Inputs of a page: on the page itself, beside it, or in memory already."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cloudfn.errors import DataLossError
from cloudfn.providers.aws.ledger.core import Core
from cloudfn.providers.aws.ledger.packing import joined, open_inputs, segment_key
from cloudfn.providers.aws.ledger.pages import Page


def payloads_of(core: Core, page: Page, slots: Collection[int]) -> Mapping[int, bytes]:
    """Return inputs of a page by slot, from memory or from the table, and remember them.

    Raises:
        DataLossError: Some are gone, or are not authentic.
    """
    known = core.book.payloads(page.number)
    if all(slot in known for slot in slots):
        return known
    if not page.version:
        page = core.read(page.number) or page
    found = read_payloads(core, page)
    if missing := [page.first + slot for slot in slots if slot not in found]:
        raise DataLossError(
            f"Inputs of call {page.call_id} are gone: {', '.join(map(str, missing))}.",
            hint="They were deleted from the table by something else than cloudfn.",
        )
    core.book.keep(page.number, found)
    return found


def read_payloads(core: Core, page: Page) -> dict[int, bytes]:
    """Return the inputs of a page that are there.

    Raises:
        DataLossError: Some are not authentic.
    """
    sealed: dict[str, bytes] = {}
    if page.inputs:
        sealed[segment_key(page.segments[0])] = page.inputs
    if len(page.segments) > len(sealed):
        sealed |= joined(core.table.query(page.key, begins="IN#"))
    found: dict[int, bytes] = {}
    for segment in page.segments:
        data = sealed.get(segment_key(segment))
        if data is None:
            continue
        for slot, payload in enumerate(
            open_inputs(core.inputs, page, segment[0], data), segment[0]
        ):
            # What was finished when its call was begun anew came again without its payload.
            if payload or slot not in found:
                found[slot] = payload
    return found
