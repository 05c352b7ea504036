"""Clients that are there, in DynamoDB: one small item each, renewed while it waits or owns."""

from __future__ import annotations

import builtins
from contextlib import suppress

from cloudfn.clock import Clock
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.table import Table, delete, put, update
from cloudfn.providers.presence import ClientRow

_PK = "CL#"
#: seconds after the end of its lease at which DynamoDB may delete the row of a client whom no
#: janitor came for
_KEPT = 7 * 86_400


class DynamoPresence:
    """The `Presence` port on a table.

    Args:
        clients: Where the client of DynamoDB comes from.
        table: The name of the environment's table.
        clock: Waits between two tries.
    """

    def __init__(self, clients: ClientSource, table: str, clock: Clock) -> None:
        self._table = Table(clients, table, clock)

    def beat(self, row: ClientRow) -> None:
        item = {
            "pk": _PK,
            "sk": row.client_id,
            "addresses": builtins.list(row.addresses),
            "owned": builtins.list(row.owned),
            "lease_until": row.lease_until,
            "expires": int(row.lease_until) + _KEPT,
        }
        self._table.write(put(item))

    def list(self) -> builtins.list[ClientRow]:
        return [
            ClientRow(
                item["sk"],
                tuple(item["addresses"]),
                tuple(item["owned"]),
                float(item["lease_until"]),
                float(item["doubted"]) if "doubted" in item else None,
            )
            for item in self._table.query(_PK)
        ]

    def doubt(self, client_id: str, lease_until: float, now: float) -> None:
        doubting = update(
            _PK,
            client_id,
            "SET #doubted = :now",
            "#lease_until = :until AND attribute_not_exists(#doubted)",
            until=lease_until,
            now=now,
        )
        with suppress(ConditionFailed):
            self._table.write(doubting)

    def remove(self, client_id: str, lease_until: float | None = None) -> bool:
        removal = delete(_PK, client_id, "attribute_exists(pk)")
        if lease_until is not None:
            when = "attribute_exists(pk) AND #lease_until = :until"
            removal = delete(_PK, client_id, when, until=lease_until)
        with suppress(ConditionFailed):
            self._table.write(removal)
            return True
        return False
