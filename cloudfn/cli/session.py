"""What the commands need of the world outside: the engine's client, the clock, other programs.

`Host` is the seam: `system_host()` is the real one, tests hand in their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import typer

from cloudfn import errors
from cloudfn import settings as settings_module
from cloudfn.clock import Clock, SystemClock
from cloudfn.settings import Settings

if TYPE_CHECKING:
    from cloudfn.providers.account import Account
    from cloudfn.providers.base import Cloud
    from cloudfn.sdk.client import Client as SdkClient

Reply = dict[str, Any]


class Client(Protocol):
    """What the commands ask of the engine; see the table of operations in docs/protocol.md."""

    def request(self, op: str, **fields: Any) -> Reply:
        """Return the reply to one request.

        Raises:
            Error: The engine refused, or cannot be reached.
        """
        ...

    def subscribe(self, op: str, **fields: Any) -> Iterator[Reply]:
        """Return the messages that follow a `logs` or `events` request, up to the last one."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """The world outside of the commands.

    Attributes:
        connect: Opens a client; with `start` it starts the daemon where none runs, otherwise a
            daemon that does not run is a ConnectionError.
        prestart: Begins to start the daemon, without waiting for it.
        open_program: Returns the client that a user's program in this process is going to use.
        execute: Becomes another program (arguments, environment, working directory).
        get_result: Waits for the result of a call's input (call id, index, seconds or None);
            raises what the function raised, or the builtin TimeoutError.
        load_settings: Reads the settings for an environment's name, or for the one that is set.
        build_environ: Says what the environment knows of package indexes, for builds of images.
        open_cloud: Opens the cloud of the settings, for a holder that is named; raises InvalidError
            where the environment is this machine's.
        open_account: Returns what there is to be asked about at the provider of the settings; None
            where it has no accounts.
        home: Where the user's configuration lives.
    """

    connect: Callable[[Settings, bool], Client]
    prestart: Callable[[Settings], None]
    open_program: Callable[[Settings], SdkClient]
    execute: Callable[[Sequence[str], Mapping[str, str], str], None]
    get_result: Callable[[Client, str, int, float | None], Any]
    load_settings: Callable[[str | None], Settings]
    clock: Clock = field(default_factory=SystemClock)
    build_environ: Callable[[], dict[str, str]] = settings_module.build_environ
    open_cloud: Callable[[Settings, str], Cloud] = field(default_factory=lambda: _open_cloud)
    open_account: Callable[[Settings], Account | None] = field(
        default_factory=lambda: _open_account
    )
    home: Path = field(default_factory=Path.home)

    def shows_tracebacks(self) -> bool:
        """Whether the user wants to see everything, cloudfn's own frames too."""
        try:
            return self.load_settings("main").full_traceback
        except errors.Error:
            return False


@dataclass(slots=True)
class Session:
    """One command's way to the engine of one environment."""

    host: Host
    environment: str | None = None
    #: where functions run, and in which region of it; None: as the settings say
    provider: str | None = None
    region: str | None = None
    _client: Client | None = None

    @property
    def settings(self) -> Settings:
        """The settings of the chosen environment and provider."""
        known = self.host.load_settings(self.environment)
        return known.on(self.provider, self.region)

    @property
    def client(self) -> Client:
        """The client, connected on first use; starts the daemon where none runs."""
        if self._client is None:
            self._client = self.host.connect(self.settings, True)
        return self._client

    def running_client(self) -> Client:
        """Return a client of the daemon that runs already.

        Raises:
            ConnectionError: None does.
        """
        if self._client is None:
            self._client = self.host.connect(self.settings, False)
        return self._client

    def program_client(self) -> SdkClient:
        """Return the client as the SDK needs it."""
        return self.host.open_program(self.settings)

    def request(self, op: str, **fields: Any) -> Reply:
        """Return the engine's reply to one request."""
        return self.client.request(op, **fields)

    def close(self) -> None:
        """Hang up, where there is a connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def session_of(context: typer.Context, environment: str | None) -> Session:
    """Return the command's session; `environment` stood after the command and wins."""
    session = context.find_object(Session)
    assert session is not None, "main.py puts it there"
    if environment is not None:
        session.environment = environment
        _ = session.settings  # a name that makes no sense is refused before anything happens
    return session


def system_host() -> Host:
    """Return the real world."""
    return Host(
        connect=_connect,
        prestart=_prestart,
        open_program=_open_program,
        execute=_execute,
        get_result=_get_result,
        load_settings=lambda environment: settings_module.load(environment=environment),
    )


def _connect(settings: Settings, start: bool) -> Client:
    if settings.provider != settings_module.LOCAL:
        return cast("Client", _open_program(settings))
    # A daemon that is started inherits it.
    settings_module.choose_provider(settings.provider, settings.region)
    from cloudfn.sdk import connection

    return connection.connect(settings, start=start)


def _prestart(settings: Settings) -> None:
    if settings.provider != settings_module.LOCAL:
        return
    settings_module.choose_provider(settings.provider, settings.region)
    from cloudfn.sdk import connection

    connection.prestart(settings)


def _open_program(settings: Settings) -> SdkClient:
    from cloudfn.sdk.client import default_client

    # What the program looks up by name is looked up in the same place.
    settings_module.choose_environment(settings.environment)
    settings_module.choose_provider(settings.provider, settings.region)
    return default_client(settings.environment)


def _open_cloud(settings: Settings, holder: str) -> Cloud:
    from cloudfn.providers.base import Place
    from cloudfn.providers.registry import open_cloud

    if settings.provider == settings_module.LOCAL:
        raise errors.InvalidError(
            f"The environment {settings.environment!r} is on this machine alone.",
            hint="Say --provider aws, or set CLOUDFN_PROVIDER. `cloudfn daemon status` tells of"
            " this machine.",
        )
    folder = settings.state_dir / settings.provider
    return open_cloud(settings.provider, Place(settings, holder, folder))


def _open_account(settings: Settings) -> Account | None:
    from cloudfn.providers.registry import open_account

    return open_account(settings)


def _execute(command: Sequence[str], environ: Mapping[str, str], cwd: str) -> None:
    import os
    import sys

    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(cwd)
    os.execvpe(command[0], list(command), dict(environ))


def _get_result(client: Any, call: str, index: int, timeout: float | None) -> Any:
    from cloudfn.sdk.function_call import FunctionCall

    return FunctionCall.from_id(call, client=client).get(timeout, index=index)
