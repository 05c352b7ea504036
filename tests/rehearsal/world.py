"""A rehearsal for tests: started by the command line, looked at by boto3, driven through SQS."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from cloudfn.clock import SystemClock
from cloudfn.providers.aws.infra.bundle import build_bundle
from cloudfn.rehearsal import cgroups, network
from cloudfn.rehearsal.site import Site
from tests.docker.engine import Engine

CLOCK = SystemClock()
#: tests look at each answer
_ONCE = Config(retries={"total_max_attempts": 1})
#: seconds
_COMMAND, _PATIENCE = 300.0, 150.0
_GROUP = "cloudfn-main-cpu"


@dataclass
class World:
    """One rehearsal, or the place for one."""

    root: Path
    #: of this machine, for what is fetched once
    cache: Path
    port: int
    #: builds images of programs
    engine: Engine | None = None
    #: seconds to wait for what is to come
    patience: float = _PATIENCE
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def site(self) -> Site:
        return Site(self.root / "@rehearsal")

    def cloudfn(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `cloudfn …` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "cloudfn", *words],
            env=self.environ(), capture_output=True, text=True, check=False, timeout=_COMMAND,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done

    def start(self, *words: str) -> AbstractContextManager[subprocess.Popen[str]]:
        """Start `cloudfn …`; it ends with the block at the latest."""
        return self._start("-m", "cloudfn", *words)

    def call(self, *words: str) -> AbstractContextManager[subprocess.Popen[str]]:
        """Start a laptop, which calls what is deployed: see `caller.py`."""
        caller = str(Path(__file__).with_name("caller.py"))
        return self._start(caller, *words, errors=self.site.log("laptops"))

    def told(self, *words: str) -> str:
        """Return what such a laptop says at last."""
        with self.call(*words) as calling:
            return self.end_of(calling)

    def end_of(self, calling: subprocess.Popen[str]) -> str:
        """Return what is still to come of a laptop, which has to end well."""
        told, _ = calling.communicate(timeout=_COMMAND)
        assert calling.returncode == 0, told + self.logs()
        return told

    @contextmanager
    def _start(self, *words: str, errors: Path | None = None) -> Iterator[subprocess.Popen[str]]:
        with (
            open(errors or os.devnull, "ab") as file,
            subprocess.Popen(
                [sys.executable, *words],
                env=self.environ(), text=True, stdout=subprocess.PIPE,
                stderr=file if errors else subprocess.STDOUT,
            ) as process,
        ):  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def up(self, *options: str) -> None:
        """Start the rehearsal."""
        bundles = self.root / "@infra"
        if not bundles.exists():  # its wheels take a while, and are the same every time
            build_bundle(self.cache / "infra", lambda _text: None)
            shutil.copytree(self.cache / "infra", bundles)
        self.cloudfn("rehearse", "up", "--port", str(self.port), *options)

    def up_with_our_agent(self) -> None:
        """Start the rehearsal, with the tests' own agent on its machines."""
        bundle = self.root / "bundle.zip"
        shutil.copyfile(build_bundle(self.cache / "infra", lambda _text: None), bundle)
        with zipfile.ZipFile(bundle, "a") as archive:
            archive.write(Path(__file__).with_name("agent.py"), "rehearsed_agent.py")
        self.up(
            "--boot-delay", "0.5", "--bundle", str(bundle),
            "--module", "rehearsed_agent", "--handler", "rehearsed_agent.planner",
        )  # fmt: skip

    def environ(self) -> dict[str, str]:
        """Return the variables of a user who has been led to the rehearsal, if it is there."""
        environ = {
            "CLOUDFN_HOME": str(self.root),
            "CLOUDFN_PROVIDER": "aws",
            "HOME": str(self.root),
            "PATH": _path(),
        }
        if self.site.environ.exists():
            environ |= json.loads(self.site.environ.read_text())
        if self.engine is not None:
            name = self.engine.base.replace(self.engine.base_python, "{version}")
            environ |= {"DOCKER_HOST": self.engine.host, "CLOUDFN_BASE_IMAGE": name}
        return environ

    def of(self, service: str) -> Any:
        """Return boto3's client of a service."""
        if service not in self._clients:
            told = json.loads(self.cloudfn("rehearse", "env", "--json").stdout)
            self._clients[service] = boto3.session.Session(
                told["AWS_ACCESS_KEY_ID"],
                told["AWS_SECRET_ACCESS_KEY"],
                region_name=told["AWS_REGION"],
            ).client(service, endpoint_url=told["AWS_ENDPOINT_URL"], config=_ONCE)
        return self._clients[service]

    def status(self) -> dict[str, Any]:
        """Return what `status` says."""
        told: dict[str, Any] = json.loads(
            self.cloudfn("rehearse", "status", "--json", check=False).stdout
        )
        return told

    def machines(self) -> list[str]:
        """Return the ids of all machines."""
        return [each["machine"] for each in self.status()["machines"]]

    def machine(self) -> Machine:
        """Launch one, and wait until it serves."""
        answer = self.of("autoscaling").launch_instances(
            AutoScalingGroupName=_GROUP, RequestedCapacity=1, ClientToken=str(uuid.uuid4())
        )
        machine = Machine(self, answer["Instances"][0]["InstanceIds"][0])
        self.until(lambda: machine.state() == "InService", f"{machine.id} serves")
        return machine

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until something holds; return it."""
        deadline = CLOCK.monotonic() + self.patience
        while not (found := holds()):
            assert CLOCK.monotonic() < deadline, (
                f"not within {self.patience:.0f} s: {what}{self.logs()}"
            )
            CLOCK.sleep(0.2)
        return found

    def logs(self) -> str:
        """Return the ends of all logs, for whoever reads why a test failed."""
        home = self.site.home
        files = home.glob("logs/*.log")
        return "".join(f"\n--- {each.name}\n{each.read_text()[-2000:]}" for each in files)

    def lines(self) -> list[str]:
        """Return all lines of all logs and consoles."""
        files = self.site.home.glob("logs/*.log")
        return [line for each in files for line in each.read_text().splitlines()]

    def printed(self, group: str) -> list[str]:
        """Return all lines of a log group of CloudWatch Logs."""
        pages = self.of("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return [each["message"] for page in pages for each in page["events"]]

    def leftovers(self) -> list[str]:
        """Return what of a rehearsal is on this machine."""
        home, tag = str(self.site.home), self.site.tag
        processes = {each.name: _read(each / "cmdline") for each in Path("/proc").iterdir()}
        mounts = _read(Path("/proc/self/mountinfo")).splitlines()
        loops = [_read(each) for each in Path("/sys/block").glob("loop*/loop/backing_file")]
        links = [each["ifname"] for each in json.loads(network.run("ip", "-json", "link"))]
        rules = [
            line
            for table in ("filter", "nat")
            for line in network.run("iptables", "-w", "-t", table, "-S").splitlines()
        ]
        return [
            *(f"process {pid}: {line}" for pid, line in processes.items() if home in line),
            *(f"mount {line}" for line in mounts if home in line),
            *(f"loop device {each}" for each in loops if home in each),
            *(f"link {name}" for name in links if tag in name),
            *(f"rule {line}" for line in rules if tag in line),
            *(f"control group {each}" for each in cgroups.parents(tag)),
            *(f"folder {each}" for each in (self.site.home,) if each.exists()),
        ]


@dataclass
class Machine:
    """A machine that runs our agent."""

    world: World
    id: str

    def state(self) -> str:
        """Return where it is in its life; empty: nowhere."""
        told = self.world.of("autoscaling").describe_auto_scaling_instances(InstanceIds=[self.id])
        return "".join(each["LifecycleState"] for each in told["AutoScalingInstances"])

    def run(self, *command: str) -> str:
        """Run a command on it; return what it printed."""
        sqs = self.world.of("sqs")
        sqs.send_message(QueueUrl=self._queue("orders"), MessageBody=json.dumps(command))
        told = self.answer()
        assert told["code"] == 0, told["err"]
        return str(told["out"]).strip()

    def answer(self) -> dict[str, Any]:
        """Return what it says next."""
        sqs, queue = self.world.of("sqs"), self._queue("answers")
        got = self.world.until(
            lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5).get("Messages"),
            f"{self.id} answers",
        )
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=got[0]["ReceiptHandle"])
        told: dict[str, Any] = json.loads(got[0]["Body"])
        return told

    def _queue(self, name: str) -> str:
        url = self.world.of("sqs").get_queue_url(QueueName=f"cloudfn-main-{name}-{self.id}")
        return str(url["QueueUrl"])


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _path() -> str:
    return ":".join([*os.get_exec_path(), "/usr/sbin", "/sbin"])


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
