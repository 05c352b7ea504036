"""The table of operations: who may ask for what, and who answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from cloudfn.control.stores.later import Later
from cloudfn.daemon.session import Session
from cloudfn.errors import InvalidError, PermissionDeniedError

Fields = dict[str, Any]
Operation = Callable[[Session, Fields], Fields | Later]


class Group:
    """Operations on one subject: every method named `op_…` is one.

    Such a method returns the fields of the reply, now or later, or raises an Error.
    """

    #: those that user code in containers may ask for
    for_containers: ClassVar[frozenset[str]] = frozenset()
    #: those of them that name files of this machine, which Docker containers do not see
    for_processes: ClassVar[frozenset[str]] = frozenset()

    def operations(self) -> dict[str, Operation]:
        """Return the operations by name."""
        names = [name for name in dir(self) if name.startswith("op_")]
        return {name.removeprefix("op_"): getattr(self, name) for name in names}


class Operations:
    """Answers requests."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._table: dict[str, Operation] = {}
        self._for_containers: set[str] = set()
        self._for_processes: set[str] = set()
        for group in groups:
            self._table |= group.operations()
            self._for_containers |= group.for_containers
            self._for_processes |= group.for_processes

    def answer(self, session: Session, fields: Fields) -> Fields | Later:
        """Carry out one request; raises an Error where it cannot be."""
        name = str(fields.get("op"))
        operation = self._table.get(name)
        if operation is None:
            raise InvalidError(
                f"The daemon knows no operation {fields.get('op')!r}.",
                hint="Client and daemon have different versions; run `cloudfn daemon stop`.",
            )
        if session.container_id is not None and name not in self._for_containers:
            raise PermissionDeniedError(
                f"User code in a container may not ask for {name}.",
                hint="Do it from outside: with the command line or a script of your own.",
            )
        if session.view is not None and name in self._for_processes:
            raise PermissionDeniedError(
                f"A Docker container may not ask for {name}: it does not see this machine's files.",
                hint="Mount what it needs: `@app.function(volumes={path: volume})`.",
            )
        try:
            return operation(session, fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidError(f"Request {name} is malformed: {error!r}") from error
