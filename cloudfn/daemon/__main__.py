"""Composition root of the daemon: `python -m cloudfn.daemon --env NAME`."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
from hashlib import blake2b

from cloudfn.agent.zygotes import MARKER, Zygotes
from cloudfn.clock import Clock, SystemClock
from cloudfn.daemon.lifecycle import Lock, end_leftovers, raise_descriptor_limit
from cloudfn.errors import AlreadyExistsError, Error
from cloudfn.sdk.starter import environment_key, prepare_state_dir
from cloudfn.settings import Settings, container_environ, load

_log = logging.getLogger("cloudfn.daemon")


def main(arguments: list[str], clock: Clock | None = None) -> int:
    """Run the daemon until it has nothing more to do; return the exit status.

    Args:
        arguments: Those of the command line.
        clock: The time; the machine's when omitted.
    """
    if len(arguments) != 2 or arguments[0] != "--env":
        sys.stderr.write("usage: python -m cloudfn.daemon --env NAME\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    faulthandler.enable()
    settings = load(environment=arguments[1])
    try:
        prepare_state_dir(settings)
        lock = Lock(settings.state_dir)
        lock.acquire()
    except AlreadyExistsError:
        return 0
    except Error as error:
        _log.error("%s", error)
        return 1
    try:
        asyncio.run(_run(settings, clock or SystemClock()))
    except Error as error:
        _log.error("%s", error)
        return 1
    finally:
        lock.release()
    return 0


async def _run(settings: Settings, clock: Clock) -> None:
    state_dir = settings.state_dir
    marker = blake2b(os.fsencode(state_dir), digest_size=8).hexdigest()
    ended = end_leftovers(marker)
    if ended:
        _log.warning("ended %d processes of an earlier daemon", ended)
    environ = {**container_environ(), MARKER: marker}
    zygotes = Zygotes(
        asyncio.get_running_loop(), environ, raise_descriptor_limit(), state_dir / "zygote.log"
    )
    # Whoever started us most likely runs functions under the same interpreter, at once.
    zygotes.prestart(sys.executable)
    try:
        await _serve(settings, marker, zygotes, clock)
    finally:
        zygotes.close()


async def _serve(settings: Settings, marker: str, zygotes: Zygotes, clock: Clock) -> None:
    # Imported here: the first zygote starts in the meantime.
    from cloudfn.agent.machine import this_machine
    from cloudfn.daemon.engine import Engine
    from cloudfn.daemon.lifecycle import listen
    from cloudfn.daemon.place import Place
    from cloudfn.daemon.server import Server
    from cloudfn.providers.local import open_provider
    from cloudfn.providers.local.images import LocalImages
    from cloudfn.providers.runtime_folder import RuntimeFolder

    loop = asyncio.get_running_loop()
    state_dir = settings.state_dir
    path = state_dir / "daemon.sock"
    key = environment_key(state_dir)
    environ = container_environ()
    folder = RuntimeFolder(state_dir / "runtime")
    machine = this_machine(settings.gpus)
    place = Place(state_dir, str(path), key, marker, environ, machine, folder.path)
    images = LocalImages(settings, {**environ, MARKER: marker}, folder.path, marker)
    provider = open_provider(settings, key, clock.wall(), images)
    engine = Engine(loop, settings, place, provider, zygotes, clock)
    server = Server(loop, engine, key)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.shut_down, "now")
    server.serve(listen(path), path)
    _log.info("serving %s", path)
    # What lives now lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    await server.done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
