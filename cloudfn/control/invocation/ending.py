"""Ends calls: what waits in the ledger, and what runs where it runs."""

from __future__ import annotations

from collections import defaultdict

from cloudfn.model.call import Status
from cloudfn.providers.base import Cloud
from cloudfn.providers.endings import cancelled_payload
from cloudfn.providers.ledger import Entry


def cancel(cloud: Cloud, call_id: str) -> None:
    """End all unfinished inputs of a call, and have their holders stop them. Idempotent.

    Where it breaks off, it is done again, or holders let go of what they were told of themselves.

    Args:
        cloud: Where they run.
        call_id: The call; one that is not known has none.
    """
    running = cloud.ledger.cancel(call_id)
    if not running:
        return
    inputs: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for each in cloud.ledger.held(call_id):
        inputs[each.holder].append((each.seq, each.fence))
    # Before their outcomes are recorded: nobody knows then any more that they run, and where.
    for machine_id, stopped in inputs.items():
        cloud.machines.cancel(machine_id, stopped)
    payload = cancelled_payload(call_id)
    cloud.ledger.record([Entry(seq, fence, Status.CANCELLED, payload) for seq, fence, _ in running])


def end_function(cloud: Cloud, function_id: str) -> None:
    """End all calls of a function, or of a variant: nobody serves it any more. Idempotent."""
    for record in cloud.ledger.open_calls(function_id):
        cancel(cloud, record.spec.call_id)
