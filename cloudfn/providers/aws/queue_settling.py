"""How requests end that took elements of queues in DynamoDB. Thin I/O; thread-safe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cloudfn.clock import Clock
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.gone import gone
from cloudfn.providers.aws.queue_records import (
    BACK,
    GONE,
    HEAD,
    HELD,
    KEPT,
    MOST_PARTS,
    as_read,
    away_key,
    blobs_of,
    element_sort,
    is_far,
    request_key,
)
from cloudfn.providers.aws.retries import too_busy, tries
from cloudfn.providers.aws.table import Item, Table, delete, put, update

#: seconds that the end of a request is known: kept or put, and given back
REMEMBERED = 86_400
_REMEMBERED_BACK = 7 * 86_400


class Settling:
    """Ends requests, and deletes elements.

    Args:
        table: The environment's table.
        clock: Waits between two tries.
    """

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def settle(self, request: str, *, keep: bool, now: float) -> bool:
        """End a request; whether it ended as `keep` wants it, be it now or before."""
        wanted = KEPT if keep else BACK
        for _ in tries(self._clock):
            record = self._table.get(*request_key(request))
            if record is None:
                # Its client knows best.
                return True
            if record["state"] == BACK:
                self.give_back(record, now)
            if record["state"] != HELD:
                return bool(record["state"] == wanted)
            if self._end(record, KEPT, now) if keep else self.give_back(record, now):
                return True
        raise too_busy(request)

    def _end(self, record: Item, state: str, now: float) -> bool:
        """Settle a request whose elements go for good; False when somebody else has settled it."""
        after = {**record, "state": state, "positions": [], "expires": self._later(REMEMBERED)}
        try:
            self._table.write(put(after, **as_read(record)))
        except ConditionFailed:
            return False
        # Nobody gets them any more; who dies here leaves them to the next one who comes by.
        self._table.write_all([gone(GONE, payload, now) for payload in record["blobs"]])
        self._delete(record["partition"], record["positions"], record["away"])
        return True

    def give_back(self, record: Item, now: float) -> bool:
        """Let elements of a request be free again; False when somebody else has settled it."""
        while record["positions"]:
            some, rest = record["positions"][:MOST_PARTS], record["positions"][MOST_PARTS:]
            after = {
                **record,
                "state": BACK,
                "positions": rest,
                "expires": self._later(_REMEMBERED_BACK),
            }
            pk = record["partition"]
            counting = update(
                pk,
                HEAD,
                "SET #count = #count + :number",
                "#generation = :generation",
                number=len(some),
                generation=record["generation"],
            )
            freeing = [update(pk, sk, "REMOVE #taken, #taken_at") for sk in some]
            try:
                self._table.transact([put(after, **as_read(record)), counting, *freeing])
            except ConditionFailed as failed:
                # Unless its partition has had its time, and there is no queue to go back to.
                return failed.held[0] and self._end(record, BACK, now)
            record = after
        return True

    def bring_back(self, pk: str, late: Mapping[str, Sequence[Item]], now: float) -> None:
        """Give back what nobody settled, or delete what somebody kept and could not delete."""
        for request, items in late.items():
            record = self._table.get(*request_key(request))
            if record is not None and record["state"] != KEPT:
                self.settle(request, keep=False, now=now)
            else:
                self._discard(pk, items, now)

    def discard_before(self, pk: str, generation: int, now: float) -> None:
        """Delete the elements of earlier generations that no request holds."""
        end = element_sort(generation, 0)
        items = [item for item in self._table.query(pk, begins="I#") if item["sk"] < end]
        self._discard(pk, [item for item in items if "taken" not in item], now)

    def _discard(self, pk: str, items: Sequence[Item], now: float) -> None:
        self._table.write_all([gone(GONE, payload, now) for payload in blobs_of(items)])
        self._delete(
            pk, [item["sk"] for item in items], [item["sk"] for item in items if is_far(item)]
        )

    def _delete(self, pk: str, positions: Sequence[str], away: Iterable[str]) -> None:
        keys = [*((pk, sk) for sk in positions), *(away_key(pk, sk) for sk in away)]
        self._table.write_all([delete(*key) for key in keys])

    def _later(self, seconds: float) -> int:
        return int(self._clock.wall() + seconds)
