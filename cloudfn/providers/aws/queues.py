"""What queues hold, in DynamoDB. Thin I/O; thread-safe.

- `QU#<queue>#<partition>`/`HEAD`: until when the partition lives, its generation, how many elements
  are free (`count`), and the position of the next one.
- `QU#<queue>#<partition>`/`I#<generation>#<position>`: an element; `taken` names the request that
  has it, until that is settled. What is not small lies in `<that>#<this>`/`V`, in a partition of
  its own, so that a megabyte a second is not all that a queue can take.
- `QU#R#<request>`/`R`: a request: what it did, and what it holds.
- `QU#<queue>`/`P#<partition>` and `QU#`/`<queue>`: which partitions and queues there are.
- `QU#GONE`/`<time>#…`: an element that is gone and refers to a blob.

What is read and decided is written in one transaction, whose conditions say that nobody was
faster; it is decided anew where one does not hold. A partition whose time is over gets a new
generation with the next put, so that elements of the old one are found by nobody.

Nobody hears of a client that died after a take. What is not settled for a while goes back to the
front when the next one wants elements, which may be as long again after the last take from a queue
that has none; settling it as kept is refused from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from cloudfn.clock import Clock
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.gone import take_gone
from cloudfn.providers.aws.queue_records import (
    BACK,
    GONE,
    HEAD,
    HELD,
    MOST_PARTS,
    PUT,
    REQUEST,
    as_read,
    away_key,
    element_sort,
    elements,
    holding_record,
    is_far,
    partition_key,
    portions,
    request_key,
)
from cloudfn.providers.aws.queue_settling import REMEMBERED, Settling
from cloudfn.providers.aws.retries import too_busy, tries
from cloudfn.providers.aws.table import Item, Table, Write, delete, put, update
from cloudfn.providers.queues import Leftovers, too_many_partitions

_ALL = "QU#"
#: elements that one request takes at most
_MOST_TAKEN = 1_000


class DynamoQueues:
    """The `Queues` port on a table.

    Args:
        clients: Where the client of DynamoDB comes from.
        table: The name of the environment's table.
        clock: Waits between two tries.
        capacity: Elements that a partition holds.
        partitions: Partitions that a queue may have.
        hold: Seconds after which elements go back that were taken and not settled.
    """

    def __init__(
        self,
        clients: ClientSource,
        table: str,
        clock: Clock,
        capacity: int,
        partitions: int,
        hold: float = 60.0,
    ) -> None:
        self._table = Table(clients, table, clock)
        self._clock = clock
        self._capacity = capacity
        self._partitions = partitions
        self._hold = hold
        self._settling = Settling(self._table, clock)

    def put(
        self,
        queue_id: str,
        partition: str,
        items: Sequence[bytes],
        *,
        request: str,
        ttl: float,
        now: float,
    ) -> bool:
        pk = partition_key(queue_id, partition)
        parts = list(portions(items))
        for _ in tries(self._clock):
            found = self._table.get_all([(pk, HEAD), request_key(request)])
            record, head = found.get(request_key(request)), found.get((pk, HEAD))
            if record is None:
                free = head["count"] if head is not None and head["until"] > now else 0
                if free + len(items) > self._capacity:
                    return False
                if head is None:
                    self._check_partitions(queue_id, now)
                record = self._begin(queue_id, partition, head, parts, request, now + ttl, now)
            if record is not None:
                # What is too much for one transaction follows; who is asked again goes on there.
                for done in range(record["done"], len(parts)):
                    record = self._go_on(record, parts, done)
                return True
        raise too_busy(queue_id)

    def take(
        self, queue_id: str, partition: str, limit: int, size: int, *, request: str, now: float
    ) -> list[bytes]:
        place = partition_key(queue_id, partition), HEAD
        found = self._table.get_all([place, request_key(request)])
        record, head = found.get(request_key(request)), found.get(place)
        if record is not None and record["state"] == HELD:
            return self._held(record)
        if record is not None and record["state"] == BACK:
            self._settling.give_back(record, now)
        taken: list[bytes] = []
        limit = min(limit, _MOST_TAKEN)
        holding: Item | None = None
        while head is not None and len(taken) < limit:
            wanted = min(limit - len(taken), MOST_PARTS)
            taking = self._take(head, wanted, size, request, holding, now)
            if taking is None:
                break
            holding, some = taking
            taken += some
            size -= sum(map(len, some))
            if len(some) < wanted:
                break
        return taken

    def settle(self, requests: Sequence[str], *, keep: bool, now: float) -> list[bool]:
        return [self._settling.settle(request, keep=keep, now=now) for request in requests]

    def peek(
        self, queue_id: str, partition: str, after: int, limit: int, size: int, now: float
    ) -> list[tuple[int, bytes]]:
        pk = partition_key(queue_id, partition)
        head = self._table.get(pk, HEAD)
        if head is None or head["until"] <= now:
            return []
        found, _ = self._front(head, after, limit, size, now)
        payloads = self._payloads(found)
        return [(int(sk.rpartition("#")[2]), payload) for sk, payload in payloads.items()]

    def counts(self, queue_id: str, now: float) -> Mapping[str, int]:
        heads = self._heads(queue_id)
        return {
            partition: head["count"]
            for partition, head in heads.items()
            if head["until"] > now and head["count"]
        }

    def expire(self, now: float, patience: float) -> Leftovers:
        holders: dict[str, None] = {}
        for queue in self._table.query(_ALL):
            for partition, head in self._heads(queue["sk"]).items():
                pk = partition_key(queue["sk"], partition)
                holders |= dict.fromkeys(
                    item["taken"] for item in self._table.query(pk, begins="I#") if "taken" in item
                )
                if head["until"] <= now:
                    self._drop(queue["sk"], partition, head, now)
        records = self._table.get_all([request_key(request) for request in holders])
        return Leftovers(
            tuple(each["request"] for each in records.values() if each["state"] == HELD),
            tuple(take_gone(self._table, GONE, now - patience)),
        )

    def close(self) -> None:
        """See the port; connections belong to the clients."""

    # Putting

    def _begin(
        self,
        queue_id: str,
        partition: str,
        head: Item | None,
        parts: Sequence[Sequence[bytes]],
        request: str,
        until: float,
        now: float,
    ) -> Item | None:
        """Write the first portion, and make room for all; None when somebody else was first."""
        pk = partition_key(queue_id, partition)
        number = sum(map(len, parts))
        more: list[Write] = []
        if head is not None and head["until"] > now:
            generation, first = head["generation"], head["next"]
            heading = update(
                pk,
                HEAD,
                "SET #next = :next, #until = :until, #count = #count + :number",
                "#generation = :generation AND #next = :first AND #count <= :room",
                next=first + number,
                until=until,
                number=number,
                generation=generation,
                first=first,
                room=self._capacity - number,
            )
        else:
            last = 0 if head is None else head["generation"]
            generation, first = max(last + 1, int(self._clock.wall() * 1_000)), 1
            heading = put(
                {
                    "pk": pk,
                    "sk": HEAD,
                    "generation": generation,
                    "next": first + number,
                    "until": until,
                    "count": number,
                },
                "attribute_not_exists(pk)" if head is None else "#generation = :last",
                **({} if head is None else {"last": last}),
            )
            more = [
                put({"pk": f"QU#{queue_id}", "sk": f"P#{partition}"}),
                put({"pk": _ALL, "sk": queue_id}),
            ]
        record: Item = {
            "pk": request_key(request)[0],
            "sk": REQUEST,
            "request": request,
            "state": PUT,
            "partition": pk,
            "generation": generation,
            "first": first,
            "done": 1,
            "expires": int(self._clock.wall() + REMEMBERED),
        }
        remembering = put(record, "attribute_not_exists(pk)")
        writing = elements(record, first, parts[0] if parts else ())
        try:
            self._table.transact([heading, remembering, *more, *writing])
        except ConditionFailed:
            return None
        if head is not None and generation != head["generation"]:
            self._settling.discard_before(pk, generation, now)
        return record

    def _go_on(self, record: Item, parts: Sequence[Sequence[bytes]], done: int) -> Item:
        """Write a further portion, once."""
        first = record["first"] + sum(map(len, parts[:done]))
        after = {**record, "done": done + 1}
        remembering = put(after, "#done = :done", done=done)
        # Whoever sent the same request at the same time has done it.
        with suppress(ConditionFailed):
            self._table.transact([remembering, *elements(record, first, parts[done])])
        return after

    def _check_partitions(self, queue_id: str, now: float) -> None:
        heads = self._heads(queue_id)
        if len(heads) < self._partitions:
            return
        dead = {name: head for name, head in heads.items() if head["until"] <= now}
        for partition, head in dead.items():
            self._drop(queue_id, partition, head, now)
        if len(heads) - len(dead) >= self._partitions:
            raise too_many_partitions(self._partitions)

    # Taking

    def _take(
        self,
        head: Item,
        limit: int,
        size: int,
        request: str,
        holding: Item | None,
        now: float,
    ) -> tuple[Item, list[bytes]] | None:
        """Take what one transaction can; None when there is nothing for this request.

        Args:
            head: That of the partition, as it was read.
            limit: Elements, at most.
            size: Bytes, about.
            request: Who takes them.
            holding: The record of what the request holds already.
            now: Seconds since the epoch.
        """
        pk, generation = head["pk"], head["generation"]
        for _ in tries(self._clock):
            if head["until"] <= now or head["generation"] != generation:
                return None
            if not head["count"] and now < head.get("taken_at", now) + self._hold:
                # None is free, and of those that are taken none is late.
                return None
            found, late = self._front(head, 0, limit, size, now)
            if late:
                self._settling.bring_back(pk, late, now)
                head = self._table.get(pk, HEAD) or head
                continue
            if not found or (holding is not None and found[0]["size"] > size):
                return None
            record = holding_record(request, head, found, holding, now)
            if holding is None:
                held = put(record, "attribute_not_exists(pk) OR #state <> :held", held=HELD)
            else:
                held = put(record, **as_read(holding))
            counting = update(
                pk,
                HEAD,
                "SET #count = #count - :number, #taken_at = :now",
                "#generation = :generation",
                number=len(found),
                now=now,
                generation=generation,
            )
            taking = [
                update(
                    pk,
                    item["sk"],
                    "SET #taken = :request, #taken_at = :now",
                    "attribute_exists(pk) AND attribute_not_exists(#taken)",
                    request=request,
                    now=now,
                )
                for item in found
            ]
            try:
                self._table.transact([held, counting, *taking])
            except ConditionFailed as failed:
                if not failed.held[0]:
                    # The same request, sent at the same time, was first.
                    return None
                head = self._table.get(pk, HEAD) or head
            else:
                return record, list(self._payloads(found).values())
        return None

    def _front(
        self, head: Item, after: int, limit: int, size: int, now: float
    ) -> tuple[list[Item], dict[str, list[Item]]]:
        """Return free elements beyond a position; and, by request, what was taken for too long."""
        found: list[Item] = []
        late: dict[str, list[Item]] = {}
        start = f"{element_sort(head['generation'], after)}~"
        for item in self._table.query(head["pk"], after=start, limit=min(limit, MOST_PARTS) + 5):
            if "taken" in item:
                if item["taken_at"] <= now - self._hold:
                    late.setdefault(item["taken"], []).append(item)
                continue
            size -= item["size"]
            if len(found) == limit or (found and size < 0):
                break
            found.append(item)
        return found, late

    def _held(self, record: Item) -> list[bytes]:
        found = self._table.get_all([(record["partition"], sk) for sk in record["positions"]])
        items = sorted(found.values(), key=lambda item: str(item["sk"]))
        return list(self._payloads(items).values())

    def _payloads(self, items: Sequence[Item]) -> dict[str, bytes]:
        """Return elements by the sort keys of their positions, those that are still there."""
        away = {item["sk"]: away_key(item["pk"], item["sk"]) for item in items if is_far(item)}
        values = self._table.get_all(list(away.values()))
        whole = {item["sk"]: values.get(away.get(item["sk"], ("", "")), item) for item in items}
        return {sk: item["payload"] for sk, item in whole.items() if "payload" in item}

    # Dropping

    def _drop(self, queue_id: str, partition: str, head: Item, now: float) -> None:
        """Drop a partition that has had its time, unless somebody puts into it at this moment."""
        pk = partition_key(queue_id, partition)
        ending = delete(
            pk,
            HEAD,
            "#generation = :generation AND #until = :until",
            generation=head["generation"],
            until=head["until"],
        )
        with suppress(ConditionFailed):
            self._table.transact([ending, delete(f"QU#{queue_id}", f"P#{partition}")])
            self._settling.discard_before(pk, head["generation"] + 1, now)

    def _heads(self, queue_id: str) -> dict[str, Item]:
        rows = self._table.query(f"QU#{queue_id}", begins="P#")
        names = [row["sk"].removeprefix("P#") for row in rows]
        found = self._table.get_all([(partition_key(queue_id, name), HEAD) for name in names])
        places = {name: (partition_key(queue_id, name), HEAD) for name in names}
        return {name: found[place] for name, place in places.items() if place in found}
