"""Environments: named, separate worlds, each a directory with a daemon of its own."""

from __future__ import annotations

from typing import Any

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import AlreadyExistsError, ExecutionError, NotFoundError
from cloudfn.settings import Settings, load

_STOP_DEADLINE = 30.0
_POLL = 0.02


class EnvironmentObjects:
    """Lists, makes and deletes environments."""

    def list(self) -> list[Environment]:
        """Return those that there are on this machine, by name."""
        root = load().root
        folders = sorted(root.iterdir()) if root.is_dir() else []
        return [Environment(each.name) for each in folders if (each / "key").is_file()]

    def create(self, name: str, *, allow_existing: bool = False) -> Environment:
        """Make an environment; it would also come into being when it is first used.

        Raises:
            InvalidError: The name is not allowed.
            AlreadyExistsError: There is one of that name.
        """
        from cloudfn.sdk.starter import environment_key, prepare_state_dir

        settings = load(environment=name)
        if _exists(settings) and not allow_existing:
            raise AlreadyExistsError(
                f"The environment {name!r} exists already.",
                hint="Use another name, or allow_existing=True.",
            )
        prepare_state_dir(settings)
        environment_key(settings.state_dir)
        return Environment(name)

    def delete(self, name: str, *, allow_missing: bool = False, clock: Clock | None = None) -> None:
        """Delete an environment and everything in it: apps, calls and their results, logs.

        Raises:
            InvalidError: The name is not allowed.
            NotFoundError: There is none of that name.
            ExecutionError: Its daemon does not end.
        """
        import shutil

        settings = load(environment=name)
        if not _exists(settings):
            if allow_missing:
                return
            raise NotFoundError(
                f"There is no environment {name!r}.", hint="See `cloudfn environment list`."
            )
        _stop_daemon(settings, clock or SystemClock())
        shutil.rmtree(settings.state_dir)


class Environment:
    """A named, separate world: its apps, calls and settings are seen from nowhere else."""

    objects = EnvironmentObjects()

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        create_if_missing: bool = False,  # noqa: ARG003 - it is made when it is first used
        client: Any = None,  # noqa: ARG003 - Modal's signature
    ) -> Environment:
        """Return an environment; it comes into being when it is first used.

        Raises:
            InvalidError: The name is not allowed.
        """
        return cls(load(environment=name).environment)

    def __repr__(self) -> str:
        return f"<Environment {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Environment) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def _exists(settings: Settings) -> bool:
    return (settings.state_dir / "key").is_file()


def _stop_daemon(settings: Settings, clock: Clock) -> None:
    """Have the environment's daemon end; one is started where none runs, as it cleans up."""
    from cloudfn.sdk.connection import Connection

    daemon = Connection(settings)
    try:
        daemon.request("shutdown", mode="now")
    finally:
        daemon.close()
    deadline = clock.monotonic() + _STOP_DEADLINE
    while _runs(settings):
        if clock.monotonic() > deadline:
            raise ExecutionError(
                f"The daemon of {settings.environment} does not end.",
                hint="See `cloudfn daemon logs`.",
            )
        clock.sleep(_POLL)


def _runs(settings: Settings) -> bool:
    """Whether a daemon holds the environment: the lock tells, not a pid."""
    import fcntl

    with (settings.state_dir / "daemon.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
