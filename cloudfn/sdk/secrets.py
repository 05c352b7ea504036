"""The Secret: variables that containers get, and that are shown nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudfn import errors
from cloudfn.model import ids
from cloudfn.model.names import check_characters, check_name
from cloudfn.model.secret import SecretRef
from cloudfn.sdk.client import Client, default_client
from cloudfn.sdk.context import is_local
from cloudfn.sdk.objects import Manager, SharedObject
from cloudfn.sdk.twins import Steps, twin


class Secrets(Manager["Secret"]):
    """All secrets that have a name: `Secret.objects`."""

    @twin
    def create(
        self,
        name: str,
        env_dict: Mapping[str, str | None],
        *,
        allow_existing: bool = False,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Steps[None]:
        """Keep variables under a name.

        Args:
            name: The name.
            env_dict: The variables; those of None are left out.
            allow_existing: Leave one of that name alone, instead of raising.
            environment_name: Another environment than the one that is set.
            client: The engine.

        Raises:
            AlreadyExistsError: There is one of that name.
        """
        check_characters("Secret", check_name("Secret", name))
        yield from (client or default_client(environment_name)).ask(
            "secret_create",
            name=name,
            object_id=ids.mint("st"),
            values=_variables(env_dict),
            mode="keep" if allow_existing else "new",
        )


class _managed:  # noqa: N801 - a descriptor
    def __get__(self, instance: object, owner: type[Secret]) -> Secrets:
        return Secrets(owner)


class Secret(SharedObject):
    """Variables for containers: of a name that is looked up, or given here.

    They travel to the engine over its authenticated socket, lie there encrypted, and reach the
    containers of the functions that name them, when they start.
    """

    _noun = "secret"
    _prefix = "st"
    objects = _managed()

    def __init__(
        self,
        name: str = "",
        *,
        values: Mapping[str, str] | None = None,
        required_keys: Sequence[str] = (),
        **rest: Any,
    ) -> None:
        super().__init__(name, **rest)
        self._values = values
        self._required = tuple(required_keys)

    @classmethod
    def from_dict(cls, env_dict: Mapping[str, str | None] | None = None) -> Secret:
        """Return a secret of these variables; those of None are left out.

        Raises:
            InvalidError: A name or a value is not text.
        """
        return cls(values=_variables(env_dict or {}))

    @classmethod
    def from_local_environ(cls, env_keys: Sequence[str]) -> Secret:
        """Return a secret of variables of this process.

        Raises:
            InvalidError: One is not set.
        """
        if not is_local():
            return cls(values={})  # the engine has had it since the app was declared
        from cloudfn.settings import variables

        return cls(values=variables(env_keys))

    @classmethod
    def from_dotenv(cls, path: Any = None, *, filename: str = ".env") -> Secret:
        """Return a secret of the variables in a file.

        Args:
            path: The file, or a folder from which upward one of `filename` is looked for; the
                working directory when omitted.
            filename: Its name.

        Raises:
            NotFoundError: There is none.
            InvalidError: A line of it makes no sense.
        """
        if not is_local():
            return cls(values={})
        from cloudfn.sdk import dotenv

        start = Path.cwd() if path is None else Path(path).absolute()
        file = start if start.is_file() else dotenv.find(start, filename)
        if file is None:
            raise errors.NotFoundError(
                f"There is no file {filename} in {start} or above it.",
                hint="Name the directory that it is in, or the file itself.",
            )
        return cls(values=dotenv.parse(file.read_text(encoding="utf-8"), str(file)))

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        environment_name: str | None = None,
        required_keys: Sequence[str] = (),
        client: Client | None = None,
    ) -> Secret:
        """Return the secret of that name; what it holds is looked up when a container starts.

        Args:
            name: Its name.
            environment_name: Another environment than the one that is set.
            required_keys: Variables that it has to have, checked when the app is run or deployed.
            client: The engine.
        """
        check_characters("Secret", check_name("Secret", name))
        return cls(name, required_keys=required_keys, client=client, environment=environment_name)

    @twin
    def update(self, env_dict: Mapping[str, str | None]) -> Steps[None]:
        """Set variables of a secret with a name; containers that start afterwards get them.

        Args:
            env_dict: The variables; those of None are removed.
        """
        if not self._name:
            raise errors.InvalidError(
                "Only a secret with a name can be updated.",
                hint="Make it with `cloudfn secret create`, and get it with `Secret.from_name`.",
            )
        secret_id = yield from self._id()
        checked = _variables(env_dict)
        removed = dict.fromkeys(name for name, value in env_dict.items() if value is None)
        yield from self._engine().ask(
            "secret_update", object_id=secret_id, values={**checked, **removed}
        )

    def ref(self, engine: Client) -> Steps[SecretRef]:
        """Return how a function names it, having given it to the engine if need be."""
        if self._values is not None:
            told = yield from engine.ask("secret_store", values=dict(self._values))
            return SecretRef(object_id=told["object_id"])
        if self._name:
            return SecretRef(name=self._name, required_keys=self._required)
        return SecretRef(object_id=self.object_id)

    @property
    def build_ref(self) -> dict[str, Any] | None:
        """How a step of a build names it, as plain data; None for one without a name."""
        if self._values is not None or not self._name:
            return None
        return {"name": self._name, "required_keys": list(self._required)}

    def __repr__(self) -> str:
        if self._values is None:
            return super().__repr__()
        return f"<Secret of {', '.join(sorted(self._values)) or 'nothing'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._values is not None:
            raise errors.SerializationError(
                "A Secret of given variables cannot be pickled: they would be shown.",
                hint="Give it a name: `cloudfn secret create NAME`, and Secret.from_name(NAME).",
            )
        return Secret.from_name, (self._name,)

    def __eq__(self, other: object) -> bool:
        return self is other or (self._values is None and super().__eq__(other))

    def __hash__(self) -> int:
        return id(self) if self._values is not None else super().__hash__()


def _variables(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise errors.InvalidError(
            f"A Secret is made of a dict of names and texts, not of {type(given).__name__}."
        )
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str | None):
            kinds = f"{type(name).__name__} to {type(value).__name__}"
            raise errors.InvalidError(f"A Secret maps names to text, not {kinds} (at {name!r}).")
    return {name: value for name, value in given.items() if value is not None}
