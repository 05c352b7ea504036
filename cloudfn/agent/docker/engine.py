"""What the agent asks of a Docker engine. Everything here blocks, and is called in threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from cloudfn.agent.docker.order import INSTANCE_LABEL, DockerOrder
from cloudfn.errors import (
    ConflictError,
    ConnectionError,  # noqa: A004 - ours
    Error,
    ExecutionError,
    NotFoundError,
)
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.docker.labels import MARKER_LABEL

_LONGEST_OUTPUT = 2_000
#: seconds that a network may still be in use after its last container is removed
_LINGER = 2.0


class State(NamedTuple):
    """How a container is."""

    running: bool
    over_memory: bool
    exit_code: int
    #: why it could not be started
    error: str


class Engine(Protocol):
    """What is needed of Docker.

    Every method raises ConnectionError where no engine answers, NotFoundError where there is no
    such thing, and another Error where the engine cannot do it.
    """

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


class DockerContainers:
    """The containers of a Docker engine.

    Args:
        docker: The engine.
    """

    def __init__(self, docker: DockerEngine) -> None:
        self._docker = docker

    def create(self, order: DockerOrder) -> str:
        """See `Engine.create`."""
        with self._docker.asked() as api:
            made = api.create_container_from_config(order.request(), order.docker_name)
            return str(made["Id"])

    def start(self, docker_id: str) -> None:
        """See `Engine.start`."""
        with self._docker.asked() as api:
            api.start(docker_id)

    def state(self, docker_id: str) -> State:
        """See `Engine.state`."""
        with self._docker.asked() as api:
            state = api.inspect_container(docker_id)["State"]
        return State(
            running=bool(state.get("Running")),
            over_memory=bool(state.get("OOMKilled")),
            exit_code=int(state.get("ExitCode") or 0),
            error=str(state.get("Error") or ""),
        )

    def output(self, docker_id: str) -> str:
        """See `Engine.output`."""
        with self._docker.asked() as api:
            text: bytes = api.logs(docker_id, tail=20)
        return text.decode(errors="replace")[-_LONGEST_OUTPUT:].strip()

    def remove(self, docker_id: str) -> None:
        """See `Engine.remove`; a conflict is a removal that is under way."""
        with suppress(NotFoundError, ConflictError), self._docker.asked() as api:
            api.remove_container(docker_id, force=True, v=True)

    def containers(self, marker: str) -> list[tuple[str, str]]:
        """See `Engine.containers`."""
        with self._docker.asked() as api:
            found = api.containers(all=True, filters={"label": f"{MARKER_LABEL}={marker}"})
        return [(str(each["Id"]), str(each["Labels"].get(INSTANCE_LABEL))) for each in found]

    def ensure_network(self, name: str, bridge: str, marker: str) -> None:
        """See `Engine.ensure_network`."""
        with self._docker.asked() as api:
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
        from tenacity import Retrying, retry_if_not_exception_type, stop_after_delay, wait_fixed

        # What ties a container to it outlives the container by a moment.
        for attempt in Retrying(
            retry=retry_if_not_exception_type(ConnectionError),
            stop=stop_after_delay(_LINGER),
            wait=wait_fixed(0.1),
            reraise=True,
        ):
            with attempt, suppress(NotFoundError), self._docker.asked() as api:
                api.remove_network(name)

    def run_helper(self, image: str, command: list[str]) -> None:
        """See `Engine.run_helper`."""
        with self._docker.asked() as api:
            config = api.create_host_config(
                network_mode="host", cap_drop=["ALL"], cap_add=["NET_ADMIN"], read_only=True
            )
            helper = api.create_container(
                image, entrypoint=command[:1], command=command[1:], user="0:0", host_config=config
            )["Id"]
            try:
                api.start(helper)
                if api.wait(helper)["StatusCode"]:
                    raise ExecutionError(self.output(helper) or "its helper failed")
            finally:
                self.remove(helper)


def quietly(work: Callable[[], object]) -> None:
    """Clear up as far as the engine lets us; the next daemon does the rest."""
    with suppress(Error):
        work()
