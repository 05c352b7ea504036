"""Inputs of a page: on the page itself, beside it, or in memory already."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cloudfn.errors import DataLossError
from cloudfn.providers.aws.ledger.packing import joined, open_inputs, segment_key
from cloudfn.providers.aws.ledger.pages import Page
from cloudfn.providers.aws.ledger.shelf import Shelf


class GoneError(DataLossError):
    """Inputs are not there any more."""


def payloads_of(shelf: Shelf, page: Page, slots: Collection[int]) -> Mapping[int, bytes]:
    """Return inputs of a page by slot, from memory or from the table, and remember them.

    Raises:
        GoneError: Some are gone.
        DataLossError: Some are not authentic.
    """
    known = shelf.book.payloads(page.number)
    if all(slot in known for slot in slots):
        return known
    if not page.version:
        page = shelf.read(page.number) or page
    found = read_payloads(shelf, page)
    if missing := [page.first + slot for slot in slots if slot not in found]:
        raise GoneError(
            f"Inputs of call {page.call_id} are gone: {', '.join(map(str, missing))}.",
            hint="They were deleted from the table by something else than cloudfn.",
        )
    shelf.book.keep(page.number, found)
    return found


def read_payloads(shelf: Shelf, page: Page) -> dict[int, bytes]:
    """Return the inputs of a page that are there.

    Raises:
        DataLossError: Some are not authentic.
    """
    sealed: dict[str, bytes] = {}
    if page.inputs:
        sealed[segment_key(page.segments[0])] = page.inputs
    if len(page.segments) > len(sealed):
        sealed |= joined(shelf.table.query(page.key, begins="IN#"))
    found: dict[int, bytes] = {}
    for segment in page.segments:
        data = sealed.get(segment_key(segment))
        if data is None:
            continue
        for slot, payload in enumerate(
            open_inputs(shelf.inputs, page, segment[0], data), segment[0]
        ):
            # What was finished when its call was begun anew came again without its payload.
            if payload or slot not in found:
                found[slot] = payload
    return found
