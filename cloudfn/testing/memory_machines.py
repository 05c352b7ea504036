"""Machines in memory."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock

from cloudfn.errors import ConflictError
from cloudfn.providers.machines import MachineReport, MachineRow, Orders, Stop


class MemoryMachines:
    """The `Machines` port as dictionaries, for all who share the object."""

    def __init__(self) -> None:
        self._rows: dict[str, MachineRow] = {}
        self._orders: dict[str, Orders] = {}
        self._lock = Lock()

    def beat(self, report: MachineReport, now: float, lease: float) -> Orders:
        with self._lock:
            if report.machine_id not in self._rows:
                raise ConflictError(f"Machine {report.machine_id} was removed.")
            return self._say(report, now, lease)

    def join(self, report: MachineReport, now: float, lease: float) -> Orders:
        with self._lock:
            return self._say(report, now, lease)

    def orders(self, machine_id: str) -> Orders:
        with self._lock:
            return self._orders.get(machine_id, Orders())

    def order(self, orders: Mapping[str, Orders]) -> None:
        with self._lock:
            for machine_id, wanted in orders.items():
                known = self._orders.get(machine_id)
                if known is not None and known.epoch <= wanted.epoch:
                    named = tuple(sorted({*known.cancelled, *wanted.cancelled}))
                    stops = tuple(sorted({*known.stops, *wanted.stops}))
                    self._orders[machine_id] = replace(wanted, cancelled=named, stops=stops)

    def cancel(self, machine_id: str, inputs: Sequence[tuple[int, int]]) -> None:
        with self._lock:
            known = self._orders.get(machine_id)
            if known is not None:
                named = tuple(sorted({*known.cancelled, *inputs}))
                self._orders[machine_id] = replace(known, cancelled=named)

    def cancelled(self, machine_id: str, inputs: Sequence[tuple[int, int]]) -> None:
        with self._lock:
            known = self._orders.get(machine_id)
            if known is not None:
                left = tuple(sorted({*known.cancelled} - {*inputs}))
                self._orders[machine_id] = replace(known, cancelled=left)

    def stop(self, machine_id: str, stops: Sequence[Stop]) -> None:
        with self._lock:
            known = self._orders.get(machine_id)
            if known is not None:
                named = tuple(sorted({*known.stops, *stops}))
                self._orders[machine_id] = replace(known, stops=named)

    def stopped(self, machine_id: str, stops: Sequence[Stop]) -> None:
        with self._lock:
            known = self._orders.get(machine_id)
            if known is not None:
                left = tuple(sorted({*known.stops} - {*stops}))
                self._orders[machine_id] = replace(known, stops=left)

    def list(self) -> builtins.list[MachineRow]:
        with self._lock:
            return [self._rows[machine_id] for machine_id in sorted(self._rows)]

    def remove(self, machine_id: str) -> None:
        with self._lock:
            self._rows.pop(machine_id, None)
            self._orders.pop(machine_id, None)

    def _say(self, report: MachineReport, now: float, lease: float) -> Orders:
        self._rows[report.machine_id] = MachineRow(report, now, now + lease)
        return self._orders.setdefault(report.machine_id, Orders())
