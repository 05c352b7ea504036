"""A template: has imported one program, once, and starts its containers; forked where possible."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import warnings
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from cloudfn.clock import Clock
from cloudfn.worker import forksafety, fresh, loader
from cloudfn.worker.capture import Standard
from cloudfn.worker.control import Control, Gone, Order
from cloudfn.worker.orders import Channels, ContainerOrder, Launch, TemplateOrder
from cloudfn.worker.process import (
    MARKER,
    adopt_orphans,
    children_of,
    die_with,
    kill_children,
    kill_group,
    kill_tree,
    set_name,
    tag_of,
    variable_of,
)
from cloudfn.worker.zygote import Birth

#: where a container's channels lie, out of the way of user code that closes or counts descriptors
_HIGH = 700
_CONTAINER = "CLOUDFN_CONTAINER_ID"
_NOT_STARTED = 71
_LOOK_AGAIN = 0.02
_MOST_LOOKS = 10
_DESCRIPTORS = 5


class _Container(NamedTuple):
    container: str
    pid: int


class Template:
    """Starts containers as told, and says when they ended.

    Args:
        program: The `template` message.
        control: Its control socket.
        path: The interpreter's own `sys.path`.
        clock: The time.
    """

    def __init__(
        self, program: dict[str, Any], control: Control, path: list[str], clock: Clock
    ) -> None:
        self._program = program
        self._order = TemplateOrder.from_json(program)
        self._control = control
        self._path = path
        self._clock = clock
        self._forks = False
        self._containers: dict[int, _Container] = {}
        self._kept: frozenset[int] = frozenset()
        # Adopted processes of unknown origin, and how often that was asked; they go with the last
        # container.
        self._strangers: dict[int, int] = {}
        self._child_handler: Any = signal.SIG_DFL

    def prepare(self, standard: Standard) -> None:
        """Import the program and tell how that went; without `fork` the containers do it.

        Does not return when the import failed, or when it left behind what no fork carries over:
        this process then goes on as a fresh interpreter, so that neither threads nor a GPU's
        memory stay with a process that runs no inputs.
        """
        if not self._order.fork:
            self._tell_imported(fork_safe=False, why="fork=False", seconds=0.0)
            return
        before = forksafety.observe()
        start, me = self._clock.monotonic(), os.getpid()
        try:
            loader.import_program(self._order)
            standard.flush()
        except BaseException as error:
            if os.getpid() == me:
                self._fail(error, standard)
        if os.getpid() != me:  # a child that the program forked and that came back here
            os._exit(0)
        seconds = self._clock.monotonic() - start
        why = forksafety.objection(before, forksafety.observe_after_import())
        self._tell_imported(fork_safe=not why, why=why, seconds=seconds)
        if why:
            self._start_over()
        self._forks = True
        self._kept = frozenset(children_of(os.getpid()))
        self._child_handler = signal.getsignal(signal.SIGCHLD)
        gc.freeze()

    def serve(self) -> Launch | None:
        """Do what is ordered. Returns None when nobody orders, and in a container its launch."""
        # For containers: interrupted at their birth, they have to know what to do about it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._control.watch_children()
        while True:
            try:
                order = self._control.wait(_LOOK_AGAIN if self._is_unsure() else None)
            except Gone:
                self._clear_up()
                return None
            if order is None:
                self._reap()
            elif launch := self._obey(order):
                return launch

    def _tell_imported(self, *, fork_safe: bool, why: str, seconds: float) -> None:
        self._control.tell(
            {
                "event": "imported",
                "ok": True,
                "fork_safe": fork_safe,
                "why": why,
                "seconds": round(seconds, 6),
            }
        )

    def _fail(self, error: BaseException, standard: Standard) -> NoReturn:
        told = loader.failure(error, loader.context_of(self._order))
        standard.connect(None)
        standard.complain(told["text"])
        self._control.tell({"event": "imported", "ok": False, **told})
        for pid in children_of(os.getpid()):
            kill_tree(pid)
        os._exit(1)

    def _start_over(self) -> NoReturn:
        for pid in children_of(os.getpid()):
            kill_tree(pid)
        fresh.become(
            "--template",
            {"program": self._program, "control": self._control.descriptor, "path": self._path},
            path=self._path,
            env=_environ(self._order.env),
            keep=[self._control.descriptor],
        )

    def _obey(self, order: Order) -> Launch | None:
        if order.fields.get("op") == "signal":
            self._signal(str(order.fields.get("container")), int(order.fields.get("signal") or 0))
        if order.fields.get("op") != "container" or len(order.descriptors) != _DESCRIPTORS:
            order.close()
            return None
        container = ContainerOrder.from_json(order.fields)
        template = os.getpid()
        try:
            pid = _fork()
        except OSError as error:
            order.close()
            self._tell_end(container.container, 0, -1, 0, why=str(error))
            return None
        if pid == 0:
            try:
                return self._be_container(order, container, template)
            except BaseException:  # it must not go on as a second template
                sys.excepthook(*sys.exc_info())
                os._exit(_NOT_STARTED)
        order.close()
        with suppress(OSError):  # the child does it too; whoever comes first
            os.setpgid(pid, pid)
        self._containers[pid] = _Container(container.container, pid)
        self._control.tell({"event": "started", "container": container.container, "pid": pid})
        return None

    def _signal(self, name: str, number: int) -> None:
        """Send a container a signal, for an agent that does not see its process."""
        for pid, container in self._containers.items():
            if container.container == name:
                if number == signal.SIGKILL:
                    kill_group(pid)
                with suppress(OSError):
                    os.kill(pid, number)

    def _be_container(self, order: Order, container: ContainerOrder, template: int) -> Launch:
        os.setpgid(0, 0)
        die_with(template)
        set_name("cf-container")
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, container.nice)
        self._control.release()
        signal.signal(signal.SIGCHLD, self._child_handler)
        channels = _place(order.descriptors)
        env = {_CONTAINER: container.container, **container.env}
        if not self._forks:
            fresh.become(
                "--container",
                {"program": self._program, "container": order.fields, **channels._asdict()},
                path=self._path,
                env=_environ({**self._order.env, **env}),
                keep=channels,
            )
        os.environ.update(env)
        return Launch(self._order, container, channels, imported=True)

    def _reap(self) -> None:
        ended = False
        with suppress(ChildProcessError):
            while info := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                ended = True
                self._bury(info.si_pid)
        if ended or self._is_unsure():
            self._kill_leftovers()

    def _bury(self, pid: int) -> None:
        """Reap a child; a container's process group goes first, while its number is still taken."""
        container = self._containers.pop(pid, None)
        if container is not None:
            kill_group(pid)
        _, status, usage = os.wait4(pid, 0)
        if container is not None:
            self._kill_leftovers()
            self._tell_end(container.container, pid, status, usage.ru_maxrss)

    def _kill_leftovers(self) -> None:
        """Kill what containers that ended left: processes in sessions of their own, daemons."""
        alive = {each.container for each in self._containers.values()}
        strangers: dict[int, int] = {}
        for pid in children_of(os.getpid()):
            if pid in self._containers or pid in self._kept:
                continue
            owner = tag_of(pid) or variable_of(pid, _CONTAINER)
            if owner is None and alive:
                strangers[pid] = self._strangers.get(pid, 0) + 1
            elif owner not in alive:
                kill_tree(pid)
        self._strangers = strangers

    def _is_unsure(self) -> bool:
        """Whether to look again: in the midst of an `exec`, a process does not tell whose it is."""
        return any(looks < _MOST_LOOKS for looks in self._strangers.values())

    def _tell_end(
        self, container: str, pid: int, status: int, max_rss: int, why: str | None = None
    ) -> None:
        event = {
            "event": "exited",
            "container": container,
            "pid": pid,
            "status": status,
            "max_rss": max_rss,
        }
        self._control.tell(event if why is None else {**event, "why": why})

    def _clear_up(self) -> None:
        """Kill all descendants; those that cannot be killed at once are the zygote's business."""
        kill_children(clock=self._clock)


