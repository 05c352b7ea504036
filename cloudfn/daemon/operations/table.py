"""The table of a daemon's operations."""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.control import operations
from cloudfn.control.operations import Fields, Group
from cloudfn.control.stores.later import Later
from cloudfn.daemon.session import Session
from cloudfn.errors import InvalidError, PermissionDeniedError


class Operations(operations.Operations[Session, Fields | Later]):
    """Answers requests, now or later."""

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__(groups)
        self._for_processes = frozenset[str]().union(*(each.for_processes for each in groups))

    def check(self, asker: Session, name: str) -> None:
        """Raise PermissionDeniedError where a client may not ask for an operation."""
        super().check(asker, name)
        if asker.view is not None and name in self._for_processes:
            raise PermissionDeniedError(
                f"A Docker container may not ask for {name}: it does not see this machine's files.",
                hint="Mount what it needs: `@app.function(volumes={path: volume})`.",
            )

    def unknown(self, name: str) -> InvalidError:
        """Return the error for an operation that a daemon does not know."""
        return InvalidError(
            f"The daemon knows no operation {name!r}.",
            hint="Client and daemon have different versions; run `cloudfn daemon stop`.",
        )
