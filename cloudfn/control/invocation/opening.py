"""Opens a cloud's client, as settings say which; the entry point of the group cloudfn.clients."""

from __future__ import annotations

import atexit
import os
import shutil
from contextlib import suppress
from pathlib import Path

from cloudfn.control.invocation.client import CloudClient
from cloudfn.control.invocation.front import Front
from cloudfn.model import ids
from cloudfn.providers.base import Place
from cloudfn.providers.registry import open_cloud
from cloudfn.settings import Settings

#: folders of payloads are named after the process that has them
_PAYLOADS = "payloads"


def open_client(settings: Settings) -> CloudClient:
    """Return a client of the environment in the cloud that the settings name.

    Nothing is asked of the network before the client is used. It is closed when the process ends.

    Raises:
        InvalidError: There is no such provider, or it lacks something that it needs.
    """
    folder = settings.state_dir / settings.provider
    place = Place(settings, ids.mint("cl"), folder)
    cloud = open_cloud(settings.provider, place)
    payloads = _folder_of_payloads(folder)
    front = Front(cloud, place)
    client = CloudClient(front, _name(), payloads, settings.limits.map_window)
    atexit.register(client.close)
    return client


def _folder_of_payloads(folder: Path) -> Path:
    """Make the folder of this process, and remove those of processes that died."""
    top = folder / _PAYLOADS
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in top.iterdir():
        pid = each.name.partition("-")[0]
        if pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(each, ignore_errors=True)
    own = top / f"{os.getpid()}-{os.urandom(4).hex()}"
    own.mkdir(mode=0o700)
    return own


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
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
