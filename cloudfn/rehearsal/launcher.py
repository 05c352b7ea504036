"""Turns instances into machines: starts, ends and tells them, one folder and one process each."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cloudfn.clock import Clock
from cloudfn.errors import Error, NotFoundError
from cloudfn.rehearsal import cgroups, network, userdata, victims
from cloudfn.rehearsal.groups import Running
from cloudfn.rehearsal.lifecycle import Phase
from cloudfn.rehearsal.metadata import Told
from cloudfn.rehearsal.site import Site, Wanted
from cloudfn.rehearsal.victims import Part
from cloudfn.worker.process import children_of

#: seconds of a Spot notice
NOTICE = 120.0
#: seconds that a machine has to shut down before it is switched off
_SHUTDOWN = 20.0


@dataclass(slots=True)
class Machine:
    """An instance's machine, as this process sees it."""

    number: int
    folder: Path
    told: Told
    process: subprocess.Popen[bytes]
    phase: Phase
    started: float
    ending: bool = False


class Launcher:
    """All machines of a rehearsal. `reconcile` is called by one thread, the rest by any.

    Args:
        site: Where the rehearsal lies.
        wanted: What is emulated.
        plan: Addresses.
        hub: Process of the hub.
        role: Name of the role that machines have.
        keys: Gives credentials of that role: key, secret, token.
        gone: Called when a machine has ended, with the instance's id.
        clock: What time it is.
    """

    def __init__(
        self,
        site: Site,
        wanted: Wanted,
        plan: network.Plan,
        hub: int,
        role: str,
        keys: Callable[[], tuple[str, str, str]],
        gone: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._site, self._wanted, self._plan, self._hub = site, wanted, plan, hub
        self._role, self._keys, self._gone, self._clock = role, keys, gone, clock
        self._module = wanted.module or userdata.agent_module()
        self._lock = threading.RLock()
        self._machines: dict[str, Machine] = {}

    # ---------------------------------------------------------------------------------- each tick

    def reconcile(self, running: Sequence[Running]) -> None:
        """Start machines of new instances, end those whose instances are gone, tell the others."""
        with self._lock:
            wanted = {each.instance_id: each for each in running}
            for instance_id, machine in list(self._machines.items()):
                if machine.process.poll() is not None:
                    self._bury(instance_id)
                    if instance_id in wanted:
                        self._gone(instance_id)
                        wanted.pop(instance_id)
                elif instance_id not in wanted:
                    self._shut_down(machine)
                elif self._interrupted(machine):
                    self._gone(instance_id)
            for instance_id, each in wanted.items():
                if instance_id not in self._machines:
                    self._start(each)
                self._tell(instance_id, each)

    def _start(self, instance: Running) -> None:
        taken = {each.number for each in self._machines.values()}
        free = [each for each in range(self._plan.room) if each not in taken]
        if not free:
            return
        number = free[0]
        folder = self._site.machines / instance.instance_id
        folder.mkdir(parents=True)
        told = Told(
            instance_id=instance.instance_id,
            instance_type=instance.instance_type,
            zone=instance.zone,
            region=self._wanted.region,
            address=self._plan.machine(number),
            role=self._role,
            user_data=_decoded(instance.user_data),
            spot=instance.spot,
            keys=self._keys(),
        )
        with self._site.log(instance.instance_id).open("wb") as console:
            process = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net",
                 "--ipc", "--uts", *self._program(folder, instance.instance_id)],
                stdin=subprocess.PIPE, stdout=console, stderr=subprocess.STDOUT,
            )  # fmt: skip
        now = self._clock.wall()
        machine = Machine(number, folder, told, process, instance.phase, now)
        self._machines[instance.instance_id] = machine
        self._write(told)
        threading.Thread(target=self._plug_in, args=(machine,), daemon=True).start()

    def _program(self, folder: Path, instance_id: str) -> list[str]:
        """Return what is the machine. A virtual one leads its loopback to the front itself."""
        if self._wanted.virtual is not None:
            front = f"{self._plan.ours}:{self._wanted.port}"
            return [self._wanted.virtual, str(folder), instance_id, front]
        cgroup = f"/{self._site.tag}/{instance_id}"
        program = [sys.executable, "-m", "cloudfn.rehearsal", "machine"]
        return [*program, str(folder), cgroup, self._wanted.url]

    def _plug_in(self, machine: Machine) -> None:
        pid = machine.process.pid
        try:
            while machine.process.poll() is None and _network_of(pid) == _network_of(os.getpid()):
                self._clock.sleep(0.01)
            network.plug_in(self._plan, self._hub, pid, machine.number, self._wanted.port)
            assert machine.process.stdin is not None
            machine.process.stdin.write(b"\n")
            machine.process.stdin.flush()
        except (Error, OSError) as error:
            with self._site.log(machine.told.instance_id).open("a") as console:
                console.write(f"[machine] no network: {error}\n")
            machine.process.kill()

    def _shut_down(self, machine: Machine) -> None:
        if machine.ending:
            return
        machine.ending = True
        threading.Thread(target=self._ended, args=(machine,), daemon=True).start()

    def _ended(self, machine: Machine) -> None:
        """Let a machine shut down as its power button does; pull the plug if it takes too long."""
        for pid in children_of(machine.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            machine.process.wait(_SHUTDOWN)
        except subprocess.TimeoutExpired:
            machine.process.kill()

    def _bury(self, instance_id: str) -> None:
        machine = self._machines.pop(instance_id)
        machine.process.wait()
        (self._site.metadata / f"{machine.told.address}.json").unlink(missing_ok=True)
        network.unplug(self._hub, machine.number)
        for parent in cgroups.parents(self._site.tag):
            cgroups.remove(parent / instance_id)
        shutil.rmtree(machine.folder, ignore_errors=True)

    def _interrupted(self, machine: Machine) -> bool:
        at = machine.told.interrupted
        return at is not None and self._clock.wall() >= at

    def _tell(self, instance_id: str, instance: Running) -> None:
        machine = self._machines.get(instance_id)
        if machine is None:
            return
        machine.phase = instance.phase
        ending = instance.phase is Phase.TERMINATING_WAIT
        if machine.told.ending != ending:
            self._write(replace(machine.told, ending=ending))

    # ------------------------------------------------------------------------- what a user does

    def interrupt(self, instance_id: str, seconds: float = NOTICE) -> None:
        """Give a Spot notice: EC2 takes the instance back after so many seconds."""
        with self._lock:
            told = self._known(instance_id).told
            self._write(replace(told, interrupted=self._clock.wall() + seconds))

    def recommend(self, instance_id: str) -> None:
        """Recommend to replace an instance, as EC2 does when it is likely to take it back."""
        with self._lock:
            told = self._known(instance_id).told
            self._write(replace(told, recommended=self._clock.wall()))

    def kill(self, instance_id: str, part: Part = Part.MACHINE) -> int:
        """Pull a machine's plug, or kill -9 a part of it; return how many processes that were.

        Raises:
            NotFoundError: There is no such machine, or nothing of the kind runs on it.
        """
        with self._lock:
            machine = self._known(instance_id)
        if part is Part.MACHINE:
            machine.process.kill()
            machine.process.wait()
            return 1
        inits = children_of(machine.process.pid)
        if part is Part.AGENT:
            found = [pid for init in inits for pid in victims.agents(init, self._module)]
        else:
            found = [pid for init in inits for pid in victims.containers(init)]
        if not found:
            raise NotFoundError(
                f"There is no {part.removesuffix('s')} on {instance_id} now.",
                hint="Try again in a moment.",
            )
        return victims.kill(found)

    def states(self) -> list[dict[str, object]]:
        """Return what there is to say of each machine."""
        with self._lock:
            return [
                {
                    "machine": instance_id,
                    "state": str(each.phase),
                    "type": each.told.instance_type,
                    "spot": each.told.spot,
                    "address": each.told.address,
                    "started": each.started,
                    "heard": _heard(each.process.pid),
                    "interrupted": each.told.interrupted,
                    "console": str(self._site.log(instance_id)),
                }
                for instance_id, each in self._machines.items()
            ]

    # -------------------------------------------------------------------------------------- parts

    def _known(self, instance_id: str) -> Machine:
        if instance_id not in self._machines:
            known = ", ".join(self._machines) or "none"
            raise NotFoundError(
                f"There is no machine {instance_id!r}.", hint=f"There are: {known}."
            )
        return self._machines[instance_id]

    def _write(self, told: Told) -> None:
        self._machines[told.instance_id].told = told
        file = self._site.metadata / f"{told.address}.json"
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(told)))
        part.rename(file)


def _decoded(user_data: str) -> str:
    return base64.b64decode(user_data).decode()


def _network_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _heard(pid: int) -> float | None:
    """Return when the agent of a machine last said that it works; None: not yet."""
    for child in children_of(pid):
        with suppress(OSError):
            return Path(f"/proc/{child}/root/run/cloudfn/heard").stat().st_mtime
    return None