def born(birth: Birth, clock: Clock, standard: Standard) -> Template:
    """Turn the process that the zygote just forked into a template."""
    die_with(birth.parent)
    os.setsid()
    adopt_orphans()
    set_name("cf-template")
    # Containers inherit it until they listen: by default this signal would kill them.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    _use_output(birth.output)
    if birth.program.get("inherit"):
        birth.program["env"] = {**os.environ, **birth.program["env"]}
        if os.getcwd() != "/":  # the image says where it wants to be
            birth.program["cwd"] = os.getcwd()
    order = TemplateOrder.from_json(birth.program)
    env = _environ(order.env)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv[:] = [order.module]
    standard.install()
    return Template(birth.program, Control(birth.control), birth.path, clock)


def revived(descriptor: int, clock: Clock) -> Template:
    """Go on as the template of a program that containers have to import themselves."""
    state = fresh.inherited(descriptor, ["control"])
    set_name("cf-template")
    return Template(state["program"], Control(state["control"]), state["path"], clock)


def _environ(env: dict[str, str]) -> dict[str, str]:
    """Return an environment with this process's marker, which all descendants carry."""
    marker = os.environ.get(MARKER)
    return env if marker is None else {**env, MARKER: marker}


def _use_output(output: int) -> None:
    _put(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    _put(output, 2)


def _place(descriptors: list[int]) -> Channels:
    """Put a container's pipes on 1 and 2 and its channels where user code will not meet them."""
    import resource

    packets, stream, out, err, cancel = descriptors
    _put(os.open(os.devnull, os.O_RDONLY), 0)
    _put(out, 1)
    _put(err, 2)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest = _HIGH if limit == resource.RLIM_INFINITY else min(_HIGH, max(3, limit - 16))
    return Channels(*(_raise(each, lowest) for each in (packets, stream, cancel)))


def _put(descriptor: int, number: int) -> None:
    os.dup2(descriptor, number)
    if descriptor != number:
        os.close(descriptor)


def _raise(descriptor: int, lowest: int) -> int:
    import fcntl

    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(descriptor)
    return high


def _fork() -> int:
    with warnings.catch_warnings():
        # Newer Pythons warn of threads; `forksafety` has looked closer than they do.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()
