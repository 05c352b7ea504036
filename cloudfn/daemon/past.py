"""What call graphs still show of calls that the ledger has let go: the latest ones. Pure memory."""

from __future__ import annotations

from collections import deque

from cloudfn.control.calls.directory import PastCall

#: inputs that are remembered at most
_INPUTS = 20_000


class PastCalls:
    """Delivered `.remote` and `.map` calls that containers made; the oldest are forgotten first."""

    def __init__(self, most: int = _INPUTS) -> None:
        self._room = most
        self._in_order: deque[PastCall] = deque()
        self._by_parent: dict[str, deque[PastCall]] = {}

    def add(self, call: PastCall) -> None:
        """Remember a call that an input made."""
        assert call.spec.parent is not None
        self._in_order.append(call)
        self._by_parent.setdefault(call.spec.parent[0], deque()).append(call)
        self._room -= len(call.statuses)
        while self._room < 0:
            self._forget_oldest()

    def children(self, call_id: str) -> list[PastCall]:
        """Return the calls that the inputs of a call made, as far as they are remembered."""
        return list(self._by_parent.get(call_id, ()))

    def _forget_oldest(self) -> None:
        call = self._in_order.popleft()
        self._room += len(call.statuses)
        assert call.spec.parent is not None
        siblings = self._by_parent[call.spec.parent[0]]
        siblings.popleft()  # they came in the same order
        if not siblings:
            del self._by_parent[call.spec.parent[0]]
