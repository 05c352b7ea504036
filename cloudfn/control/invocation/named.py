"""Named calls: found again by a later client, checked against what it sends, begun anew if need be.

A client may only go on with the inputs that the call was begun with: each comes with a digest, and
is compared. What is finished is not run again, whatever became of app, revision and engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError
from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import CallRecord, CallSpec, Ledger
from cloudfn.wire.messages import DIGEST, Submit
from cloudfn.wire.ranges import ranges_of

_CANCELLED = Status.CANCELLED


class Functions(Protocol):
    """What named calls need to know of functions."""

    def pool_for(self, function_id: str) -> str:
        """Return the pool that new calls of a function go to; raises NotFoundError."""
        ...

    def full_name(self, function_id: str, name: str) -> str:
        """Return the name under which a function's call is kept; raises InvalidError."""
        ...

    def has_pool(self, pool: str) -> bool:
        """Whether a pool is there."""
        ...


class Holders(Protocol):
    """Which clients have named calls, and what they do to them."""

    def is_taken(self, call_id: str) -> bool:
        """Whether another client has a call."""
        ...

    def cancel(self, call_id: str) -> None:
        """End what is unfinished of a call."""
        ...

    def write(self, change: Callable[[], object]) -> None:
        """Have a change of the ledger made."""
        ...

    def reply(self) -> str:
        """Return where the client of a new call hears of it; see `CallSpec.reply`."""
        ...


class NamedCalls:
    """Begins and takes up named calls.

    Args:
        ledger: Has them.
        functions: The functions.
        holders: Who has them.
        clock: The time.
    """

    def __init__(
        self, ledger: Ledger, functions: Functions, holders: Holders, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._functions = functions
        self._holders = holders
        self._clock = clock

    def look_up(self, function_id: str, name: str) -> dict[str, Any]:
        """Return the call that a name has, and the inputs that need no payload any more.

        Raises:
            ConflictError: Another client has it.
        """
        record = self._record(self._functions.full_name(function_id, name))
        if record is None:
            return {"call": None, "settled": [], "count": 0}
        self.check_free(record.spec)
        call_id = record.spec.call_id
        return {
            "call": call_id,
            "settled": ranges_of(self._settled(record, function_id)),
            "count": self._ledger.digest_count(call_id),
        }

    def begin(self, call_id: str, header: dict[str, Any]) -> tuple[CallSpec, CallRecord | None]:
        """Begin a named call, or take it up, for a client that has it from here on.

        Returns:
            The call, and what was known of it where it goes on as it is.

        Raises:
            ConflictError: Another client has it, or has begun another one of that name.
        """
        function_id = str(header["function"])
        name = self._functions.full_name(function_id, str(header["name"]))
        record = self._record(name)
        spec = CallSpec(
            call_id=call_id,
            function_id=function_id,
            pool=self._functions.pool_for(function_id),
            kind=CallKind.MAP,
            created=self._clock.wall(),
            durable=True,
            name=name,
            reply=self._holders.reply(),
        )
        if record is None:
            return spec, None
        self.check_free(record.spec)
        if record.spec.call_id != call_id:
            raise _in_use(name)
        if self._goes_on(record, spec):
            return record.spec, record
        self._holders.cancel(call_id)
        self._holders.write(lambda: self._ledger.reopen(spec))
        return spec, None

    def check_free(self, spec: CallSpec) -> None:
        """Raise ConflictError where another client has the call."""
        if self._holders.is_taken(spec.call_id):
            raise _in_use(spec.name)

    def checked(self, spec: CallSpec, message: Submit) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the digests and payloads of a message, compared with what the call has.

        Raises:
            ConflictError: They are not the inputs that the call was begun with.
        """
        digests = [payload[:DIGEST] for payload in message.payloads]
        payloads = [payload[DIGEST:] for payload in message.payloads]
        end = message.first + len(payloads)
        name, call_id = spec.name, spec.call_id
        known = self._ledger.digests(call_id, message.first, end)
        for offset, (old, new) in enumerate(zip(known, digests, strict=False)):
            if old != new:
                raise _differs(name, f"input {message.first + offset} is another one")
        record = self._ledger.call(call_id)
        total = record.total if record else None
        if total is not None and end > total:
            raise _differs(name, f"there were {total} inputs, and now there are more")
        if message.sealed and self._ledger.digests(call_id, end, end + 1):
            raise _differs(name, f"there are only {end} inputs now, and there were more")
        if not all(payloads):
            settled = set(self._ledger.settled(call_id, message.first, end))
            absent = (message.first + at for at, payload in enumerate(payloads) if not payload)
            if not settled.issuperset(absent):
                raise _in_use(name)
        return digests, payloads

    def _record(self, name: str) -> CallRecord | None:
        """Return the call of a name, unless its outcomes are gone."""
        call_id = self._ledger.named(name)
        record = self._ledger.call(call_id) if call_id else None
        if record is not None and record.expired:
            forgotten = record.spec.call_id
            self._holders.write(lambda: self._ledger.forget(forgotten))
            return None
        return record

    def _goes_on(self, record: CallRecord, spec: CallSpec) -> bool:
        """Whether a call goes on as it is: on the revision that it was begun with, if need be."""
        if record.cancelled or record.spec.function_id != spec.function_id:
            return False
        if record.spec.pool == spec.pool:
            return True
        busy = record.finished < record.known and self._functions.has_pool(record.spec.pool)
        return busy or (record.sealed and record.finished == record.known)

    def _settled(self, record: CallRecord, function_id: str) -> list[int]:
        pool = self._functions.pool_for(function_id)
        spec = CallSpec(record.spec.call_id, function_id, pool, CallKind.MAP, 0.0)
        settled = self._ledger.settled(record.spec.call_id)
        if self._goes_on(record, spec):
            return settled
        outcomes = self._ledger.statuses(record.spec.call_id)
        return [
            index
            for index in settled
            if index >= len(outcomes)
            or (outcomes[index].terminal and outcomes[index] != _CANCELLED)
        ]


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _in_use(name: str) -> ConflictError:
    return ConflictError(
        f"Another client runs the map {_short(name)!r} just now.",
        hint="Wait until it is done or gone, or give this map another name.",
    )


def _differs(name: str, how: str) -> ConflictError:
    short = _short(name)
    return ConflictError(
        f"The inputs of the map {short!r} differ from those that it was begun with: {how}.",
        hint=f"Give this one another name, or forget the old one: `cloudfn call drop {short}`.",
    )
