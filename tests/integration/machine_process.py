"""A machine as a process of its own, whose cloud is the memory of the test that started it.

Run as a program with the address of the test and who the machine is; imported for the other end.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.managers import BaseManager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cloudfn.clock import SystemClock
from cloudfn.machine.__main__ import Root, run
from cloudfn.machine.config import MachineConfig
from cloudfn.machine.metadata import Identity
from cloudfn.providers.base import Cloud, Place
from cloudfn.settings import load

ForkingPickler.register(MappingProxyType, lambda proxy: (dict, (dict(proxy),)))
#: ports that a machine asks
PORTS = (
    *("ledger", "doorbells", "wakeups", "depot", "machines", "presence", "fleet", "leadership"),
    *("catalog", "logs", "objects", "streams", "secrets", "volumes", "images"),
)


class _Remote:
    """A port that lies in another process."""

    def __init__(self, desk: Any, holder: str, port: str) -> None:
        self._ask = partial(desk.ask, holder, port)

    def __getattr__(self, name: str) -> Any:
        if name == "repair":  # a function does not travel
            return lambda _alive, now: self._ask(name, (now,), {})
        return lambda *args, **kwargs: self._ask(name, args, kwargs)


class Desk:
    """Answers machines in other processes.

    Args:
        cloud: Gives the cloud as a holder sees it.
    """

    def __init__(self, cloud: Any) -> None:
        self._open = cloud
        self._clouds: dict[str, Cloud] = {}

    def ask(self, holder: str, port: str, method: str, args: Any, kwargs: Any) -> Any:
        """Call a method of a port."""
        cloud = self._clouds.setdefault(holder, self._open(holder))
        if method == "repair":
            return cloud.ledger.repair(lambda each: each != holder, *args)
        return getattr(getattr(cloud, port), method)(*args, **kwargs)


class _Manager(BaseManager):
    pass


class _FarManager(BaseManager):
    pass


_FarManager.register("desk")


@contextmanager
def served(world: Any, folder: Path) -> Iterator[str]:
    """Answer processes at the address that this yields."""
    desk = Desk(world.cloud)
    _Manager.register("desk", callable=lambda: desk, exposed=("ask",))
    address = str(folder / "world.sock")
    server = _Manager(address=address, authkey=b"test").get_server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.stop_event = threading.Event()
        server.listener.close()


def start(address: str, machine_id: str, state: Path) -> "subprocess.Popen[bytes]":
    """Start a machine."""
    command = [sys.executable, "-m", __name__, address, machine_id, str(state)]
    with (state.parent / f"{machine_id}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=log)


def main(address: str, machine_id: str, state: str) -> int:
    """Be a machine."""
    from tests.integration.machine_world import TIMING

    manager = _FarManager(address=address, authkey=b"test")
    manager.connect()
    desk = manager.desk()  # type: ignore[attr-defined]
    nothing: Any = None
    ports: dict[str, Any] = {port: _Remote(desk, machine_id, port) for port in PORTS}
    cloud = Cloud(
        name="far",
        schedules=nothing,
        dicts=nothing,
        queues=nothing,
        reach=None,
        key=lambda: bytes(32),
        close=lambda: None,
        **ports,
    )
    config = MachineConfig(
        "main",
        "small",
        state_dir=Path(state),
        heard=Path(state) / "heard",
        machine_id=machine_id,
        runtimes=("process",),
        timing=replace(TIMING, lease=5.0),
    )
    cache = Path(state) / "cache"
    place = Place(load({}, environment="main"), machine_id, cache, on_machine=True)
    return run(Root(config, Identity(machine_id), cloud, SystemClock(), place))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
