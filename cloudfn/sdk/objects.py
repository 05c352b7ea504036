"""Objects that programs share by name, or for as long as a block is open: what all kinds have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Self, TypeVar

from cloudfn import errors
from cloudfn.model import ids
from cloudfn.model.names import check_characters, check_name
from cloudfn.sdk.block import Block
from cloudfn.sdk.client import Client, default_client
from cloudfn.sdk.twins import (
    Steps,
    class_iterating,
    run,
    run_async,
    twin,
    warn_in_event_loop,
)

T = TypeVar("T")
O = TypeVar("O", bound="SharedObject")  # noqa: E741 - an object


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of a named object."""

    name: str
    created_at: datetime
    #: nobody: environments have one user
    created_by: str | None = None


class SharedObject:
    """A handle of an object in the engine; nothing is asked before it is used."""

    #: what it is, in one word
    _noun: ClassVar[str]
    #: what its ids begin with
    _prefix: ClassVar[str]

    def __init__(
        self,
        name: str = "",
        *,
        object_id: str | None = None,
        create: bool = False,
        client: Client | None = None,
        environment: str | None = None,
    ) -> None:
        self._name = name
        self._object_id = object_id
        self._create = create
        self._client = client
        self._environment = environment
        #: the engine that knows it under that id
        self._found_by: Client | None = None

    @classmethod
    def from_id(cls, object_id: str, client: Client | None = None) -> Self:
        """Return the handle of an object by its id; whether it exists shows when it is used."""
        return cls(object_id=object_id, client=client)

    @class_iterating
    def ephemeral(
        cls: type[Any],  # noqa: N805 - bound to the class
        client: Client | None = None,
        environment_name: str | None = None,
    ) -> Ephemeral[Any]:
        """Make one that lives while the `with` block is open, and not longer than this process."""
        return Ephemeral(cls, client, environment_name)

    @property
    def name(self) -> str | None:
        """Its name; None for an ephemeral one."""
        return self._name or None

    @property
    def object_id(self) -> str:
        """Its id; raises ExecutionError before the first use of an object with a name."""
        if self._object_id is None:
            raise errors.ExecutionError(
                f"The {self._noun} {self._name!r} has not been looked up yet.",
                hint="Use it, or call `hydrate()`, first.",
            )
        return self._object_id

    @twin
    def hydrate(self, client: Client | None = None) -> Steps[Self]:
        """Look it up now, rather than on first use.

        Raises:
            NotFoundError: There is none of that name.
        """
        self._client = client or self._client
        yield from self._id()
        return self

    @twin
    def info(self) -> Steps[ObjectInfo]:
        """Return name and time of creation."""
        told = yield from self._looked_up()
        return ObjectInfo(told["name"], datetime.fromtimestamp(told["created"], UTC))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name or self._object_id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # By name where there is one: the receiver may be in another world than its first user.
        return _restored, (type(self), self._name, None if self._name else self.object_id,
                           self._create)  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str | None]:
        return self._name, None if self._name else self._object_id

    def _engine(self) -> Client:
        return self._client or default_client(self._environment)

    def _id(self) -> Steps[str]:
        engine = self._engine()
        if self._object_id is None or (self._name and self._found_by is not engine):
            yield from self._looked_up()
        assert self._object_id is not None
        return self._object_id

    def _looked_up(self) -> Steps[dict[str, Any]]:
        engine = self._engine()
        told = yield from engine.ask(
            "object_open",
            kind=self._noun,
            name=self._name,
            object_id=ids.mint(self._prefix) if self._create else None,
            exist_ok=True,
        )
        self._object_id, self._found_by = told["object_id"], engine
        return told


class Creatable(SharedObject):
    """A handle of an object that may be made when it is used first."""

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        environment_name: str | None = None,
        create_if_missing: bool = False,
        client: Client | None = None,
    ) -> Self:
        """Return the handle of the object of that name; whether it exists shows when it is used.

        Args:
            name: Its name.
            environment_name: Another environment than the one that is set.
            create_if_missing: Make it on first use.
            client: The engine.
        """
        check_characters(cls.__name__, check_name(cls.__name__, name))
        return cls(name, create=create_if_missing, client=client, environment=environment_name)


