"""Zygotes and templates: the processes that containers are forked from."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
from asyncio import AbstractEventLoop
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cloudfn.agent.control import ControlChannel
from cloudfn.agent.homes import Home
from cloudfn.model import ids
from cloudfn.model.call import ContainerLost, Crashed

#: name of the variable by which leftovers of a dead daemon are found
MARKER = "CLOUDFN_MARKER"


@dataclass(frozen=True, slots=True)
class Runtime:
    """The interpreter that a revision runs under."""

    interpreter: str
    import_paths: tuple[str, ...]
    #: `sha256:…` of the Docker image of its containers; empty: they are processes of this machine
    image: str = ""
    #: variables that all its processes have, instead of the machine's of the same names
    environ: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """The code that a template imports."""

    runtime: Runtime
    #: directory of the bundle: the containers' working directory
    bundle: str
    module: str
    #: FunctionSpec JSON of every function
    functions: tuple[dict[str, Any], ...]
    #: containers may be forked after the import
    fork: bool = True
    #: local files of the image: (file or folder here, where containers see it)
    attached: tuple[tuple[str, str], ...] = ()
    #: the working directory that the image asks for; empty for the bundle
    workdir: str = ""


class TemplateOwner(Protocol):
    """Who is told what happens to a template."""

    def on_template_event(self, template: Template, event: dict[str, Any]) -> None:
        """A template said something."""
        ...

    def on_template_output(self, template: Template, data: bytes) -> None:
        """The user's module printed something while it was imported."""
        ...

    def on_template_closed(self, template: Template) -> None:
        """The template is gone, and its containers with it."""
        ...


