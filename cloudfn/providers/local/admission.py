"""Which inputs the ledger takes in: those it lacks, as far as the limits allow. In memory only."""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.errors import ConflictError
from cloudfn.providers.ledger import Admission, CallSpec
from cloudfn.providers.local.records import Call
from cloudfn.providers.local.residents import Residents
from cloudfn.settings import Limits


def admit(
    memory: Residents,
    limits: Limits,
    spec: CallSpec,
    first: int,
    payloads: Sequence[bytes],
    *,
    sealed: bool,
) -> Admission:
    """Take inputs `first` … of a call in; see `Ledger.submit`."""
    call = memory.find(spec.call_id)
    if call is None:
        return _admit_first(memory, limits, spec, first, payloads, sealed=sealed)
    if call.spec.function_id != spec.function_id:
        raise ConflictError(
            f"Call {spec.call_id} is one of function {call.spec.function_id}, "
            f"not of {spec.function_id}.",
            hint="Make a new call with an id of its own.",
        )
    known = len(call.statuses)
    if first > known:
        return Admission(known)
    reaches_end = first + len(payloads) >= known
    if known > first:
        payloads = payloads[known - first :]
    if payloads and call.sealed:
        raise ConflictError(
            f"Call {spec.call_id} is sealed: it has {known} inputs for ever.",
            hint="Make a new call for further inputs.",
        )
    free, reason = room(memory, limits, call.spec)
    return _extend(memory, call, payloads, free, reason, sealed=sealed and reaches_end)


def room(memory: Residents, limits: Limits, spec: CallSpec) -> tuple[int, str]:
    """Return how many inputs may come for a call, and a sentence that says why no more."""
    function, spawn = spec.function_id, spec.kind.durable
    waiting, running = memory.load_of(function, spawn=spawn)
    pending = limits.spawn_pending if spawn else limits.pending
    free, free_in_total = pending - waiting, limits.total - waiting - running
    if spawn or free <= free_in_total:
        what = "pending spawned inputs" if spawn else "pending inputs"
        return max(free, 0), f"function {function} has {waiting} {what}, the limit is {pending}"
    everything = f"{waiting + running} inputs, the limit is {limits.total}"
    return max(free_in_total, 0), f"function {function} has {everything}"


def _admit_first(
    memory: Residents,
    limits: Limits,
    spec: CallSpec,
    first: int,
    payloads: Sequence[bytes],
    *,
    sealed: bool,
) -> Admission:
    if first:
        return Admission(0)
    free, reason = room(memory, limits, spec)
    if payloads and not free:
        # A call without inputs would be left behind.
        return Admission(0, reason)
    return _extend(memory, memory.add_call(spec), payloads, free, reason, sealed=sealed)


def _extend(
    memory: Residents,
    call: Call,
    payloads: Sequence[bytes],
    free: int,
    reason: str,
    *,
    sealed: bool,
) -> Admission:
    refused = ""
    if payloads and call.cancelled:
        memory.admit_cancelled(call, len(payloads))
    elif payloads:
        if free < len(payloads):
            payloads, refused = payloads[:free], reason
        if payloads:
            memory.admit(call, payloads)
    if sealed and not refused and not call.sealed:
        memory.seal(call)
    return Admission(len(call.statuses), refused)
