"""What a machine is told about its place: a file, and above it variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.machine.metadata import ENDPOINT

CONFIG = Path("/etc/cloudfn/machine.json")
#: name in the file → variable that overrules it
_VARIABLES = {
    "environment": "CLOUDFN_ENVIRONMENT",
    "machine_class": "CLOUDFN_MACHINE_CLASS",
    "region": "AWS_REGION",
    "provider": "CLOUDFN_PROVIDER",
    "state_dir": "CLOUDFN_MACHINE_STATE",
    "heard": "CLOUDFN_MACHINE_HEARD",
    "machine_id": "CLOUDFN_MACHINE_ID",
    "metadata": "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "runtimes": "CLOUDFN_MACHINE_RUNTIMES",
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a machine says and asks what, in seconds."""

    beat: float = 5.0
    lease: float = 30.0
    #: between looks at its orders while anything runs or waits
    orders: float = 1.0
    #: between looks at what it has itself
    look: float = 1.0
    #: between looks at the metadata service
    notices: float = 5.0
    #: between looks at the catalog for changed settings, images and secrets, on average
    refresh: float = 60.0
    #: that running inputs have when the machine is told to leave and no end is known; systemd and
    #: the hook of the group wait for 120 s in all
    drain: float = 75.0
    #: that they may have at most where the group ends the machine, and waits as long as the machine
    #: asks it to: 100 times the hook's 120 s
    hold: float = 11_900.0
    #: between looks at whether anybody leads, for a machine without work
    led: float = 60.0


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Which machine this is, and where it keeps what."""

    environment: str
    machine_class: str
    provider: str = "aws"
    #: None: what the metadata service says
    region: str | None = None
    state_dir: Path = Path("/var/lib/cloudfn")
    #: file that is touched whenever this machine is of use to somebody
    heard: Path = Path("/run/cloudfn/heard")
    #: who it is where there is no metadata service; empty: ask that
    machine_id: str = ""
    metadata: str = ENDPOINT
    #: what containers may be
    runtimes: tuple[str, ...] = ("docker",)
    timing: Timing = Timing()


def read_config(environ: Mapping[str, str], path: Path = CONFIG) -> MachineConfig:
    """Return what a file says of this machine, and what variables say above it.

    Raises:
        InvalidError: Something is missing or makes no sense; the message names it.
    """
    told = _file(path)
    for name, variable in _VARIABLES.items():
        if environ.get(variable):
            told[name] = environ[variable]
    for name in ("environment", "machine_class"):
        if not told.get(name):
            raise InvalidError(
                f"This machine does not know its {name.replace('_', ' ')}.",
                hint=f"Write {name} into {path}, or set {_VARIABLES[name]}.",
            )
    for name in ("state_dir", "heard"):
        if name in told:
            told[name] = Path(told[name])
    if "runtimes" in told:
        runtimes = told["runtimes"]
        told["runtimes"] = tuple(runtimes.split(",") if isinstance(runtimes, str) else runtimes)
    return MachineConfig(**told)


def _file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        told: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidError(f"{path} is no JSON: {error}.") from None
    unknown = sorted(set(told) - set(_VARIABLES))
    if unknown:
        raise InvalidError(f"{path} names what there is not: {', '.join(unknown)}.")
    return told