class Template:
    """One warm process that has imported a program; containers are forked from it."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        program: Program,
        environ: dict[str, str],
        owner: TemplateOwner,
        home: Home,
    ) -> None:
        self._environ = environ
        self.home = home
        self.template_id = ids.mint("te")
        self.program = program
        self.ready = False
        #: 0 until the zygote told it, and after its end
        self.pid = 0
        #: how it ended, as a wait status; None: it lives, or nobody saw its end
        self.status: int | None = None
        #: what its end means where its home knows more than that
        self.ending: Crashed | ContainerLost | None = None
        self._ended = False
        self._owner = owner
        self._loop = loop
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output, self._output_theirs = os.pipe()
        os.set_blocking(self._output, False)
        loop.add_reader(self._output, self._read_output)
        self._control = ControlChannel(
            loop, ours, lambda event: owner.on_template_event(self, event), self._closed
        )

    @property
    def closed(self) -> bool:
        """Whether the process is gone or was told to go."""
        return self._control.closed

    def request(self) -> tuple[dict[str, Any], list[int]]:
        """Return what a zygote has to be told to start this template."""
        program = self.program
        message = {
            "op": "template",
            "template": self.template_id,
            "module": program.module,
            "functions": list(program.functions),
            "env": self._environ,
            "fork": program.fork,
            **self.home.order(program),
        }
        return message, [self._theirs.fileno(), self._output_theirs]

    def handed_over(self) -> None:
        """Close our copies of the child's ends, after the zygote has them."""
        self._theirs.close()
        os.close(self._output_theirs)

    def order(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Order something of the template."""
        self._control.send(message, fds)

    def close(self) -> None:
        """Let the template go; its containers must have been stopped before."""
        self._ended = True
        self._control.close()
        self._stop_output()
        if not self.ready:
            self.kill()
        self.home.close()

    def kill(self) -> None:
        """End the process at once; in the midst of an import it hears nothing else."""
        self.home.kill_template(self.pid)

    def born(self, pid: int) -> None:
        """The zygote forked it."""
        self.pid = pid
        if self.closed and not self.ready:
            self.kill()

    def exited(self, status: int | None) -> None:
        """The zygote saw its end, or is gone itself."""
        self.pid = 0
        self.status = status
        self._control.drain()
        self._end()

    def _read_output(self) -> None:
        try:
            data = os.read(self._output, 65_536)
        except BlockingIOError:
            return
        if data:
            self._owner.on_template_output(self, data)
        else:
            self._stop_output()

    def _stop_output(self) -> None:
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = -1

    def _closed(self) -> None:
        self._loop.call_later(self.home.patience, self._end)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._control.close()
        if self._output >= 0:
            self._read_output()
        self._stop_output()
        self._owner.on_template_closed(self)
        self.home.close()


class Zygote:
    """A bare process that templates are forked from; one per interpreter."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        runtime: Runtime,
        environ: dict[str, str],
        descriptors: int,
        log: Path,
        on_close: Callable[[Zygote], None],
    ) -> None:
        self.key = _key(runtime)
        #: it is of no use to other programs: an image has few
        self._of_image = bool(runtime.environ)
        self._templates: dict[str, Template] = {}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, log.open("ab") as output:
                self._process = subprocess.Popen(
                    [
                        runtime.interpreter,
                        "-m",
                        "cloudfn.worker",
                        "--control",
                        str(theirs.fileno()),
                    ],
                    env={**environ, **dict(runtime.environ)},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except OSError:
            ours.close()
            raise
        _limit_descriptors(self._process.pid, descriptors)
        self._control = ControlChannel(loop, ours, self._on_event, self._closed)
        self._on_close = on_close

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._process.pid

    def start_template(self, template: Template) -> None:
        """Fork a template off."""
        self._templates[template.template_id] = template
        message, fds = template.request()
        self._control.send(message, fds)
        template.handed_over()

    def close(self, timeout: float) -> None:
        """Let the zygote go, which ends every process it started; wait up to `timeout` seconds."""
        self._control.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _on_event(self, event: dict[str, Any]) -> None:
        template = self._templates.get(str(event.get("template")))
        if template is None:
            return
        if event.get("event") == "template":
            template.born(event["pid"])
        elif event.get("event") == "exited":
            del self._templates[template.template_id]
            template.exited(event["status"] if event["status"] >= 0 else None)
            if self._of_image and not self._templates:
                # Not by closing the channel: that would end what others started, too.
                self._on_close(self)
                self._process.kill()

    def _closed(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        code = self._process.wait()
        self._on_close(self)
        for template in list(self._templates.values()):
            # One that ended by itself, not by a signal, would do so again.
            template.exited(code << 8 if code > 0 else None)
        self._templates.clear()


class Zygotes:
    """The zygotes of a machine: one for each interpreter and its variables that was asked for.

    Args:
        loop: The event loop.
        environ: Their variables, which their descendants inherit.
        descriptors: Open files that a descendant may have.
        log: File for what they print.
    """

    def __init__(
        self, loop: AbstractEventLoop, environ: dict[str, str], descriptors: int, log: Path
    ) -> None:
        self._loop = loop
        self._environ = environ
        self._descriptors = descriptors
        self._log = log
        self._zygotes: dict[Hashable, Zygote] = {}

    def get(self, runtime: Runtime) -> Zygote:
        """Return the zygote of a runtime's interpreter, started if need be.

        Raises:
            OSError: The interpreter cannot be started.
        """
        zygote = self._zygotes.get(_key(runtime))
        if zygote is None:
            zygote = Zygote(
                self._loop, runtime, self._environ, self._descriptors, self._log, self._closed
            )
            self._zygotes[zygote.key] = zygote
        return zygote

    def prestart(self, interpreter: str) -> None:
        """Have a zygote ready for an interpreter that will be asked for soon."""
        with contextlib.suppress(OSError):  # who asks for it will be told
            self.get(Runtime(interpreter, ()))

    def close(self) -> None:
        """End all zygotes, and so every process that came from them. Idempotent."""
        zygotes, self._zygotes = self._zygotes, {}
        for zygote in zygotes.values():
            zygote.close(timeout=2.0)

    def _closed(self, zygote: Zygote) -> None:
        if self._zygotes.get(zygote.key) is zygote:
            del self._zygotes[zygote.key]


def _key(runtime: Runtime) -> Hashable:
    """Return what tells zygotes apart; the paths of imports are their templates' business."""
    return runtime.interpreter, runtime.environ


def _limit_descriptors(pid: int, descriptors: int) -> None:
    """Set how many files a process and its descendants may open, unless it is gone already."""
    with contextlib.suppress(ProcessLookupError):
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, hard))
