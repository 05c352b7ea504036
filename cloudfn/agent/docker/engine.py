"""The Docker engine, through its SDK. Everything here blocks, and is called in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol

from cloudfn.agent.docker.order import INSTANCE_LABEL, MARKER_LABEL, DockerOrder

#: seconds that an answer may take
_TIMEOUT = 30
_LONGEST_OUTPUT = 2_000


class Unreachable(Exception):  # noqa: N818 - what it says is that nobody answers
    """The engine does not answer: it is not there, or not now."""


class Refused(Exception):  # noqa: N818
    """The engine answers that it cannot do this."""

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        super().__init__(reason)
        #: there is no such thing
        self.missing = missing


class State(NamedTuple):
    """How a container is."""

    running: bool
    over_memory: bool
    exit_code: int
    #: why it could not be started
    error: str


class Engine(Protocol):
    """What is needed of Docker. Every method raises Unreachable or Refused."""

    def create(self, order: DockerOrder) -> str:
        """Create a container; return its id."""
        ...

    def start(self, docker_id: str) -> None:
        """Start a container."""
        ...

    def state(self, docker_id: str) -> State:
        """Return how a container is."""
        ...

    def output(self, docker_id: str) -> str:
        """Return the last that its first process printed."""
        ...

    def remove(self, docker_id: str) -> None:
        """Kill and remove a container. Idempotent."""
        ...

    def containers(self, marker: str) -> list[tuple[str, str]]:
        """Return (id, daemon) of the containers with a marker, also of those that do not run."""
        ...

    def ensure_network(self, name: str, bridge: str, marker: str) -> None:
        """Make the network of an environment, unless it is there."""
        ...

    def remove_network(self, name: str) -> None:
        """Remove a network that no container uses. Idempotent."""
        ...

    def run_helper(self, image: str, command: list[str]) -> None:
        """Run a command of ours in the machine's own network, allowed to set it up."""
        ...


class DockerEngine:
    """The engine at an address; connected when it is first asked.

    Args:
        address: `unix:///…`, or empty for the usual place.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._client: Any = None

    def create(self, order: DockerOrder) -> str:
        """See `Engine.create`."""
        with self._asked() as api:
            made = api.create_container_from_config(order.request(), order.docker_name)
            return str(made["Id"])

    def start(self, docker_id: str) -> None:
        """See `Engine.start`."""
        with self._asked() as api:
            api.start(docker_id)

    def state(self, docker_id: str) -> State:
        """See `Engine.state`."""
        with self._asked() as api:
            state = api.inspect_container(docker_id)["State"]
        return State(
            running=bool(state.get("Running")),
            over_memory=bool(state.get("OOMKilled")),
            exit_code=int(state.get("ExitCode") or 0),
            error=str(state.get("Error") or ""),
        )

    def output(self, docker_id: str) -> str:
        """See `Engine.output`."""
        with self._asked() as api:
            text: bytes = api.logs(docker_id, tail=20)
        return text.decode(errors="replace")[-_LONGEST_OUTPUT:].strip()

    def remove(self, docker_id: str) -> None:
        """See `Engine.remove`."""
        with self._unless_missing() as api:
            api.remove_container(docker_id, force=True, v=True)

    def containers(self, marker: str) -> list[tuple[str, str]]:
        """See `Engine.containers`."""
        with self._asked() as api:
            found = api.containers(all=True, filters={"label": f"{MARKER_LABEL}={marker}"})
        return [(str(each["Id"]), str(each["Labels"].get(INSTANCE_LABEL))) for each in found]

    def ensure_network(self, name: str, bridge: str, marker: str) -> None:
        """See `Engine.ensure_network`."""
        with self._asked() as api:
            if api.networks(names=[name]):
                return
            api.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                labels={MARKER_LABEL: marker},
                options={
                    "com.docker.network.bridge.name": bridge,
                    "com.docker.network.bridge.enable_icc": "false",
                },
            )

    def remove_network(self, name: str) -> None:
        """See `Engine.remove_network`."""
        with self._unless_missing() as api:
            api.remove_network(name)

    def run_helper(self, image: str, command: list[str]) -> None:
        """See `Engine.run_helper`."""
        with self._asked() as api:
            config = api.create_host_config(
                network_mode="host", cap_drop=["ALL"], cap_add=["NET_ADMIN"], read_only=True
            )
            helper = api.create_container(
                image, entrypoint=command[:1], command=command[1:], user="0:0", host_config=config
            )["Id"]
            try:
                api.start(helper)
                code = api.wait(helper)["StatusCode"]
                if code:
                    raise Refused(api.logs(helper, tail=5).decode(errors="replace").strip())
            finally:
                self.remove(helper)

    @contextmanager
    def _asked(self) -> Iterator[Any]:
        """The client; what it raises becomes Unreachable or Refused."""
        try:
            from docker import errors
            from requests.exceptions import RequestException
        except ImportError:
            raise Refused(
                "the Docker SDK for Python is not installed: pip install 'cloudfn[docker]'"
            ) from None
        try:
            yield self._connected()
        except errors.NotFound as error:
            raise Refused(str(error.explanation or error), missing=True) from None
        except errors.APIError as error:
            raise Refused(str(error.explanation or error)) from None
        except (errors.DockerException, RequestException, OSError) as error:
            where = self._address or "its usual address"
            raise Unreachable(f"Docker does not answer at {where}") from error

    @contextmanager
    def _unless_missing(self) -> Iterator[Any]:
        with suppress_missing(), self._asked() as api:
            yield api

    def _connected(self) -> Any:
        from docker import APIClient

        with self._lock:
            if self._client is None:
                where = {"base_url": self._address} if self._address else {}
                self._client = APIClient(version="auto", timeout=_TIMEOUT, **where)
            return self._client


@contextmanager
def suppress_missing() -> Iterator[None]:
    """Take it for done where what is to go is gone, or goes already."""
    try:
        yield
    except Refused as refused:
        if not refused.missing and "already in progress" not in str(refused):
            raise


def quietly(work: Callable[[], object]) -> None:
    """Clear up as far as the engine lets us; the next daemon does the rest."""
    with suppress(Unreachable, Refused):
        work()
