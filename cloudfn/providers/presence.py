"""The port of presence: which clients are there, and what lives no longer than they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client that said that it is there, and until when that holds."""

    client_id: str
    #: where it hears of its calls (`CallSpec.reply`); several after a mailbox was lost
    addresses: tuple[str, ...] = ()
    #: ids of ephemeral apps and objects that end with it, and of named calls that are its own
    owned: tuple[str, ...] = ()
    #: seconds since the epoch
    lease_until: float = 0.0
    #: since when it is doubted, in seconds since the epoch; what it says next ends that
    doubted: float | None = None


class Presence(Protocol):
    """One row for each client that waits or owns. Safe to share between threads; blocks.

    A client whose lease is over is doubted, and has vanished if it says nothing to that: then the
    janitor ends its transient calls, apps and objects, and removes the row. One that comes back
    later says so, and finds them gone.
    """

    def beat(self, row: ClientRow) -> None:
        """Say that a client is there, in place of what it said before. Idempotent."""
        ...

    def list(self) -> list[ClientRow]:
        """Return all rows, those whose lease is over as well."""
        ...

    def doubt(self, client_id: str, lease_until: float, now: float) -> None:
        """Doubt a client, unless its lease is another one by now. Idempotent."""
        ...

    def remove(self, client_id: str, lease_until: float | None = None) -> bool:
        """Remove a row, with `lease_until` only if it still says that; return whether it was there.

        Idempotent.
        """
        ...
