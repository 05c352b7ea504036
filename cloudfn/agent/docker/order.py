"""What a Docker container is allowed to be. Pure.

Everything is closed, and what a container needs is opened: no capability, no new privileges, no
writable file system but memory, no other user's files, and a share of the machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from cloudfn.model.function import Resources
from cloudfn.providers.docker.labels import ENVIRONMENT_LABEL, MARKER_LABEL

#: further labels by which a daemon knows its containers
INSTANCE_LABEL = "cloudfn.daemon"
CONTAINER_LABEL = "cloudfn.container"
#: where a container finds what it gets from the machine
INSIDE = "/run/cloudfn"
LIBRARY = f"{INSIDE}/lib"
SOURCE = f"{INSIDE}/source"
#: the only place that user code can write to, beside its volumes; in memory
SCRATCH = "/tmp"  # noqa: S108 - of the container, not of this machine
AGENT_SOCKET = "agent.sock"

#: processes and threads
_PIDS = 4_096
#: part of the machine's memory that a container without a limit of its own may have
_MOST_MEMORY = 0.9
#: part of its memory that its files may take
_SCRATCH_SHARE = 0.5
_MIB = 1 << 20
_CPU_SHARES = 1_024
_LEAST_SHARES = 2
_OPEN_FILES = 1_024
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_NAME_LENGTH = 100
# Not `-m`: an image's own PYTHONPATH and packages stay as they are, behind ours.
_START = (
    f"import sys; sys.path.insert(0, {LIBRARY!r}); "
    "from cloudfn.worker.__main__ import main; main(sys.argv[1:])"
)


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder or file of this machine that a container sees."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class DockerOrder:
    """One Docker container, before it is one."""

    image: str
    interpreter: str
    container_id: str
    #: of the function, for people
    name: str
    environment: str
    marker: str
    #: of the daemon
    instance: str
    #: uid:gid
    user: str
    resources: Resources
    #: what the machine has: cores, MiB
    cores: float
    memory: int
    binds: tuple[Bind, ...]
    #: of the bridge; "none" for no network
    network: str
    #: of GPUs, in the order in which the container numbers them; as the driver names them
    gpus: tuple[str, ...] = ()
    #: variables, none of them secret: who may ask Docker sees them
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def memory_limit(self) -> int:
        """The most that it may have, in MiB."""
        if self.resources.memory_limit is not None:
            return self.resources.memory_limit
        return int(self.memory * _MOST_MEMORY)

    def request(self) -> dict[str, Any]:
        """Return the body of the engine's request to create the container."""
        return {
            "Image": self.image,
            "Entrypoint": [self.interpreter, "-P", "-c", _START],
            "Cmd": ["--connect", f"{INSIDE}/cell/{AGENT_SOCKET}"],
            "User": self.user,
            "Env": [f"{name}={value}" for name, value in sorted(self._environ().items())],
            "Labels": {
                MARKER_LABEL: self.marker,
                INSTANCE_LABEL: self.instance,
                ENVIRONMENT_LABEL: self.environment,
                CONTAINER_LABEL: self.container_id,
            },
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": self._host_config(),
        }

    @property
    def docker_name(self) -> str:
        """The container's name, for people who look at Docker."""
        readable = _UNSAFE.sub("-", f"{self.environment}-{self.name}")[:_NAME_LENGTH]
        return f"cloudfn-{readable}-{self.container_id}"

    def _environ(self) -> dict[str, str]:
        own = {"HOME": SCRATCH, "TMPDIR": SCRATCH, "CLOUDFN_MARKER": self.marker}
        if not self.gpus:
            # Images of CUDA ask for all of them, and NVIDIA's runtime may be the default.
            own["NVIDIA_VISIBLE_DEVICES"] = "void"
        return {**own, **self.environ}

    def _host_config(self) -> dict[str, Any]:
        limit = self.memory_limit * _MIB
        scratch = int(limit * _SCRATCH_SHARE)
        config: dict[str, Any] = {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": bind.source,
                    "Target": bind.target,
                    "ReadOnly": bind.read_only,
                    "BindOptions": {"Propagation": "rprivate"},
                }
                for bind in self.binds
            ],
            "ReadonlyRootfs": True,
            "Tmpfs": {SCRATCH: f"rw,nosuid,nodev,exec,mode=1777,size={scratch}"},
            "ShmSize": scratch,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Privileged": False,
            "Init": True,
            "IpcMode": "private",
            "PidsLimit": _PIDS,
            "Memory": limit,
            # No swap: what is over the limit ends, it does not slow everything down.
            "MemorySwap": limit,
            "MemoryReservation": min(self.resources.memory * _MIB, limit),
            "CpuShares": max(_LEAST_SHARES, round(self.resources.cpu * _CPU_SHARES)),
            "Ulimits": [
                {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": 4 * _OPEN_FILES},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "NetworkMode": self.network,
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": False,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "256k", "max-file": "1"}},
        }
        if self.resources.cpu_limit is not None:
            config["NanoCpus"] = int(min(self.resources.cpu_limit, self.cores) * 1e9)
        if self.gpus:
            config["DeviceRequests"] = [
                {"Driver": "", "DeviceIDs": list(self.gpus), "Capabilities": [["gpu"]]}
            ]
        return config
