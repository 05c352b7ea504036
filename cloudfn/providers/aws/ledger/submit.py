"""Inputs come: what is admitted of a submission, in transactions of up to some thousand inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cloudfn.errors import ConflictError, ResourceExhaustedError
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.ledger import heads, lots, pages
from cloudfn.providers.aws.ledger.counts import Counts, counters_key
from cloudfn.providers.aws.ledger.heads import Head
from cloudfn.providers.aws.ledger.lots import Part
from cloudfn.providers.aws.ledger.packing import (
    enclose,
    pieces,
    seal_inputs,
    segment_key,
    size_of,
)
from cloudfn.providers.aws.ledger.pages import (
    CANCELLED,
    SLOTS,
    WAITS,
    Page,
    new_page,
    renewed,
)
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.aws.table import Write
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import Admission, CallSpec

#: inputs of one transaction, which has at most 100 writes: two for each page
_LOT = 40 * SLOTS
#: bytes of a page below which its inputs lie on it: one write unit
_SMALL = 1_024
_TRIES = 12


@dataclass(slots=True)
class _Request:
    """What a client asked for, and how far it got."""

    spec: CallSpec
    first: int
    payloads: Sequence[bytes]
    sealed: bool
    digests: Sequence[bytes]
    head: Head | None = None
    #: free places and what stands in the way of more; None: not asked yet
    room: tuple[int, str] | None = None
    refused: str = ""
    #: what was sent last, and its transaction
    parts: Sequence[Part] = ()
    writes: Sequence[Write] = ()

    @property
    def known(self) -> int:
        return self.head.known if self.head else 0

    @property
    def missing(self) -> Sequence[bytes]:
        """What the ledger lacks."""
        return self.payloads[self.known - self.first :]

    def new_digests(self, head: Head) -> bytes:
        """Return the digests that the head says are kept, and that were not before."""
        have = self.head.digested if self.head else 0
        return b"".join(self.digests[have - self.first : head.digested - self.first])

    @property
    def seals(self) -> bool:
        """Whether the call is sealed when everything is there."""
        return self.sealed and self.first + len(self.payloads) >= self.known


class Submissions:
    """Admits inputs.

    Args:
        shelf: The table, and what is remembered of it.
        counts: Knows limits.
        clear: Goes on forgetting a call that somebody began to forget.
    """

    def __init__(self, shelf: Shelf, counts: Counts, clear: Callable[[str], None]) -> None:
        self._shelf = shelf
        self._counts = counts
        self._clear = clear
        self._heads: dict[str, Head] = {}

    def forget(self, call_id: str) -> None:
        """Know nothing of a call any more."""
        self._heads.pop(call_id, None)

    def submit(
        self,
        call: CallSpec,
        first: int,
        payloads: Sequence[bytes],
        *,
        sealed: bool,
        digests: Sequence[bytes] = (),
    ) -> Admission:
        asked = _Request(call, first, payloads, sealed, digests)
        asked.head = self._heads.get(call.call_id)
        try:
            if asked.head is None and first:
                self._look(asked)
            return self._submit(asked)
        except BaseException:
            # What of it was done is for the next one to find out.
            self.forget(call.call_id)
            raise

    def _submit(self, asked: _Request) -> Admission:
        for _ in range(_TRIES + len(asked.payloads) // _LOT):
            if self._must_look(asked):
                self._look(asked)
            if (answer := self._answer(asked)) is not None:
                return answer
            try:
                self._send(asked)
            except ConditionFailed as failed:
                self._learn(asked, failed)
        raise ResourceExhaustedError(
            f"Too many others submit to {asked.spec.function_id} at this moment.",
            hint="Submit again: what was admitted is not admitted twice.",
        )

    def _must_look(self, asked: _Request) -> bool:
        """Say whether what is remembered of the call would have us refuse something."""
        head = asked.head
        return head is not None and (
            head.spec.function_id != asked.spec.function_id
            or asked.first > head.known
            or (head.sealed and len(asked.missing) > 0)
        )

    def _look(self, asked: _Request) -> None:
        """Read the call's head, and ring for what is there already: perhaps nobody has."""
        head = asked.head = self._shelf.head(asked.spec.call_id)
        if head is None or head.cancelled:
            return
        for number in head.numbers(asked.first, min(asked.first + len(asked.payloads), head.known)):
            name = pages.name_of(number)
            self._shelf.book.ring(Ring(head.spec.function_id, head.spec.pool, name))

    def _answer(self, asked: _Request) -> Admission | None:
        """Return the answer, as soon as there is nothing more to be done.

        Raises:
            ConflictError: The call is one of another function, or is sealed.
        """
        head, spec = asked.head, asked.spec
        if asked.first > asked.known:
            return Admission(asked.known)
        if head is None:
            return Admission(0, asked.refused) if asked.refused and not self._free(asked) else None
        if head.spec.function_id != spec.function_id:
            raise ConflictError(
                f"Call {spec.call_id} is one of function {head.spec.function_id}, "
                f"not of {spec.function_id}.",
                hint="Make a new call with an id of its own.",
            )
        if asked.missing and head.sealed:
            raise ConflictError(
                f"Call {spec.call_id} is sealed: it has {head.known} inputs for ever.",
                hint="Make a new call for further inputs.",
            )
        if asked.missing:
            return Admission(head.known, asked.refused) if self._is_full(asked) else None
        return None if asked.seals and not head.sealed else Admission(head.known)

    def _free(self, asked: _Request) -> int:
        return asked.room[0] if asked.room else 0

    def _is_full(self, asked: _Request) -> bool:
        return asked.room is not None and not asked.room[0]

    def _send(self, asked: _Request) -> None:
        """Send the next lot, or the seal alone.

        Raises:
            ConditionFailed: The call is not as was thought, or the limits do not allow it.
        """
        lot = list(self._lot(asked))
        whole = len(lot) == len(asked.missing)
        seal = asked.seals and whole
        if not lot and not asked.missing and asked.head is not None:
            asked.parts, asked.writes = (), [lots.seal(asked.head)]
            self._shelf.table.write(asked.writes[0])
            asked.head = self._keep(replace(asked.head, sealed=True, total=None))
            return
        if asked.missing and not lot:
            return
        head, parts = self._place(asked, lot, seal=seal)
        self._store(head, parts)
        expires = self._shelf.expiry(head.spec.durable)
        asked.parts = parts
        asked.writes = lots.admit(
            asked.head,
            head,
            parts,
            self._counts.limits_of(head.spec),
            asked.new_digests(head),
            expires,
        )
        self._shelf.table.transact(asked.writes)
        asked.head = self._keep(head)
        if asked.room is not None:
            free, reason = asked.room
            asked.room = free - sum(part.waiting for part in parts), reason
        self._announce(parts)

    def _lot(self, asked: _Request) -> Sequence[bytes]:
        """Return what is sent next; it is noted what stands in the way of the rest."""
        missing = asked.missing
        if asked.head is not None and asked.head.cancelled:
            return missing[:_LOT]
        most = min(self._counts.limits_of(asked.spec))
        if asked.room is None and len(missing) > most:
            asked.room = self._counts.room(asked.spec, len(missing))
        if asked.room is None:
            return missing[:_LOT]
        free, reason = asked.room
        if free < len(missing):
            asked.refused = reason
        return missing[: min(free, _LOT)]

    def _learn(self, asked: _Request, failed: ConditionFailed) -> None:
        """Find out why a transaction was refused.

        Raises:
            ConflictError: Its name, or a page, belongs to another call.
        """
        refused = {
            write.pk: item or {}
            for write, held, item in zip(asked.writes, failed.held, failed.items, strict=True)
            if not held
        }
        if (found := refused.get(heads.partition(asked.spec.call_id))) is not None:
            if found.get("gone"):
                self._clear(asked.spec.call_id)
            self._look(asked)
        elif counters_key(asked.spec.function_id) in refused:
            asked.room = self._counts.room(asked.spec, len(asked.missing))
            asked.refused = asked.room[1]
        elif heads.NAMES in refused:
            raise ConflictError(
                f"Another call has the name {asked.spec.name}.",
                hint="Wait until it has ended, or take another name.",
            )
        elif not any(part.before is not None for part in asked.parts):
            raise ConflictError(
                f"Pages of call {asked.spec.call_id} are not as its head says.",
                hint="Make a new call; this one cannot be continued.",
            )

    def _keep(self, head: Head) -> Head:
        if len(self._heads) > 10_000:
            self._heads.clear()
        self._heads[head.spec.call_id] = head
        return head

    # The writes of a lot

    def _place(
        self, asked: _Request, lot: Sequence[bytes], *, seal: bool
    ) -> tuple[Head, list[Part]]:
        """Return the head as it is with a lot, and which inputs come onto which page."""
        head = asked.head or Head(asked.spec, self._shelf.nonce())
        known = head.known + len(lot)
        digested = head.digested
        if asked.first <= digested:
            digested = max(digested, min(asked.first + len(asked.digests), known))
        old = (
            self._shelf.read_all(head.numbers(head.known, known)) if head.reach > head.known else {}
        )
        parts = []
        for number, slot, count in heads.ranges(head.known, len(lot)):
            at = number * SLOTS + slot - head.known
            state = CANCELLED if head.cancelled else WAITS
            slots = [CANCELLED] * slot + [state] * count
            page = new_page(head.spec, head.number(number), number * SLOTS, slots)
            payloads = () if head.cancelled else lot[at : at + count]
            before = old.get(page.number)
            if before is None:
                parts.append(Part(self._with_inputs(page, slot, payloads), slot, payloads))
            else:
                page = renewed(before, page, slot, len(payloads))
                parts.append(Part(page, slot, payloads, before.version))
        later = replace(
            head,
            known=known,
            reach=max(head.reach, known),
            sealed=head.sealed or seal,
            digested=digested,
        )
        return later, parts

    def _with_inputs(self, page: Page, slot: int, payloads: Sequence[bytes]) -> Page:
        """Return a page that says where its inputs lie: on itself where they are small."""
        if not payloads:
            return page
        page = replace(page, segments=((slot, len(payloads), 0),))
        small = sum(map(len, payloads)) + 4 * len(payloads) + 32
        if slot == 0 and size_of(page) + small <= _SMALL:
            return replace(page, inputs=seal_inputs(self._shelf.inputs, page, slot, payloads))
        return page

    def _store(self, head: Head, parts: Sequence[Part]) -> None:
        """Store inputs that do not lie on their pages, before anybody can find them."""
        expires = self._shelf.expiry(head.spec.durable)
        writes: list[Write] = []
        for part in parts:
            if part.payloads and (part.before is not None or not part.page.inputs):
                data = seal_inputs(self._shelf.inputs, part.page, part.slot, part.payloads)
                key = segment_key(part.page.segments[-1])
                writes += pieces(part.page.key, key, data, expires)
        if len(writes) == 1:
            self._shelf.table.write(writes[0])
        elif writes:
            self._shelf.table.write_all(writes)

    def _announce(self, parts: Sequence[Part]) -> None:
        """Let others hear of what may be claimed now."""
        now = self._shelf.now()
        for part in parts:
            page = part.page
            if not part.waiting:
                continue
            if part.slot and part.before is None:
                self._shelf.book.drop(page.number)
            else:
                self._shelf.book.note(page)
            self._shelf.book.line_up(page)
            if page.not_before <= now:
                enclosed = b""
                if part.before is None:
                    enclosed = enclose(self._shelf.inputs, page, part.slot, part.payloads)
                name = pages.name_of(page.number)
                self._shelf.book.ring(Ring(page.function_id, page.pool, name, enclosed))
