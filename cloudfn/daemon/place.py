"""Where an engine is, on a laptop or on a cloud's machine, and what its agent is told of that."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cloudfn.agent.docker.cells import Cells, Site
from cloudfn.agent.docker.engine import DockerContainers
from cloudfn.agent.docker.networks import Networks
from cloudfn.agent.machine import Machine
from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.ports import AgentConfig
from cloudfn.agent.zygotes import Zygotes
from cloudfn.daemon.desk import CellDesk
from cloudfn.daemon.session import container_key
from cloudfn.model import ids
from cloudfn.providers.blobs import Blobs
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Paths and secrets of an engine."""

    state_dir: Path
    #: of containers that are processes
    socket: str
    key: bytes
    #: value that marks every process that belongs to this engine
    marker: str
    #: variables that containers get from this machine
    environ: dict[str, str]
    machine: Machine
    #: gives the runtime folder
    runtime_folder: Callable[[], Path]


def open_cells(
    loop: AbstractEventLoop,
    settings: Settings,
    place: Place,
    desk: CellDesk,
    complain: Callable[[PoolSpec, str], None],
) -> Cells:
    """Return what Docker containers come from.

    Args:
        loop: The engine's loop.
        settings: Of the environment.
        place: Where the engine is.
        desk: Furnishes cells.
        complain: Hears why no container of a pool can be started now.
    """
    docker = settings.docker
    engine = DockerContainers(DockerEngine(docker.environ))
    networks = Networks(engine, place.marker, allow_metadata=docker.allow_metadata)
    site = Site(settings.environment, place.marker, ids.mint("da"), place.machine)
    return Cells(loop, engine, desk, site, networks, complain)


def agent_config(
    settings: Settings,
    place: Place,
    zygotes: Zygotes,
    cells: Cells,
    desk: CellDesk,
    blobs: Blobs,
    supplies: Callable[[PoolSpec, str], dict[str, Any]],
) -> AgentConfig:
    """Return what an agent is told.

    Args:
        settings: Of the environment.
        place: Where the engine is.
        zygotes: What processes come from.
        cells: What Docker containers come from.
        desk: Furnishes cells.
        blobs: All payloads in files.
        supplies: Returns what a container of a pool gets beside its orders.
    """
    return AgentConfig(
        zygotes=zygotes,
        cells=cells,
        environ=place.environ,
        identity=partial(_identity, settings, place, desk, blobs),
        supplies=supplies,
        gpus=place.machine.gpus,
        one_at_a_time=settings.one_at_a_time,
        web_pending=settings.limits.web_pending,
        exit_grace=settings.exit_grace,
    )


def _identity(
    settings: Settings,
    place: Place,
    desk: CellDesk,
    blobs: Blobs,
    container_id: str,
    app_id: str,
) -> dict[str, str]:
    """Return the variables that say to a container which one it is, and where to ask."""
    places = desk.places(container_id) or {
        "CLOUDFN_CONTAINER_SOCKET": place.socket,
        "CLOUDFN_HOME": str(settings.root),
        "CLOUDFN_BLOBS_FAST": str(blobs.fast),
        "CLOUDFN_BLOBS_DURABLE": str(blobs.durable),
    }
    return {
        **places,
        "CLOUDFN_CONTAINER_ID": container_id,
        "CLOUDFN_CONTAINER_KEY": container_key(place.key, container_id).hex(),
        "CLOUDFN_CONTAINER_APP": app_id,
        "CLOUDFN_ENVIRONMENT": settings.environment,
        # Names that programs written for Modal look at.
        "MODAL_TASK_ID": container_id,
        "MODAL_IS_REMOTE": "1",
        "MODAL_ENVIRONMENT": settings.environment,
    }
