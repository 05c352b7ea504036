"""Generators under way: their items, and outcomes that wait until all items are taken.

An outcome in the ledger is there for ever, items are not: were it recorded before the client has
the items, the death of the daemon would lose them. Until then the input counts as running, though
its container is free.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloudfn.agent.attempts import Attempts
from cloudfn.agent.container import Container
from cloudfn.agent.pool import Pool
from cloudfn.agent.ports import AgentEvents
from cloudfn.errors import Error
from cloudfn.providers.ledger import Claim
from cloudfn.wire.messages import ContainerItem, ContainerOutcome, is_blob


@dataclass(slots=True)
class _Flow:
    """The items of one attempt."""

    container: Container
    claim: Claim
    #: items that it yielded, and how many of them are taken, as its container knows
    yielded: int = 0
    taken: int = 0
    #: nobody can take its items
    refused: bool = False
    #: how it ended, while items are not taken
    outcome: ContainerOutcome | None = None
    pool: Pool | None = None


class Streams:
    """All generators of one machine, by call: such a call has one input."""

    def __init__(self, attempts: Attempts, events: AgentEvents) -> None:
        self._attempts = attempts
        self._events = events
        self._flows: dict[str, _Flow] = {}

    @property
    def active(self) -> bool:
        """Whether there are any."""
        return bool(self._flows)

    def item(self, pool: Pool, container: Container, claim: Claim, item: ContainerItem) -> bool:
        """Pass an item on; False when the attempt must end, because nobody can take it."""
        flow = self._flows.get(claim.call_id)
        if flow is None or flow.claim is not claim:
            flow = self._flows[claim.call_id] = _Flow(container, claim)
        flow.yielded = item.position + 1
        if flow.refused:
            return True
        payload = item.payload
        try:
            if is_blob(payload):
                payload = self._events.adopt(claim, payload)
            taken = self._events.yielded(claim, item.position, payload)
        except Error as error:
            flow.refused = True
            self._attempts.fail(pool, claim, error)
            return False
        self._tell(flow, taken)
        return True

    def keeps(self, pool: Pool, claim: Claim, outcome: ContainerOutcome) -> bool:
        """Take the outcome of an attempt if some of its items are not taken."""
        flow = self._flows.get(claim.call_id)
        if flow is None or flow.claim is not claim:
            return False
        if flow.refused or flow.taken >= flow.yielded:
            del self._flows[claim.call_id]
            return False
        flow.pool, flow.outcome = pool, outcome
        return True

    def taken(self, call_id: str, end: int) -> None:
        """The client has items 0 … end − 1 of a call."""
        flow = self._flows.get(call_id)
        if flow is None:
            return
        self._tell(flow, end)
        if flow.outcome is not None and flow.taken >= flow.yielded:
            del self._flows[call_id]
            assert flow.pool is not None
            self._attempts.conclude(flow.pool, [(flow.claim, flow.outcome)])

    def forget(self, call_id: str) -> None:
        """Nobody wants anything of a call any more."""
        self._flows.pop(call_id, None)

    def drop(self, claim: Claim) -> None:
        """Nobody takes what one attempt yields any more. Idempotent."""
        flow = self._flows.get(claim.call_id)
        if flow is not None and flow.claim.fence == claim.fence:
            del self._flows[claim.call_id]

    def take_kept(self) -> list[Claim]:
        """Remove and return the claims whose outcomes are kept here."""
        flows, self._flows = self._flows, {}
        return [flow.claim for flow in flows.values() if flow.outcome is not None]

    def _tell(self, flow: _Flow, taken: int) -> None:
        if taken > flow.taken:
            flow.taken = taken
            flow.container.tell_taken(flow.claim, taken)
