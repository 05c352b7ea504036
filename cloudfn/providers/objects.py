"""The port for objects with a name that programs share: dicts, queues, volumes, secrets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cloudfn.errors import AlreadyExistsError, NotFoundError


class ObjectKind(Enum):
    """What an object is; the value begins its id."""

    DICT = "di"
    QUEUE = "qu"
    VOLUME = "vo"
    # Not a password, but how ids begin.
    SECRET = "st"  # noqa: S105

    @property
    def noun(self) -> str:
        """The word for it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object of an environment."""

    object_id: str
    kind: ObjectKind
    #: empty for ephemeral ones, which go with their client
    name: str
    #: seconds since the epoch
    created: float


class Objects(Protocol):
    """The durable truth about which named objects there are; what they hold is elsewhere.

    Every write survives the death of the process when the method returns.
    """

    def create(self, record: ObjectRecord) -> None:
        """Register an object. Idempotent for the same id.

        Raises:
            AlreadyExistsError: There is another one of that kind and name.
        """
        ...

    def get(self, object_id: str) -> ObjectRecord | None:
        """Return an object by id."""
        ...

    def find(self, kind: ObjectKind, name: str) -> ObjectRecord | None:
        """Return an object by name."""
        ...

    def list(self, kind: ObjectKind) -> list[ObjectRecord]:
        """Return all objects of a kind, ephemeral ones too, the newest first."""
        ...

    def rename(self, object_id: str, name: str) -> None:
        """Give an object another name; raises AlreadyExistsError or NotFoundError."""
        ...

    def delete(self, object_id: str) -> None:
        """Forget an object. Idempotent."""
        ...

    def close(self) -> None:
        """Give the store back. Idempotent."""
        ...


def taken(kind: ObjectKind, name: str) -> AlreadyExistsError:
    """Return the error for a second object of one kind and name."""
    return AlreadyExistsError(f"There is a {kind.noun} named {name!r} already.")


def no_object(object_id: str) -> NotFoundError:
    """Return the error for an object that is not there."""
    return NotFoundError(f"There is no object {object_id}.", hint="It was deleted; make it again.")
