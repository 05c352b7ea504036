"""The port of wakeups: word to a client far away that outcomes of its calls exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cloudfn.model.call import Status


class Printed(NamedTuple):
    """How much output of an app a machine has had, by the time at which it tells of an outcome.

    Output of containers counts, and not what planners say.
    """

    app_id: str
    #: the process on the machine
    writer: str
    #: characters, since ever; -1: its containers called others, which may print elsewhere
    size: int


def is_counted(container_id: str) -> bool:
    """Whether output under this name counts."""
    return container_id.startswith("ta-")


class Note(NamedTuple):
    """Word that inputs of a call have outcomes. May be lost or doubled: the ledger is the truth."""

    call_id: str
    indices: tuple[int, ...]
    statuses: tuple[Status, ...]
    #: of each input, where all are small; else empty, and the ledger has them
    payloads: tuple[bytes, ...] = ()
    #: of a generator: it has items up to this position
    items: int = 0
    #: of the inputs' app; None: nobody knows
    printed: Printed | None = None


class Wakeups(Protocol):
    """A mailbox for each client. Safe to share between threads; blocks.

    Notes may be lost, doubled and late. Nobody but machines of the environment can forge them: a
    note that is not authentic is dropped.
    """

    def open(self) -> str:
        """Make this client's mailbox; return its address, which goes into the client's calls."""
        ...

    def tell(self, address: str, notes: Sequence[Note]) -> None:
        """Send notes. A mailbox that is gone is no error."""
        ...

    def listen(self, seconds: float) -> list[Note]:
        """Wait up to `seconds` (0 to 20) for notes in the mailbox that `open` made."""
        ...

    def sweep(self, now: float, patience: float) -> int:
        """Remove the mailboxes that nobody has listened to for `patience` seconds; return how many.

        Args:
            now: Seconds since the epoch.
            patience: Seconds.
        """
        ...

    def close(self) -> None:
        """Remove this client's mailbox. Idempotent."""
        ...
