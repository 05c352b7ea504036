"""Which waiting inputs are claimed next: calls take turns, kinds of calls too. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

#: In one turn of so many in which several priorities wait, a lower one is first.
_FAIR = 8


class Waiting(NamedTuple):
    """What may be claimed of a page."""

    number: int
    call_id: str
    created: float
    #: index of the page's first input
    first: int
    #: of `.spawn`, with its priority
    spawn: bool
    priority: int
    free: Sequence[int]
    #: slots that must be claimed with no other beside them
    alone: Sequence[int]


#: slots to claim by the number of their page, in order
Choice = dict[int, list[int]]


class Turns:
    """Whose turn it is in one pool."""

    def __init__(self) -> None:
        self._claims = 0
        self._levels = 0
        self._stamp = 0
        #: when a call was last served; one that is not here goes first
        self._served: dict[str, int] = {}

    def go_first(self, call_id: str) -> None:
        """Let a call be served next: it got something back."""
        self._served.pop(call_id, None)

    def choose(self, pages: Sequence[Waiting], limit: int, *, alone: bool = True) -> Choice:
        """Return what to claim; see `Ledger.claim`.

        Args:
            pages: Where inputs wait.
            limit: How many at most.
            alone: Whether what must be claimed alone may be.
        """
        self._claims += 1
        turn = self._claims
        calls = {page.call_id for page in pages}
        self._served = {call: at for call, at in self._served.items() if call in calls}
        single = min((_age(page) for page in pages if page.alone), default=None) if alone else None
        sides = self._sides([page for page in pages if page.free])
        if single and (turn % 2 or not sides):
            page = next(page for page in pages if page.alone and _age(page) == single)
            return {page.number: [page.alone[0]]}
        # With an `alone` input waiting, only every other turn comes here.
        if (turn // 2 if single else turn) % 2:
            sides.reverse()
        chosen: Choice = {}
        left = limit
        for number, side in enumerate(sides):
            share = left - left // 2 if number == 0 and len(sides) == 2 else left
            left -= self._take_all(side, share, chosen)
        if sides and left:
            self._take_all(sides[0], left, chosen)
        return chosen

    def _sides(self, pages: Sequence[Waiting]) -> list[list[list[Waiting]]]:
        """Return the two kinds of calls, those that there are, each as lanes in order."""
        spawned: defaultdict[int, list[Waiting]] = defaultdict(list)
        for page in pages:
            if page.spawn:
                spawned[page.priority].append(page)
        levels = sorted(spawned, reverse=True)
        if len(levels) > 1:
            self._levels += 1
            turn, rest = divmod(self._levels, _FAIR)
            if not rest:
                levels.insert(0, levels.pop(1 + turn % (len(levels) - 1)))
        others = [page for page in pages if not page.spawn]
        sides = [[others] if others else [], [spawned[level] for level in levels]]
        return [side for side in sides if side]

    def _take_all(self, lanes: list[list[Waiting]], limit: int, chosen: Choice) -> int:
        left = limit
        for lane in lanes:
            left -= self._take(lane, left, chosen)
        return limit - left

    def _take(self, lane: list[Waiting], limit: int, chosen: Choice) -> int:
        """Take from the calls of a lane in turns; return how many."""
        calls: dict[str, list[Waiting]] = {}
        for page in sorted(lane, key=_age):
            calls.setdefault(page.call_id, []).append(page)
        order = sorted(calls, key=lambda call: self._served.get(call, 0))
        left = limit
        while left > 0 and order:
            share, more = left // len(order) or 1, []
            for call in order:
                taken = _take_from(calls[call], min(share, left), chosen)
                left -= taken
                if taken:
                    self._stamp += 1
                    self._served[call] = self._stamp
                    more.append(call)
            order = more
        return limit - left


def _take_from(pages: Sequence[Waiting], limit: int, chosen: Choice) -> int:
    left = limit
    for page in pages:
        known = chosen.get(page.number, [])
        more = page.free[len(known) : len(known) + left]
        if more:
            chosen[page.number] = [*known, *more]
            left -= len(more)
        if not left:
            break
    return limit - left


def _age(page: Waiting) -> tuple[float, str, int]:
    return page.created, page.call_id, page.first
