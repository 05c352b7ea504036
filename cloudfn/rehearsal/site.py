"""Where a rehearsal lies, and what its things are called: frozen values, no I/O but `read`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

#: the account that both emulators stand for
ACCOUNT = "000000000000"
#: what the names of interfaces and control groups begin with
TAG = "cfr"
#: the only credentials that they know
KEY, SECRET = "test", "test"


@dataclass(frozen=True, slots=True)
class Site:
    """One rehearsal; its home is private to its user."""

    home: Path

    @property
    def tag(self) -> str:
        """Short name of this home, which interfaces, rules and control groups carry."""
        return TAG + hashlib.sha256(str(self.home).encode()).hexdigest()[:5]

    @property
    def control(self) -> Path:
        """Socket on which the supervisor takes orders."""
        return self.home / "control.sock"

    @property
    def lock(self) -> Path:
        """File that the supervisor holds a lock on, as long as it lives."""
        return self.home / "lock"

    @property
    def wanted(self) -> Path:
        """File that says what is to be emulated."""
        return self.home / "wanted.json"

    @property
    def environ(self) -> Path:
        """File with the variables that lead boto3 here, as JSON."""
        return self.home / "environ.json"

    @property
    def faults(self) -> Path:
        """File of the front's rules."""
        return self.home / "faults.json"

    @property
    def requests(self) -> Path:
        """File of what the front was asked for, a line of JSON each; see `requests`."""
        return self.home / "requests.jsonl"

    @property
    def disk(self) -> Path:
        """File that holds what is in `data`, where there are loop devices."""
        return self.home / "disk.img"

    @property
    def data(self) -> Path:
        """Folder that the processes of the rehearsal alone see: a file system in `disk`."""
        return self.home / "data"

    @property
    def machines(self) -> Path:
        """Folder with a folder for each machine."""
        return self.data / "machines"

    @property
    def metadata(self) -> Path:
        """Folder with what the metadata service tells each machine."""
        return self.home / "metadata"

    def log(self, name: str) -> Path:
        """File with the output of one part, or the console of a machine."""
        return self.home / "logs" / f"{name}.log"


@dataclass(frozen=True, slots=True)
class MachineClass:
    """One shape of machines, as in infra/terraform's `machine_classes`."""

    instance_types: tuple[str, ...]
    max_machines: int
    purchase: str = "on-demand"
    architecture: str = "x86_64"
    gpu: bool = False


_CLASSES = {
    "cpu": MachineClass(("m7i.large",), 4),
    "spot": MachineClass(("m7i.large", "m6i.large"), 4, "spot"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be emulated."""

    environment: str = "main"
    region: str = "eu-central-1"
    #: of the front, on 127.0.0.1
    port: int = 4566
    #: seconds from the launch of an instance to its first breath
    boot_delay: float = 5.0
    #: whether roles and policies are enforced
    auth: bool = False
    #: zip that machines fetch; None: made as `cloudfn infra apply` makes it
    bundle: str | None = None
    #: what a machine runs, and what the planner's function calls; None: what infra/terraform says
    module: str | None = None
    handler: str | None = None
    #: program that is a machine; None: a tree of processes is one
    virtual: str | None = None
    classes: Mapping[str, MachineClass] = field(default_factory=lambda: MappingProxyType(_CLASSES))

    @property
    def url(self) -> str:
        """Address of everything, the same on this machine and on the emulated ones."""
        return f"http://127.0.0.1:{self.port}"

    def text(self) -> str:
        """Return this as JSON."""
        classes = {name: asdict(each) for name, each in self.classes.items()}
        return json.dumps({**{k: getattr(self, k) for k in _PLAIN}, "classes": classes})


_PLAIN = (
    "environment", "region", "port", "boot_delay", "auth", "bundle", "module", "handler", "virtual",
)  # fmt: skip


def wanted_of(text: str) -> Wanted:
    """Return what `Wanted.text` wrote."""
    told: dict[str, Any] = json.loads(text)
    classes = {
        name: MachineClass(**{**each, "instance_types": tuple(each["instance_types"])})
        for name, each in told.pop("classes").items()
    }
    return Wanted(**told, classes=MappingProxyType(classes))


def variables(wanted: Wanted) -> dict[str, str]:
    """Return what has to be in a client's environment for stock boto3 to come here."""
    return {
        "AWS_ENDPOINT_URL": wanted.url,
        "AWS_REGION": wanted.region,
        "AWS_DEFAULT_REGION": wanted.region,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        # Another account's file would otherwise have a word.
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
