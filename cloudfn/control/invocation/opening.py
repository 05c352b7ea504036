"""Opens a cloud's client, as settings say which; the entry point of the group cloudfn.clients."""

from __future__ import annotations

import atexit
import os
import shutil
from contextlib import suppress
from pathlib import Path

from cloudfn.clock import SystemClock
from cloudfn.control.invocation.client import CloudClient
from cloudfn.control.invocation.front import Front
from cloudfn.model import ids
from cloudfn.providers.base import Place
from cloudfn.providers.registry import open_cloud
from cloudfn.sdk.starter import prepare_state_dir
from cloudfn.settings import Settings

#: seconds for which sources are kept here after they were stored
_KEPT = 30 * 86_400.0


def open_client(settings: Settings) -> CloudClient:
    """Return a client of the environment in the cloud that the settings name.

    It is closed when the process ends.

    Raises:
        InvalidError: There is no such provider, or it lacks something that it needs.
        PermissionDeniedError: Other users can reach the environment's directory on this machine.
    """
    prepare_state_dir(settings)
    folder = settings.state_dir / settings.provider
    place = Place(settings, ids.mint("cl"), folder)
    cloud = open_cloud(settings.provider, place)
    front = Front(cloud, place)
    payloads = own_folder(folder / "payloads")
    prune(front.bundles, SystemClock().wall())
    client = CloudClient(front, _name(), payloads, settings.limits.map_window)
    atexit.register(client.close)
    return client


def own_folder(top: Path) -> Path:
    """Make a folder of this process alone, and remove those of processes that died.

    Args:
        top: Where folders of processes are; made when absent.
    """
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in top.iterdir():
        pid = each.name.partition("-")[0]
        if pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(each, ignore_errors=True)
    own = top / f"{os.getpid()}-{os.urandom(4).hex()}"
    own.mkdir(mode=0o700)
    return own


def prune(bundles: Path, now: float) -> None:
    """Remove sources that were stored long ago: the depot has what is deployed.

    Args:
        bundles: The folder of all of them.
        now: Seconds since the epoch.
    """
    for each in bundles.iterdir() if bundles.exists() else ():
        with suppress(FileNotFoundError):  # another process is faster
            if each.stat().st_mtime < now - _KEPT:
                shutil.rmtree(each, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def _name() -> str:
    """Return who we are, for people."""
    import getpass
    import socket

    user = ""
    with suppress(Exception):  # there are users without a name
        user = getpass.getuser()
    return f"{user or os.getuid()}@{socket.gethostname()} (pid {os.getpid()})"