def _restored(kind: type[O], name: str, object_id: str | None, create: bool) -> O:  # noqa: FBT001
    return kind(name, object_id=object_id, create=create)


class Ephemeral(Block[O]):
    """An object that lives while this is open, with `with` or `async with`."""

    def __init__(self, kind: type[O], client: Client | None, environment: str | None) -> None:
        self._kind = kind
        self._client = client
        self._environment = environment
        self._opened: O | None = None

    def _engine(self) -> Client:
        return self._client or default_client(self._environment)

    def _begin(self) -> Steps[O]:
        engine = self._engine()
        object_id = ids.mint(self._kind._prefix)  # noqa: SLF001
        yield from engine.ask(
            "object_open", kind=self._kind._noun, name="", object_id=object_id  # noqa: SLF001
        )  # fmt: skip
        engine.keep(object_id)
        self._opened = self._kind(
            object_id=object_id, client=self._client, environment=self._environment
        )
        return self._opened

    def _end(self, error: BaseException | None) -> Steps[None]:  # noqa: ARG002 - goes either way
        if self._opened is None:
            return
        engine, object_id = self._engine(), self._opened.object_id
        engine.unkeep(object_id)
        self._opened = None
        yield from engine.ask("object_close", object_id=object_id)


class Manager(Generic[O]):
    """All named objects of one kind: `Dict.objects` and its like."""

    def __init__(self, kind: type[O]) -> None:
        self._kind = kind

    @twin
    def list(
        self,
        *,
        max_objects: int | None = None,
        created_before: datetime | str | None = None,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Steps[Sequence[O]]:
        """Return handles of those that there are, the newest first.

        Args:
            max_objects: How many at most.
            created_before: Only older ones: a time, or one in ISO format.
            environment_name: Another environment than the one that is set.
            client: The engine.
        """
        engine = client or default_client(environment_name)
        told = yield from engine.ask("object_list", kind=self._kind._noun)  # noqa: SLF001
        before = _moment(created_before)
        found = [each for each in told["objects"] if before is None or each["created"] < before]
        return [
            self._kind(each["name"], client=client, environment=environment_name)
            for each in found[:max_objects]
        ]

    @twin
    def delete(
        self,
        name: str,
        *,
        allow_missing: bool = False,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Steps[None]:
        """Delete one with everything in it.

        Raises:
            NotFoundError: There is none of that name, unless `allow_missing`.
        """
        handle = self._kind(name, client=client, environment=environment_name)
        try:
            object_id = yield from handle._id()  # noqa: SLF001
        except errors.NotFoundError:
            if allow_missing:
                return
            raise
        yield from handle._engine().ask("object_delete", object_id=object_id)  # noqa: SLF001


class Creator(Manager[O]):
    """Those of a kind that begins empty."""

    @twin
    def create(
        self,
        name: str,
        *,
        allow_existing: bool = False,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Steps[None]:
        """Make an empty one.

        Raises:
            AlreadyExistsError: There is one of that name, unless `allow_existing`.
        """
        kind = self._kind
        check_characters(kind.__name__, check_name(kind.__name__, name))
        yield from (client or default_client(environment_name)).ask(
            "object_open",
            kind=kind._noun,  # noqa: SLF001
            name=name,
            object_id=ids.mint(kind._prefix),  # noqa: SLF001
            exist_ok=allow_existing,
        )


class managed:  # noqa: N801 - a descriptor
    """Gives a class its manager."""

    def __get__(self, instance: object, owner: type[O]) -> Creator[O]:
        return Creator(owner)


class Paged(Generic[T]):
    """Values that come in pages, for `for` and for `async for`."""

    def __init__(self, what: str, page: Callable[[], Steps[Sequence[T]]]) -> None:
        self._what = what
        self._page = page
        self._values: Iterator[T] = iter(())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        warn_in_event_loop(self._what)
        for value in self._values:
            return value
        self._values = iter(run(self._page()))
        return next(self._values)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        for value in self._values:
            return value
        self._values = iter(await run_async(self._page()))
        for value in self._values:
            return value
        raise StopAsyncIteration


def _moment(when: datetime | str | None) -> float | None:
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    return None if when is None else when.timestamp()
