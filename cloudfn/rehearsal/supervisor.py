"""The supervisor: starts all parts of a rehearsal, keeps them, and takes orders.

It is the first process of a namespace of processes: whatever ends it ends every part, machines and
containers among them. `life.finish` removes what does not end by itself.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cloudfn.clock import Clock
from cloudfn.errors import ExecutionError, InvalidError, NotFoundError
from cloudfn.providers.aws.clients import Access, Clients
from cloudfn.providers.aws.infra.bundle import build_bundle
from cloudfn.rehearsal import network, victims
from cloudfn.rehearsal.base import SESSION, make_base
from cloudfn.rehearsal.control import Control, Order
from cloudfn.rehearsal.emulator import Emulator
from cloudfn.rehearsal.faults import Kind, Rule, check_service, rules_of, rules_text
from cloudfn.rehearsal.groups import Groups
from cloudfn.rehearsal.launcher import NOTICE, Launcher
from cloudfn.rehearsal.names import Names
from cloudfn.rehearsal.requests import told
from cloudfn.rehearsal.site import ACCOUNT, KEY, SECRET, Site, Wanted, variables
from cloudfn.rehearsal.steps import let_go_of_output, tell
from cloudfn.rehearsal.victims import PLANNER, Part

#: seconds between two looks at groups and machines
_TICK = 0.2
#: bytes that machines can fill, and that take no room before
_DISK = 500 << 30
_MKFS = ("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard")
#: seconds for an emulator to answer
_PATIENCE = 60.0


class Supervisor:
    """One rehearsal.

    Args:
        site: Where it lies.
        wanted: What is emulated.
        clock: What time it is.
    """

    def __init__(self, site: Site, wanted: Wanted, clock: Clock) -> None:
        self._site, self._wanted, self._clock = site, wanted, clock
        self._started = clock.wall()
        self._over = threading.Event()
        self._ready = False
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        self._faults = threading.Lock()
        self._clients = Clients(Access(region=wanted.region, endpoint=wanted.url))

    def run(self) -> None:
        """Start everything, say so, and go on until somebody ends it.

        Raises:
            Error: A part does not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._over.set())
        Control(self._site.control, self._obey).start()
        self._make_disk()
        for folder in (self._site.machines, self._site.metadata, self._site.log("x").parent):
            folder.mkdir(exist_ok=True)
        plan = network.planned(self._site.tag, network.routes())
        tell("network", f"{plan.machines} for machines")
        hub = self._open_network(plan)
        tell("emulators", f"moto and ministack, behind {self._wanted.url}")
        self._groups = Groups(ACCOUNT, self._wanted.region, self._wanted.boot_delay, self._clock)
        self._start_emulators(plan)
        tell("environment", f"{self._wanted.environment!r}, as infra/terraform makes it")
        self._make_environment()
        role = Names(self._wanted.environment, self._wanted.region).role("agent")
        self._launcher = Launcher(
            self._site, self._wanted, plan, hub, role, self._keys, self._groups.vanish, self._clock
        )
        self._ready = True
        self._site.environ.write_text(json.dumps(variables(self._wanted)))
        tell("ready", self._wanted.url)
        let_go_of_output()
        while not self._over.wait(_TICK):
            self._look()

    def _look(self) -> None:
        try:
            self._launcher.reconcile(self._groups.tick())
        except Exception:  # noqa: BLE001 - an emulator may raise anything; the next look may do
            traceback.print_exc()

    # ------------------------------------------------------------------------------------- parts

    def _make_disk(self) -> None:
        """Keep what is big and has many files in one file: that is gone at once."""
        self._site.data.mkdir()
        with self._site.disk.open("wb") as file:
            file.truncate(_DISK)
        with suppress(ExecutionError, FileNotFoundError):  # the folder itself does, too
            network.run(*_MKFS, str(self._site.disk))
            network.run("mount", "-o", "loop,noatime", str(self._site.disk), str(self._site.data))

    def _open_network(self, plan: network.Plan) -> int:
        module = ["metadata", str(self._site.metadata)]
        hub = self._start(
            "metadata", ["unshare", "--net", *_module(*module)], stdin=subprocess.PIPE
        )
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{hub.pid}/ns/net") == ours:
            self._clock.sleep(0.01)
        network.open_hub(plan, hub.pid, self._wanted.port, self._site.home / "forwarding")
        assert hub.stdin is not None
        hub.stdin.write(b"\n")
        hub.stdin.flush()
        return hub.pid

    def _start_emulators(self, plan: network.Plan) -> None:
        emulator = Emulator(self._groups)
        emulator.start()
        port = _free_port()
        data = self._site.data / "ministack"
        data.mkdir()
        settings = {
            "AUTH": str(self._wanted.auth).lower(),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "LOG_LEVEL": "WARNING",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": self._wanted.region,
            "S3_DATA_DIR": str(data / "s3"),
            "STATE_DIR": str(data / "state"),
            "TMPDIR": str(data),
        }
        self._start("ministack", _module("ministack"), settings)
        files = (str(self._site.faults), str(self._site.requests))
        front = ["front", *files, str(emulator.port), str(port)]
        addresses = [f"{each}:{self._wanted.port}" for each in ("127.0.0.1", plan.ours)]
        self._start("front", _module(*front, *addresses))
        self._await("ministack", port)
        self._await("front", self._wanted.port)

    def _make_environment(self) -> None:
        if self._wanted.bundle is None:
            bundle = build_bundle(
                self._site.home.parent / "@infra", lambda text: tell("bundle", text)
            )
        else:
            bundle = Path(self._wanted.bundle)
        sha256 = hashlib.sha256(bundle.read_bytes()).hexdigest()
        make_base(self._clients.of, self._wanted, bundle, sha256)

    def _keys(self) -> tuple[str, str, str]:
        """Return credentials of the machines' role; those of the account where nobody looks."""
        if not self._wanted.auth:
            return KEY, SECRET, "rehearsed"
        names = Names(self._wanted.environment, self._wanted.region)
        answer = self._clients.of("sts").assume_role(
            RoleArn=names.role_arn("agent"), RoleSessionName="machine", DurationSeconds=SESSION
        )
        given = answer["Credentials"]
        return given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]

    def _start(
        self,
        name: str,
        command: list[str],
        environ: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        more = [f"{key}={value}" for key, value in (environ or {}).items()]
        with self._site.log(name).open("ab") as log:
            process = subprocess.Popen(
                ["env", *more, *command],
                stdin=stdin, stdout=log, stderr=subprocess.STDOUT, cwd=self._site.home,
            )  # fmt: skip
        self._parts[name] = process
        return process

    def _await(self, name: str, port: int) -> None:
        deadline = self._clock.monotonic() + _PATIENCE
        while not _answers(port):
            process = self._parts[name]
            if process.poll() is not None or self._clock.monotonic() > deadline:
                log = self._site.log(name).read_text(errors="replace")[-2000:]
                raise ExecutionError(f"{name} does not start:\n{log}")
            if self._over.is_set():
                raise ExecutionError("interrupted")
            self._clock.sleep(0.05)

    # ------------------------------------------------------------------------------------ orders

    def _obey(self, order: Order) -> Order:
        if not self._ready:
            if order["op"] == "down":
                os._exit(1)  # takes along whatever is there already
            raise InvalidError("The rehearsal is still starting.", hint="Try again in a moment.")
        match order["op"]:
            case "status":
                return self._status()
            case "requests":
                seconds = order.get("seconds")
                since = 0.0 if seconds is None else self._clock.wall() - float(seconds)
                return told(self._site.requests, since, each=bool(order.get("each")))
            case "kill":
                return {"killed": self._kill(str(order["machine"]), Part(order["part"]))}
            case _:
                self._do(order)
                return {}

    def _do(self, order: Order) -> None:
        machine = str(order.get("machine", ""))
        match order["op"]:
            case "down":
                self._over.set()
            case "spot":
                self._launcher.interrupt(machine, float(order.get("seconds", NOTICE)))
            case "rebalance":
                self._launcher.recommend(machine)
            case "limit":
                self._groups.limit(str(order["type"]), order.get("number"))
            case "fault":
                self._fault(order)
            case unknown:
                raise InvalidError(f"There is no order {unknown!r}.")

    def _kill(self, victim: str, part: Part) -> int:
        if victim != PLANNER:
            return self._launcher.kill(victim, part)
        function = Names(self._wanted.environment, self._wanted.region).planner
        found = victims.invocations(self._parts["ministack"].pid, function)
        if not found:
            raise NotFoundError(
                "The planner has not been invoked yet.", hint="It is when there is work."
            )
        return victims.kill(found)

    def _fault(self, order: Order) -> None:
        check_service(str(order["service"]))
        now = self._clock.wall()
        rule = Rule(
            service=str(order["service"]),
            kind=Kind(order["kind"]),
            until=now + float(order["seconds"]),
            delay=float(order.get("delay", 1.0)),
        )
        with self._faults:
            file = self._site.faults
            old = rules_of(file.read_text()) if file.exists() else ()
            part = file.with_suffix(".part")
            part.write_text(rules_text([*(each for each in old if each.until > now), rule]))
            part.rename(file)

    def _status(self) -> Order:
        parts = {name: process.poll() is None for name, process in self._parts.items()}
        wanted = self._wanted
        return {
            "url": wanted.url,
            "environment": wanted.environment,
            "region": wanted.region,
            "home": str(self._site.home),
            "uptime": self._clock.wall() - self._started,
            "parts": {"moto": True, **parts},
            "machines": self._launcher.states(),
            "groups": self._groups.sizes(),
        }


def _module(*words: str) -> list[str]:
    return [sys.executable, "-m", "cloudfn.rehearsal", *words]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
