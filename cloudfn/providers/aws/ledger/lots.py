"""The transactions that admit inputs: up to some thousand at once, or none of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudfn.providers.aws.ledger import heads, pages, rows
from cloudfn.providers.aws.ledger.counts import reserve
from cloudfn.providers.aws.ledger.heads import HEAD, Head
from cloudfn.providers.aws.ledger.pages import PAGE, WAITS, Page, segment
from cloudfn.providers.aws.table import Write, put, update
from cloudfn.providers.ledger import CallSpec


@dataclass(frozen=True, slots=True)
class Part:
    """Inputs of a lot that come onto one page."""

    #: the page as it is with them, if it is new; else what is known of it without a look
    page: Page
    #: slot of the first one
    slot: int
    payloads: Sequence[bytes]
    #: version of the page that was there before, of a call that was begun anew
    before: int | None = None

    @property
    def waiting(self) -> int:
        """How many of them wait; others are cancelled, or were finished before."""
        return sum(value == WAITS for value in self.page.slots[self.slot :])


def admit(
    before: Head | None,
    head: Head,
    parts: Sequence[Part],
    limits: tuple[int, int],
    digests: bytes,
    expires: int | None,
) -> list[Write]:
    """Return the transaction that admits a lot: head, counters, pages, and what leads to them.

    Args:
        before: The head as it is; None: there is none.
        head: As it will be.
        parts: What comes onto which page.
        limits: See `Counts.limits_of`.
        digests: Those that are new.
        expires: When what belongs to the call may go by itself; None: never.
    """
    spec = head.spec
    writes = [_head(before, head, expires)]
    pending = sum(part.waiting for part in parts)
    if pending:
        writes.append(reserve(spec, pending, limits))
    for part in parts:
        if part.before is not None:
            item = pages.to_item(part.page)
            writes.append(put(item, "#v=:before", before=part.before))
        elif part.slot:
            writes.append(_extension(part))
        else:
            writes.append(put(pages.to_item(part.page), "attribute_not_exists(pk)"))
        if part.waiting:
            writes.append(rows.add(part.page))
    if before is None:
        writes += _announcements(spec, expires)
    if digests:
        place = before.digested if before else 0
        key = {"pk": heads.partition(spec.call_id), "sk": f"D#{place:010d}"}
        writes.append(put({**key, "y": digests}))
    return writes


def _head(before: Head | None, head: Head, expires: int | None) -> Write:
    if before is None:
        return put(heads.to_item(head, expires), "attribute_not_exists(pk)")
    change = "SET #known=:known,#reach=:reach,#digested=:digested"
    values = {"known": head.known, "reach": head.reach, "digested": head.digested}
    if head.sealed:
        change, values["yes"] = f"{change},#sealed=:yes", True
    if expires is not None:
        change, values["expires"] = f"{change},#expires=:expires", expires
    when = "#known=:was AND #nonce=:nonce AND attribute_not_exists(#gone)"
    when += f" AND attribute_{'' if before.cancelled else 'not_'}exists(#cancelled)"
    return update(
        heads.partition(head.spec.call_id),
        HEAD,
        change,
        when,
        was=before.known,
        nonce=head.nonce,
        **values,
    )


def seal(head: Head) -> Write:
    """Return the write that seals a call, if it is as was thought."""
    return update(
        heads.partition(head.spec.call_id),
        HEAD,
        "SET #sealed=:yes",
        "#known=:known AND #nonce=:nonce",
        yes=True,
        known=head.known,
        nonce=head.nonce,
    )


def _extension(part: Part) -> Write:
    """Return the write that appends inputs to a page that has room."""
    page = part.page
    added = page.slots[part.slot :]
    more = len(part.payloads)
    change = "SET #s=list_append(#s,:s),#v=#v+:one"
    values = {"s": added, "one": 1}
    if more:
        change += ",#g=list_append(#g,:g),#w=#w+:k,#u=#u+:k,#fw=#fw+:k,#fu=#fu+:k"
        change += " REMOVE #z,#expires"
        values |= {"g": [segment(part.slot, more, 0)], "k": more}
    # How many slots it has follows from what the head says, which the transaction holds it to.
    return update(page.key, PAGE, change, "attribute_exists(pk)", **values)


def _announcements(spec: CallSpec, expires: int | None) -> list[Write]:
    """Return what makes a new call be found: by its age, its maker, its name."""
    more = {} if expires is None else {"expires": expires}
    writes = [
        put({"pk": heads.CALLS, "sk": heads.place(spec), "fn": spec.function_id, **more}),
    ]
    if spec.parent is not None:
        key = {"pk": heads.partition(spec.parent[0]), "sk": f"K#{heads.place(spec)}"}
        writes.append(put({**key, **more}))
    if spec.name:
        item = {"pk": heads.NAMES, "sk": spec.name, "call": spec.call_id}
        writes.append(put(item, "attribute_not_exists(pk) OR #call=:call", call=spec.call_id))
    return writes
