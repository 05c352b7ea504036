"""Machines in DynamoDB: one item each, so that a heartbeat is one request and brings the orders.

Items are spread over partitions `M#0` to `M#7` by a hash of the machine's id, as one partition key
takes 1,000 write units a second, which are those of 2,500 machines.

Attributes: `report` (compact JSON without what is as usual), `heard`, `lease_until`, `expires`; and
the orders: `epoch`, `quotas` and `kept` (JSON), `drain`, `cancelled` (a set of "seq:fence") and
`stops` (one of "now:NAME" and "graceful:NAME"): sets to which DynamoDB adds, and from which it
takes, without a read.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from json import dumps, loads
from typing import Any
from zlib import crc32

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError, ResourceExhaustedError
from cloudfn.model.gpu import Gpu
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.crew import Crew
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.table import Item, Table, Write, delete, update
from cloudfn.providers.machines import (
    ContainerReport,
    ContainerState,
    MachineReport,
    MachineRow,
    MachineState,
    Orders,
    PoolReport,
    Stop,
)

#: how many partitions there are, each of which a list of all machines asks for
PARTITIONS = 8
#: seconds after the end of its lease at which DynamoDB may delete the row of a machine
_KEPT = 86_400
#: inputs that a machine can be told to stop at once; an item may have 400 KB, and each heartbeat
#: pays for all of it
_MOST_CANCELLED = 2_000
#: of them, in one request
_AT_ONCE = 500
#: containers and pools that a machine can be told to stop at once
_MOST_STOPS = 500
#: as what the state of a container is written: one letter, since each heartbeat pays for it
_LETTERS = {state: state.value[0] for state in ContainerState}
_STATES = {letter: state for state, letter in _LETTERS.items()}
#: requests at a time
_THREADS = 16


class DynamoMachines:
    """The `Machines` port on a table.

    Args:
        clients: Where the client of DynamoDB comes from.
        table: The name of the environment's table.
        clock: Waits between two tries.
    """

    def __init__(self, clients: ClientSource, table: str, clock: Clock) -> None:
        self._table = Table(clients, table, clock)
        self._crew = Crew(_THREADS)

    def beat(self, report: MachineReport, now: float, lease: float) -> Orders:
        try:
            return self._say(report, now, lease, when="attribute_exists(pk)")
        except ConditionFailed as failed:
            raise ConflictError(
                f"Machine {report.machine_id} was removed from its environment, as its lease was"
                " over: others run what it held.",
                hint="Drop what it holds, and join anew.",
            ) from failed

    def join(self, report: MachineReport, now: float, lease: float) -> Orders:
        return self._say(report, now, lease, when="")

    def orders(self, machine_id: str) -> Orders:
        return _orders(self._table.get(_pk(machine_id), machine_id) or {})

    def order(self, orders: Mapping[str, Orders]) -> None:
        writes = [_ordering(machine_id, each) for machine_id, each in orders.items()]
        self._crew.each(self._unless_refused, writes)

    def cancel(self, machine_id: str, inputs: Sequence[tuple[int, int]]) -> None:
        for some in _portions(inputs):
            # Room is looked for as if none of them was there: a set grows by fewer at most.
            room = _MOST_CANCELLED - len(some)
            adding = update(
                _pk(machine_id),
                machine_id,
                "ADD #cancelled :some",
                "attribute_exists(pk)"
                " AND (attribute_not_exists(#cancelled) OR size(#cancelled) <= :room)",
                some=some,
                room=room,
            )
            try:
                self._table.write(adding)
            except ConditionFailed as failed:
                if failed.items[0] is None:
                    return
                if some <= failed.items[0]["cancelled"]:
                    continue
                raise ResourceExhaustedError(
                    f"Machine {machine_id} has {_MOST_CANCELLED} inputs to stop already.",
                    hint="Try again in a moment, to have the rest stopped as well.",
                ) from failed

    def cancelled(self, machine_id: str, inputs: Sequence[tuple[int, int]]) -> None:
        for some in _portions(inputs):
            change = "DELETE #cancelled :some"
            self._unless_refused(
                update(_pk(machine_id), machine_id, change, "attribute_exists(pk)", some=some)
            )

    def stop(self, machine_id: str, stops: Sequence[Stop]) -> None:
        adding = update(
            _pk(machine_id),
            machine_id,
            "ADD #stops :some",
            "attribute_exists(pk) AND (attribute_not_exists(#stops) OR size(#stops) < :most)",
            some=_stop_texts(stops),
            most=_MOST_STOPS,
        )
        try:
            self._table.write(adding)
        except ConditionFailed as failed:
            if failed.items[0] is None:
                return
            raise ResourceExhaustedError(
                f"Machine {machine_id} has {_MOST_STOPS} containers to stop already.",
                hint="See with `cloudfn machine list` whether it is heard, and try again.",
            ) from failed

    def stopped(self, machine_id: str, stops: Sequence[Stop]) -> None:
        change, some = "DELETE #stops :some", _stop_texts(stops)
        self._unless_refused(
            update(_pk(machine_id), machine_id, change, "attribute_exists(pk)", some=some)
        )

    def list(self) -> list[MachineRow]:
        partitions = [f"M#{number:x}" for number in range(PARTITIONS)]
        rows = [row for some in self._crew.each(self._rows, partitions) for row in some]
        return sorted(rows, key=lambda row: row.report.machine_id)

    def remove(self, machine_id: str) -> None:
        self._table.write(delete(_pk(machine_id), machine_id))

    def _rows(self, partition: str) -> builtins.list[MachineRow]:
        return [
            MachineRow(
                _read_report(item["sk"], item["report"]),
                float(item["heard"]),
                float(item["lease_until"]),
            )
            for item in self._table.query(partition)
        ]

    def _say(self, report: MachineReport, now: float, lease: float, when: str) -> Orders:
        until = now + lease
        saying = update(
            _pk(report.machine_id),
            report.machine_id,
            "SET #report = :report, #heard = :heard, #lease_until = :until, #expires = :expires",
            when,
            report=_written_report(report),
            heard=now,
            until=until,
            expires=int(until) + _KEPT,
        )
        return _orders(self._table.write(saying, "ALL_NEW"))

    def _unless_refused(self, write: Write) -> None:
        """Write, unless the machine is gone or obeys a later leader."""
        with suppress(ConditionFailed):
            self._table.write(write)


def _pk(machine_id: str) -> str:
    return f"M#{crc32(machine_id.encode()) % PARTITIONS:x}"


def _ordering(machine_id: str, orders: Orders) -> Write:
    change = "SET #epoch = :epoch, #quotas = :quotas, #kept = :kept, #drain = :drain"
    more, adding = {}, []
    if orders.cancelled:
        more["some"] = _texts(orders.cancelled)
        adding.append("#cancelled :some")
    if orders.stops:
        more["stops"] = _stop_texts(orders.stops)
        adding.append("#stops :stops")
    if adding:
        change = f"{change} ADD {', '.join(adding)}"
    return update(
        _pk(machine_id),
        machine_id,
        change,
        "attribute_exists(pk) AND (attribute_not_exists(#epoch) OR #epoch <= :epoch)",
        **more,
        epoch=orders.epoch,
        quotas=_compact(dict(orders.quotas)),
        kept=_compact(dict(orders.kept)),
        drain=orders.drain,
    )


def _orders(item: Item) -> Orders:
    pairs = (each.split(":") for each in item.get("cancelled", ()))
    return Orders(
        epoch=item.get("epoch", 0),
        quotas=loads(item.get("quotas", "{}")),
        kept=loads(item.get("kept", "{}")),
        drain=item.get("drain", False),
        cancelled=tuple(sorted((int(seq), int(fence)) for seq, fence in pairs)),
        stops=tuple(sorted(map(_stop, item.get("stops", ())))),
    )


def _texts(inputs: Sequence[tuple[int, int]]) -> frozenset[str]:
    return frozenset(f"{seq}:{fence}" for seq, fence in inputs)


def _stop_texts(stops: Sequence[Stop]) -> frozenset[str]:
    return frozenset(f"{'graceful' if each.graceful else 'now'}:{each.name}" for each in stops)


def _stop(text: str) -> Stop:
    how, _, name = text.partition(":")
    return Stop(name, how == "graceful")


def _portions(inputs: Sequence[tuple[int, int]]) -> builtins.list[frozenset[str]]:
    texts = sorted(_texts(inputs))
    return [frozenset(texts[n : n + _AT_ONCE]) for n in range(0, len(texts), _AT_ONCE)]


# Reports. A machine may be older or newer than who reads: what is missing is as usual, and what is
# unknown is left out.


def _written_report(report: MachineReport) -> str:
    data = _unusual(report)
    del data["machine_id"]
    if report.gpus:
        data["gpus"] = [_unusual(gpu) for gpu in report.gpus]
    if report.pools:
        data["pools"] = {name: _written_pool(pool) for name, pool in report.pools.items()}
    return _compact(data)


def _read_report(machine_id: str, text: str) -> MachineReport:
    data = _known(MachineReport, loads(text))
    data["state"] = MachineState(data["state"])
    data["gpus"] = tuple(Gpu(**_known(Gpu, gpu)) for gpu in data.get("gpus", ()))
    data["host_keys"] = tuple(data.get("host_keys", ()))
    pools = data.get("pools", {}).items()
    data["pools"] = {name: _read_pool(pool) for name, pool in pools}
    return MachineReport(machine_id=machine_id, **data)


def _written_pool(pool: PoolReport) -> dict[str, Any]:
    data = _unusual(pool)
    if pool.containers:
        data["containers"] = [
            [each.container_id, _LETTERS[each.state], each.started, each.inputs_done]
            for each in pool.containers
        ]
    return data


def _read_pool(written: dict[str, Any]) -> PoolReport:
    data = _known(PoolReport, written)
    if "containers" in data:
        data["containers"] = tuple(
            ContainerReport(container_id, _STATES[letter], started, done)
            for container_id, letter, started, done, *_ in data["containers"]
        )
    return PoolReport(**data)


def _unusual(value: Any) -> dict[str, Any]:
    """Return the fields of a frozen value that are not at their defaults."""
    found = {each.name: getattr(value, each.name) for each in fields(value)}
    return {
        each.name: found[each.name] for each in fields(value) if found[each.name] != _default(each)
    }


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _known(kind: type[Any], data: dict[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in data.items() if name in names}


def _compact(data: Any) -> str:
    return dumps(data, separators=(",", ":"))
