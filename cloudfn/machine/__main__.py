"""Composition root of a machine of a cloud: `python -m cloudfn.machine`.

Exit status: 0 after leaving in order, 1 where something that it needs is not there, 2 where it is
not told who it is.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b

from cloudfn.agent.machine import Machine, this_machine
from cloudfn.agent.zygotes import MARKER, Zygotes
from cloudfn.clock import Clock, SystemClock
from cloudfn.control.invocation.front import Front
from cloudfn.daemon.lifecycle import Lock, end_leftovers, raise_descriptor_limit
from cloudfn.daemon.place import Place as EnginePlace
from cloudfn.errors import Error, InvalidError
from cloudfn.machine import engine as parts
from cloudfn.machine.config import MachineConfig, read_config
from cloudfn.machine.host import Host, Parts
from cloudfn.machine.metadata import Identity, Metadata, Notice, host_keys
from cloudfn.machine.openings import Openings
from cloudfn.machine.reserve import Reserve
from cloudfn.machine.sockets import Sockets
from cloudfn.providers.base import Cloud, Place
from cloudfn.providers.registry import open_cloud
from cloudfn.providers.runtime_folder import RuntimeFolder
from cloudfn.settings import Settings, container_environ, load, machine_environ

_log = logging.getLogger("cloudfn.machine")

#: MiB that are not for containers
_OURS = 512


def main(arguments: list[str]) -> int:
    """Run the machine until it is told to leave; return the exit status."""
    if arguments:
        sys.stderr.write("usage: python -m cloudfn.machine\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    faulthandler.enable()
    try:
        config = read_config(machine_environ())
    except InvalidError as error:
        _log.error("%s", error)
        return 2
    try:
        identity = Identity(config.machine_id, region=config.region or "")
        metadata: Metadata | None = None
        if not config.machine_id:
            metadata = Metadata(config.metadata)
            identity = replace(metadata.identity(), host_keys=host_keys())
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock(config.state_dir)
        lock.acquire()
        settings = replace(_settings(config), region=config.region or identity.region or None)
        cache = config.state_dir / "cache"
        place = Place(settings, identity.instance_id, cache, on_machine=True)
        cloud = open_cloud(config.provider, place)
    except Error as error:
        _log.error("%s", error)
        return 1
    notices = None if metadata is None else metadata.notice
    return run(Root(config, identity, cloud, SystemClock(), place, notices))


@dataclass(frozen=True, slots=True)
class Root:
    """What a machine is put together from."""

    config: MachineConfig
    identity: Identity
    cloud: Cloud
    clock: Clock
    #: from where the cloud is used
    place: Place
    #: what the metadata service says, asked in a thread; None: there is none
    notices: Callable[[], Notice] | None = None


def run(root: Root) -> int:
    """Run a machine, with its lock held, until it has left; return the exit status."""
    try:
        if root.notices is not None:
            config = root.config
            Reserve(
                root.notices, root.cloud.fleet, root.identity.instance_id, config.heard,
                root.clock, config.timing.notices,
            ).wait()  # fmt: skip
        asyncio.run(_run(root))
    except Error as error:
        _log.error("%s", error)
        return 1
    finally:
        root.cloud.close()
    return 0


async def _run(root: Root) -> None:
    loop = asyncio.get_running_loop()
    state_dir = root.config.state_dir
    marker = blake2b(os.fsencode(state_dir), digest_size=8).hexdigest()
    if ended := end_leftovers(marker):
        _log.warning("ended %d processes of an earlier agent", ended)
    environ = container_environ()
    zygotes = Zygotes(
        loop, {**environ, MARKER: marker}, raise_descriptor_limit(), state_dir / "zygote.log"
    )
    try:
        host = put_together(loop, root, marker, environ, zygotes)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, host.leave)
        await loop.run_in_executor(None, return_to_queue, root)
        host.start()
        watching = threading.Event()
        if root.notices is not None:
            watch_notices(loop, root, host, watching)
        await host.done
        watching.set()
        await loop.run_in_executor(None, host.heart.stop)
        host.close()
    finally:
        zygotes.close()


def put_together(
    loop: asyncio.AbstractEventLoop,
    root: Root,
    marker: str,
    environ: dict[str, str],
    zygotes: Zygotes,
) -> Host:
    """Return a machine that has not joined yet."""
    config, state_dir = root.config, root.config.state_dir
    settings = _settings(config)
    machine = spared(this_machine(settings.gpus))
    library = RuntimeFolder(state_dir / "runtime")
    place = EnginePlace(
        state_dir,
        str(state_dir / "machine.sock"),
        os.urandom(32),
        marker,
        environ,
        machine,
        library.path,
    )
    engine = parts.Engine(loop, settings, place, root.cloud, zygotes, root.clock)
    if engine.desk.had_cells:
        engine.cells.end_leftovers()
    front = partial(Front, root.cloud, root.place, root.clock)
    sockets = Sockets(loop, engine, place.key, front, settings.limits.map_window)
    sockets.serve(state_dir / "machine.sock")
    openings = Openings(root.cloud, state_dir / "bundles", config.runtimes)
    whole = Parts(engine, openings, sockets)
    return Host(loop, config, root.identity, machine, root.cloud, whole, root.clock)


def spared(machine: Machine) -> Machine:
    """Return what containers may use of a machine, whose agent and Docker live there as well."""
    return replace(machine, memory=max(machine.memory - _OURS, machine.memory // 2))


def _settings(config: MachineConfig) -> Settings:
    return replace(load(environment=config.environment), root=config.state_dir)


def return_to_queue(root: Root) -> None:
    """Return what an earlier agent of this machine held; blocks.

    Its row lives on in ours, so that no janitor would find it.
    """
    trace = root.config.state_dir / "holder"
    me = root.identity.instance_id
    if trace.exists() and trace.read_text() == me:
        ledger = root.cloud.ledger
        repairs = ledger.repair(lambda holder: holder != me, root.clock.wall())
        root.cloud.doorbells.ring(repairs.rings)
        _log.warning("%d inputs of an earlier agent run again", repairs.returned)
    trace.write_text(me)


def watch_notices(
    loop: asyncio.AbstractEventLoop, root: Root, host: Host, over: threading.Event
) -> None:
    """Ask the metadata service now and then, in a thread."""
    ask = root.notices
    assert ask is not None

    def watch() -> None:
        while not over.wait(root.config.timing.notices):
            try:
                notice = ask()
            except Error as error:
                _log.warning("%s", error)
            else:
                with suppress(RuntimeError):  # the loop is closed: this machine has left
                    loop.call_soon_threadsafe(host.noticed, notice)

    threading.Thread(target=watch, name="notices", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
