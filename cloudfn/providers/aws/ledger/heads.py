"""What is kept of a call as a whole: its head. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json import dumps, loads
from typing import Any

from cloudfn.model.call import CallKind
from cloudfn.model.terms import Terms
from cloudfn.providers.aws.ledger.pages import SLOTS, number_of
from cloudfn.providers.ledger import CallSpec

HEAD = "CALL"
CALLS = "L#CALLS"
NAMES = "N#NAMES"


@dataclass(frozen=True, slots=True)
class Head:
    """A call, but for its inputs."""

    spec: CallSpec
    #: tells its pages from those of an earlier call with its id
    nonce: str
    known: int = 0
    sealed: bool = False
    cancelled: bool = False
    expired: bool = False
    #: it is being deleted
    gone: bool = False
    #: inputs for which there are pages: more than are known after it was begun anew
    reach: int = 0
    #: inputs whose digests are kept
    digested: int = 0
    #: how many inputs it has in all, where that was said before it was begun anew
    total: int | None = None

    def numbers(self, start: int = 0, end: int | None = None) -> list[int]:
        """Return the numbers of the pages of inputs start ≤ index < end, as far as there are."""
        end = self.reach if end is None else min(end, self.reach)
        parts = range(start // SLOTS, -(-end // SLOTS)) if start < end else range(0)
        return [self.number(part) for part in parts]

    def number(self, part: int) -> int:
        """Return the number of the n-th page."""
        return number_of(self.spec.call_id, self.nonce, part)


def partition(call_id: str) -> str:
    """Return where a call is."""
    return f"C#{call_id}"


def place(spec: CallSpec) -> str:
    """Return where a call is in the list of all, by its age."""
    return f"{spec.created:017.6f}#{spec.call_id}"


def to_item(head: Head, expires: int | None) -> dict[str, Any]:
    """Return a head as an item."""
    item: dict[str, Any] = {
        "pk": partition(head.spec.call_id),
        "sk": HEAD,
        "spec": spec_text(head.spec),
        "fn": head.spec.function_id,
        "nonce": head.nonce,
        "known": head.known,
        "reach": head.reach,
    }
    flags = {name: getattr(head, name) for name in ("sealed", "cancelled", "expired", "gone")}
    item |= {name: True for name, value in flags.items() if value}
    if head.digested:
        item["digested"] = head.digested
    if head.total is not None:
        item["total"] = head.total
    if expires is not None:
        item["expires"] = expires
    return item


def from_item(item: Mapping[str, Any]) -> Head:
    """Return the head that an item holds."""
    return Head(
        _spec(item["spec"]),
        item["nonce"],
        item["known"],
        bool(item.get("sealed")),
        bool(item.get("cancelled")),
        bool(item.get("expired")),
        bool(item.get("gone")),
        item["reach"],
        item.get("digested", 0),
        item.get("total"),
    )


def spec_text(spec: CallSpec) -> str:
    """Return a call as its client made it, as text."""
    values = spec._asdict() | {"terms": spec.terms.to_json() if spec.terms else None}
    return dumps({name: value for name, value in values.items() if value}, separators=(",", ":"))


def _spec(text: str) -> CallSpec:
    values = loads(text)
    values["kind"] = CallKind(values.get("kind", 0))
    if "parent" in values:
        parent, index = values["parent"]
        values["parent"] = (parent, index)
    if "terms" in values:
        values["terms"] = Terms.from_json(values["terms"])
    values.setdefault("created", 0.0)
    return CallSpec(**values)


def ranges(first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Yield (part, first slot, count) for inputs first … first + count − 1."""
    index, end = first, first + count
    while index < end:
        part, slot = divmod(index, SLOTS)
        many = min(SLOTS - slot, end - index)
        yield part, slot, many
        index += many
