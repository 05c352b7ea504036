"""Ends calls: in the ledger first, and then where they run."""

from __future__ import annotations

from collections import defaultdict

from cloudfn.model.call import Status
from cloudfn.providers.base import Cloud
from cloudfn.providers.endings import cancelled_payload
from cloudfn.providers.ledger import Entry


def cancel(cloud: Cloud, call_id: str) -> None:
    """End all unfinished inputs of a call, and have their holders stop them. Idempotent.

    Args:
        cloud: Where they run.
        call_id: The call; one that is not known has none.
    """
    running = cloud.ledger.cancel(call_id)
    if not running:
        return
    # None of them can be claimed anew, and none is known as running once its outcome is recorded.
    held = cloud.ledger.held(call_id)
    payload = cancelled_payload(call_id)
    cloud.ledger.record([Entry(seq, fence, Status.CANCELLED, payload) for seq, fence, _ in running])
    inputs: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for each in held:
        inputs[each.holder].append((each.seq, each.fence))
    for machine_id, stopped in inputs.items():
        cloud.machines.cancel(machine_id, stopped)


def end_function(cloud: Cloud, function_id: str) -> None:
    """End all calls of a function, or of a variant: nobody serves it any more. Idempotent."""
    for record in cloud.ledger.open_calls(function_id):
        cancel(cloud, record.spec.call_id)
