"""The table of operations: who may ask for what, and who answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from cloudfn.control.invocation.caller import Fields
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.errors import InvalidError, PermissionDeniedError, UnimplementedError

Operation = Callable[[Conversation, Fields], Fields]

#: operations of a daemon that make no sense where machines come and go → why, what to do instead
_LOCAL_ONLY = {
    "app_terminal": (
        "Containers on a cloud do not see your terminal.",
        "Interactive runs need `--provider local`.",
    ),
    "image_push": (
        "Images of a cloud are in its own registry, from their build on.",
        "`cloudfn image list` shows them; `--provider local` pushes to other registries.",
    ),
    "image_pull": (
        "Images of a cloud are in its own registry, from their build on.",
        "`cloudfn image build FILE` brings one there; `--provider local` pulls from others.",
    ),
    "shutdown": (
        "A cloud has no daemon.",
        "`cloudfn daemon` is for `--provider local`; `cloudfn planner status` tells of a cloud.",
    ),
    "status": (
        "A cloud has no daemon.",
        "`cloudfn daemon` is for `--provider local`; `cloudfn planner status` tells of a cloud.",
    ),
    "web_url": (
        "Functions on a cloud do not answer HTTP requests yet.",
        "Web functions need `--provider local`.",
    ),
}


class Group:
    """Operations on one subject: every method named `op_…` is one.

    Such a method may block, and returns the fields of the answer or raises an Error.
    """

    #: those that user code in containers may ask for
    for_containers: ClassVar[frozenset[str]] = frozenset()

    def operations(self) -> dict[str, Operation]:
        """Return the operations by name."""
        names = [name for name in dir(self) if name.startswith("op_")]
        return {name.removeprefix("op_"): getattr(self, name) for name in names}


class Operations:
    """Answers requests."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._table: dict[str, Operation] = {}
        self._for_containers: set[str] = set()
        for group in groups:
            self._table |= group.operations()
            self._for_containers |= group.for_containers

    def answer(self, conversation: Conversation, fields: Fields) -> Fields:
        """Carry out one request; raises an Error where it cannot be."""
        name = str(fields.get("op"))
        operation = self._table.get(name)
        if operation is None:
            unknown = f"A cloud does not know the operation {name!r}.", None
            message, hint = _LOCAL_ONLY.get(name, unknown)
            raise UnimplementedError(message, hint=hint)
        if conversation.caller.container_id is not None and name not in self._for_containers:
            raise PermissionDeniedError(
                f"User code in a container may not ask for {name}.",
                hint="Do it from outside: with the command line or a script of your own.",
            )
        try:
            return operation(conversation, fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidError(f"Request {name} is malformed: {error!r}") from error
