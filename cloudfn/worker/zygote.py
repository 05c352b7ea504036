"""The zygote: a bare interpreter that has imported us and no user code, and forks templates."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

from cloudfn.clock import Clock
from cloudfn.worker.control import Control, Gone, Order
from cloudfn.worker.loader import OUR_ROOT
from cloudfn.worker.process import (
    MARKER,
    adopt_orphans,
    children_of,
    kill_children,
    kill_marked,
    kill_tree,
    set_name,
)

# What templates and containers need sooner or later; imported once, for all of them.
_WARM = (
    "cloudpickle",
    "cloudfn",
    "cloudfn.wire.codec",
    "cloudfn.wire.culprits",
    "cloudfn.wire.exceptions",
    "faulthandler",
    "fcntl",
    "linecache",
    "random",
    "resource",
    "threading",
    "traceback",
)


class Birth(NamedTuple):
    """What a process that the zygote forked needs to know to be a template.

    Attributes:
        program: The `template` message.
        control: Its control socket.
        output: Where output goes during the import.
        parent: The zygote.
        path: The interpreter's own `sys.path`.
    """

    program: dict[str, Any]
    control: int
    output: int
    parent: int
    path: list[str]


class Zygote:
    """Forks templates as told, says when they ended, and clears up when its agent is gone.

    Args:
        control: The control socket.
        marker: The value that everything started from here carries in its environment.
        clock: The time.
    """

    def __init__(self, control: Control, marker: str | None, clock: Clock) -> None:
        self._control = control
        self._marker = marker
        self._clock = clock
        self._path = list(sys.path)
        self._templates: dict[int, str] = {}

    def serve(self) -> Birth | None:
        """Do what is ordered. Returns None when the agent is gone, and in a template its birth."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._control.watch_children()
        adopt_orphans()
        set_name("cf-zygote")
        _warm_up()
        while True:
            try:
                order = self._control.wait()
            except Gone:
                self._clear_up()
                return None
            if order is None:
                self._reap()
            elif birth := self._obey(order):
                return birth

    def _obey(self, order: Order) -> Birth | None:
        if order.fields.get("op") != "template" or len(order.descriptors) != 2:
            order.close()
            return None
        name = str(order.fields.get("template"))
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            order.close()
            self._control.tell(
                {"event": "exited", "template": name, "pid": 0, "status": -1, "why": str(error)}
            )
            return None
        if pid == 0:
            self._control.release()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            control, output = order.descriptors
            return Birth(order.fields, control, output, zygote, self._path)
        order.close()
        self._templates[pid] = name
        self._control.tell({"event": "template", "template": name, "pid": pid})
        return None

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._tell_end(*ended)
        # A template adopts what its containers leave; what we adopt, a dead template left.
        for pid in children_of(os.getpid()):
            if pid not in self._templates:
                kill_tree(pid)

    def _tell_end(self, pid: int, status: int) -> None:
        name = self._templates.pop(pid, None)
        if name is not None:
            self._control.tell({"event": "exited", "template": name, "pid": pid, "status": status})

    def _clear_up(self) -> None:
        kill_children(clock=self._clock)
        if self._marker:
            kill_marked(MARKER, self._marker, clock=self._clock, spare={os.getpid()})


def connected(path: str) -> int:
    """Return a descriptor of the control socket that an agent listens for at a path.

    What this process has in its environment is its image's: what user code starts finds us too.
    """
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.connect(path)
    paths = [OUR_ROOT, os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return control.detach()


def _warm_up() -> None:
    for name in _WARM:
        with suppress(Exception):  # who needs it will see why it fails
            module = import_module(name)
            if name == "cloudfn":
                getattr(module, "App", None)  # may be imported at first use
