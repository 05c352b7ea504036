"""Furnishes the cells of Docker containers: folders, sockets, payloads, volumes of their own.

A container sees nothing else of this machine: no state directory, no key, no other one's payloads.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import socket
import stat
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cloudfn.agent.docker.cell import Furnishing
from cloudfn.agent.docker.order import AGENT_SOCKET, INSIDE, LIBRARY, SCRATCH, SOURCE, Bind
from cloudfn.agent.pool import PoolSpec
from cloudfn.daemon.lifecycle import listen
from cloudfn.daemon.workspaces import Workspaces
from cloudfn.providers.blobs import Blobs
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.providers.local.views import View
from cloudfn.worker.mounts import MountOrder, populate

DAEMON_SOCKET = "daemon.sock"
FAST, DURABLE = f"{INSIDE}/fast", f"{INSIDE}/durable"
CELL = f"{INSIDE}/cell"

_READABLE_FOLDER, _READABLE_FILE = 0o055, 0o044


def worker_ids() -> tuple[int, int]:
    """Return (uid, gid) that containers run as: ours, or nobody's where we are root."""
    return (os.getuid(), os.getgid()) if os.getuid() else (65_534, 65_534)


@dataclass(slots=True)
class _Furnished:
    view: View
    daemon: socket.socket


class CellDesk:
    """Furnishes cells. Single-threaded, but for what `Furnishing.prepare` does.

    Args:
        loop: The daemon's loop.
        state_dir: The environment's private directory.
        library: Gives the runtime folder.
        blobs: All payloads in files.
        workspaces: Working copies of volumes.
        owner: (uid, gid) of containers.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        state_dir: Path,
        library: Callable[[], Path],
        blobs: Blobs,
        workspaces: Workspaces,
        owner: tuple[int, int],
    ) -> None:
        self._loop = loop
        self._root = state_dir / "cells"
        self._library = library
        self._blobs = LocalBlobs(blobs.fast, blobs.durable)
        self._workspaces = workspaces
        self._owner = owner
        self._furnished: dict[str, _Furnished] = {}
        self._lock = threading.Lock()
        #: those that containers can read
        self._bundles: set[str] = set()
        #: takes a client that came through a container's own socket
        self.admit: Callable[[socket.socket, str], None] = lambda sock, _: sock.close()
        #: a daemon of this environment had Docker containers once; some may be left
        self.had_cells = self._root.exists()
        self._clear_all()

    def view(self, container_id: str | None) -> View | None:
        """Return what a container sees of the payloads; None: it is a process, and sees all."""
        found = self._furnished.get(container_id or "")
        return None if found is None else found.view

    def furnish(self, spec: PoolSpec, container_id: str) -> Furnishing:
        """See `agent.docker.cell.Desk`."""
        mounts = self._workspaces.prepare(
            container_id,
            spec.function.volumes,
            None if self._owner[0] == os.getuid() else self._owner,
        )
        folder = self._root / container_id
        folder.mkdir(parents=True, mode=0o755)
        folder.chmod(0o755)
        agent = listen(folder / AGENT_SOCKET, socket.SOCK_SEQPACKET, mode=0o666)
        daemon = listen(folder / DAEMON_SOCKET, mode=0o666)
        view = View(self._blobs, container_id, self._owner)
        self._furnished[container_id] = _Furnished(view, daemon)
        self._loop.add_reader(daemon, self._accept, daemon, container_id)

        def prepare() -> tuple[Bind, ...]:
            orders = mounts()
            for order in orders:
                furnish_copy(MountOrder.from_json(order), self._owner)
            return (
                Bind(str(folder), CELL),
                Bind(str(self._library()), LIBRARY),
                Bind(self._readable(spec.program.bundle), SOURCE),
                *self._attached(spec),
                *(Bind(*each) for each in view.folders(FAST, durable=False)),
                *(Bind(*each) for each in view.folders(DURABLE, durable=True)),
                *(Bind(each["folder"], each["path"], each["read_only"]) for each in orders),
            )

        uid, gid = self._owner
        return Furnishing(agent, folder / AGENT_SOCKET, f"{uid}:{gid}", view, prepare)

    def _attached(self, spec: PoolSpec) -> Iterator[Bind]:
        """Yield the local files that the function's image attaches at start."""
        image, bundles = spec.function.image, Path(spec.program.bundle).parent
        for each in image.attachments() if image is not None else ():
            folder = self._readable(str(bundles / each.context))
            yield Bind(str(Path(folder, each.path)), posixpath.normpath(each.remote_path))

    def _readable(self, bundle: str) -> str:
        """Return a bundle's folder, when containers can read it; above it, only we can."""
        with self._lock:
            if bundle not in self._bundles:
                for top, _, names in os.walk(bundle):
                    _allow(top, _READABLE_FOLDER)
                    for name in names:
                        _allow(os.path.join(top, name), _READABLE_FILE)
                self._bundles.add(bundle)
        return bundle

    def places(self, container_id: str) -> dict[str, str] | None:
        """Return the variables that tell a container where it finds us; None: it is a process."""
        if container_id not in self._furnished:
            return None
        return {
            "CLOUDFN_CONTAINER_SOCKET": f"{CELL}/{DAEMON_SOCKET}",
            "CLOUDFN_HOME": f"{SCRATCH}/.cloudfn",
            "CLOUDFN_BLOBS_FAST": FAST,
            "CLOUDFN_BLOBS_DURABLE": DURABLE,
        }

    def _accept(self, listener: socket.socket, container_id: str) -> None:
        with suppress(OSError):
            sock, _ = listener.accept()
            self.admit(sock, container_id)

    def clear(self, container_id: str) -> None:
        """See `agent.docker.cell.Desk`."""
        found = self._furnished.pop(container_id, None)
        if found is None:
            return
        self._loop.remove_reader(found.daemon)
        found.daemon.close()
        found.view.close()
        shutil.rmtree(self._root / container_id, ignore_errors=True)

    def close(self) -> None:
        """Clear everything; all containers are removed."""
        for container_id in list(self._furnished):
            self.clear(container_id)
        self._clear_all()

    def _clear_all(self) -> None:
        """Remove the folders of all cells; the folder above them says that there were some."""
        for folder in self._root.iterdir() if self._root.exists() else ():
            shutil.rmtree(folder, ignore_errors=True)


def furnish_copy(order: MountOrder, owner: tuple[int, int]) -> None:
    """Make a working copy, readable and, unless it is read-only, writable for its container."""
    populate(order, linked=order.read_only)
    if owner[0] == os.getuid():
        return
    for top, _, names in os.walk(order.folder):
        for path in (top, *(os.path.join(top, name) for name in names)):
            if not order.read_only:
                os.chown(path, *owner)
            else:
                _allow(path, _READABLE_FOLDER if path == top else _READABLE_FILE)


def _allow(path: str, bits: int) -> None:
    mode = os.lstat(path).st_mode
    if not stat.S_ISLNK(mode) and mode & bits != bits:
        os.chmod(path, stat.S_IMODE(mode) | bits)
