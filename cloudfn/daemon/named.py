"""Named calls among those that are under way in a daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cloudfn.clock import Clock
from cloudfn.control.invocation.named import Functions, NamedCalls
from cloudfn.daemon.journal import Journal
from cloudfn.daemon.watches import Call, Watch
from cloudfn.providers.ledger import Ledger
from cloudfn.wire.messages import Submit


class Naming:
    """Begins and takes up named calls.

    Args:
        journal: Writes.
        ledger: Is read.
        functions: The functions.
        clock: The time.
        under_way: Returns a call that somebody waits for, by id.
        cancel: Ends what is unfinished of a call.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        functions: Functions,
        clock: Clock,
        under_way: Callable[[str], Call | None],
        cancel: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._under_way = under_way
        self._cancel = cancel
        self._named = NamedCalls(ledger, functions, self, clock)

    def look_up(self, function_id: str, name: str) -> dict[str, Any]:
        """Return the call that a name has; see `NamedCalls`."""
        return self._named.look_up(function_id, name)

    def open(self, call_id: str, header: dict[str, Any]) -> Call:
        """Begin a named call, or take it up; the caller becomes its client.

        Raises:
            ConflictError: Another client has it, or has begun another one of that name.
        """
        spec, record = self._named.begin(call_id, header)
        if record is None:
            return Call(spec, has_blobs=True)
        call = self._under_way(call_id)
        return call or Call(record.spec, record.known, record.sealed, has_blobs=True)

    def check_free(self, call: Call) -> None:
        """Raise ConflictError where another client has the call."""
        self._named.check_free(call.spec)

    def checked(self, call: Call, message: Submit) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the digests and payloads of a message, compared with what the call has.

        Raises:
            ConflictError: They are not the inputs that the call was begun with.
        """
        return self._named.checked(call.spec, message)

    # What named calls need of the daemon (Holders)

    def is_taken(self, call_id: str) -> bool:
        """Whether a client has a call."""
        call = self._under_way(call_id)
        return call is not None and any(watch.owner for watch in call.watches)

    def cancel(self, call_id: str) -> None:
        """End what is unfinished of a call."""
        self._cancel(call_id)

    def write(self, change: Callable[[], object]) -> None:
        """Have a change of the ledger made."""
        self._journal.write(change)

    def reply(self) -> str:
        """Return nothing: clients wait with the daemon itself."""
        return ""


def confirmed(watch: Watch) -> int:
    """Return up to which input the client of a call may rely on it."""
    return watch.call.known if watch.end is None else watch.end
