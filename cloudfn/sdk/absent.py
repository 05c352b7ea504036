"""Names of Modal's that have no place here: importing one is harmless, using it says what to do."""

from __future__ import annotations

from typing import Any, NoReturn

from cloudfn.errors import UnimplementedError

#: name → what to use instead
INSTEAD = {
    "Client": "There are no credentials: leave `client` away, and name environments instead.",
    "CloudBucketMount": "Mount the bucket on this machine, or read it with its own client.",
    "NetworkFileSystem": "Use cloudfn.Volume, or a directory: containers see this machine's files.",
    "Proxy": "Containers use this machine's network; set HTTPS_PROXY with `env=` if need be.",
    "Sandbox": "Use a Function with single_use_containers=True, which starts a program of its own.",
    "SchedulerPlacement": "There is one machine: `region=` and `cloud=` are accepted and ignored.",
    "Tunnel": "Containers share this machine's network: bind a port and connect to it.",
    "Workspace": "There are no accounts: use environments, `cloudfn environment list`.",
    "billing": "Nothing is billed here; `cloudfn function stats APP/FN` shows what runs.",
    "clustered": "Use `.map` or `.spawn` on a Function; its containers can reach one another here.",
    "forward": "Containers share this machine's network: bind a port and connect to it.",
    "sessioned": "Use a Cls with a parameter: each parameter set has containers of its own.",
    "web_endpoint": "Its name is `fastapi_endpoint` now.",
}


class Absent:
    """Stands for such a name. May stand in annotations; any other use is an UnimplementedError."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Raise UnimplementedError."""
        raise absence(self._name)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # inspection, as by `hasattr` or `help`
            raise AttributeError(name)
        raise absence(self._name)

    def __or__(self, other: Any) -> Any:
        return Any

    __ror__ = __or__

    def __repr__(self) -> str:
        return f"<cloudfn.{self._name}: not here>"


def absence(name: str) -> UnimplementedError:
    """Return the error of a name's use."""
    return UnimplementedError(f"`cloudfn.{name}` does not exist here.", hint=INSTEAD[name])


def stand_in(name: str) -> Absent:
    """Return what stands for a name; raises AttributeError for names that Modal has not either."""
    if name not in INSTEAD:
        raise AttributeError(f"module 'cloudfn' has no attribute {name!r}")
    return Absent(name)


def no_dashboard(command: str) -> UnimplementedError:
    """Return the error of asking for a dashboard's address; `command` shows the same."""
    return UnimplementedError("There is no dashboard in this version.", hint=f"See `{command}`.")
