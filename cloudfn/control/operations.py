"""The table of operations: who may ask for what, and who answers. No I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from cloudfn.errors import Error, InvalidError, PermissionDeniedError

Fields = dict[str, Any]


class Asker(Protocol):
    """Who asks for something: one client's connection."""

    @property
    def container_id(self) -> str | None:
        """The container that it runs in; None: none."""
        ...


A = TypeVar("A", bound=Asker)
Told = TypeVar("Told")


class Group:
    """Operations on one subject: every method named `op_…` is one.

    Such a method gets who asks and the fields of the request, and returns those of the reply or
    raises an Error.
    """

    #: those that user code in containers may ask for
    for_containers: ClassVar[frozenset[str]] = frozenset()
    #: those of them that name files of this machine, which Docker containers of a daemon do not see
    for_processes: ClassVar[frozenset[str]] = frozenset()

    def operations(self) -> dict[str, Callable[..., Any]]:
        """Return the operations by name."""
        names = [name for name in dir(self) if name.startswith("op_")]
        return {name.removeprefix("op_"): getattr(self, name) for name in names}


class Operations(ABC, Generic[A, Told]):
    """Answers requests."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._table: dict[str, Callable[[A, Fields], Told]] = {}
        self._for_containers: set[str] = set()
        for group in groups:
            self._table |= group.operations()
            self._for_containers |= group.for_containers

    def answer(self, asker: A, fields: Fields) -> Told:
        """Carry out one request; raises an Error where it cannot be."""
        name = str(fields.get("op"))
        operation = self._table.get(name)
        if operation is None:
            raise self.unknown(name)
        self.check(asker, name)
        try:
            return operation(asker, fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidError(f"Request {name} is malformed: {error!r}") from error

    def check(self, asker: A, name: str) -> None:
        """Raise PermissionDeniedError where somebody may not ask for an operation."""
        if asker.container_id is not None and name not in self._for_containers:
            raise PermissionDeniedError(
                f"User code in a container may not ask for {name}.",
                hint="Do it from outside: with the command line or a script of your own.",
            )

    @abstractmethod
    def unknown(self, name: str) -> Error:
        """Return the error for an operation that is not in the table."""
