"""The virtual machine of a test: launched through its group, looked at over its serial ports."""

from __future__ import annotations

import json
import shlex
import socket
import uuid
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from cloudfn.rehearsal.lifecycle import LAUNCHING
from cloudfn.rehearsal.names import Names
from tests.rehearsal.world import World

#: seconds for a command, where processors are emulated
_COMMAND = 120.0
#: in the place of the bundle at first
OTHER = b"not what was promised"
_NAMES = Names("main", "eu-central-1")
_GROUP = _NAMES.group("cpu")


@dataclass
class Guest:
    """A virtual machine."""

    world: World
    #: the instance's; empty: not launched yet
    id: str = ""
    #: where the bundle is that its user-data names, and what is there at first
    key: str = field(init=False)
    bundle: bytes = field(init=False)

    def __post_init__(self) -> None:
        s3 = self.world.of("s3")
        (found,) = s3.list_objects_v2(Bucket=_NAMES.bucket, Prefix="agent/")["Contents"]
        self.key = found["Key"]
        self.bundle = s3.get_object(Bucket=_NAMES.bucket, Key=self.key)["Body"].read()

    @property
    def digest(self) -> str:
        """SHA-256 that its user-data promises."""
        return PurePosixPath(self.key).stem

    def launch(self) -> None:
        """Have the group launch it, with more time to join than EC2's have."""
        scaling = self.world.of("autoscaling")
        scaling.put_lifecycle_hook(
            AutoScalingGroupName=_GROUP,
            LifecycleHookName="join",
            LifecycleTransition=LAUNCHING,
            HeartbeatTimeout=int(self.world.patience),
            DefaultResult="ABANDON",
        )
        answer = scaling.launch_instances(
            AutoScalingGroupName=_GROUP, RequestedCapacity=1, ClientToken=str(uuid.uuid4())
        )
        self.id = answer["Instances"][0]["InstanceIds"][0]

    def put_bundle(self, content: bytes) -> None:
        """Put something where machines fetch their bundle."""
        self.world.of("s3").put_object(Bucket=_NAMES.bucket, Key=self.key, Body=content)

    def console(self) -> str:
        """Return what it has printed, its journal included."""
        log = self.world.site.log(self.id)
        return log.read_text(errors="replace") if log.exists() else ""

    def await_line(self, text: str) -> None:
        """Wait until it prints something."""
        self.world.until(lambda: text in self.console(), f"{self.id} prints {text!r}")

    def state(self) -> str:
        """Return where it is in its group's life cycle; empty: nowhere."""
        told = self.world.of("autoscaling").describe_auto_scaling_instances(InstanceIds=[self.id])
        return "".join(each["LifecycleState"] for each in told["AutoScalingInstances"])

    def row(self) -> dict[str, Any]:
        """Return what the table has of it, as `cloudfn machine list` shows it."""
        done = self.world.cloudfn("machine", "list", "--provider", "aws", "--json")
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return next((each for each in rows if each["machine_id"] == self.id), {})

    def wanted(self) -> int:
        """Return how many machines its group wants."""
        (group,) = self.world.of("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[_GROUP]
        )["AutoScalingGroups"]
        return int(group["DesiredCapacity"])

    def run(self, *command: str) -> str:
        """Run a command as root inside; return what it printed."""
        code, told = self.attempt(*command)
        assert code == 0, f"{shlex.join(command)}: {code}\n{told}"
        return told

    def attempt(self, *command: str) -> tuple[int, str]:
        """Run a command as root inside; return its exit code, and all that it printed."""
        mark = uuid.uuid4().hex
        # Not as it is printed: what comes before it is the shell's prompt.
        say = f"echo {mark[:16]}''{mark[16:]}"
        line = f"{say}; {shlex.join(command)} 2>&1 </dev/null; {say} $?\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_COMMAND)
            connection.connect(str(self.world.root / "shell.sock"))
            connection.sendall(line.encode())
            said: list[str] = []
            for told in connection.makefile(errors="replace"):
                before, found, code = told.partition(mark)
                said.append(before)
                if found and not code.strip():
                    said.clear()
                elif found:
                    return int(code), "".join(said).strip()
        raise AssertionError(f"{self.id} ended during {shlex.join(command)}{self.world.logs()}")
