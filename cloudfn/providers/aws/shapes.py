"""What machines of EC2's instance types have for containers. The facts come from EC2, once each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

from cloudfn.model.gpu import Gpu
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained

#: MiB that system and agent take: this, and a part of the rest
_SYSTEM = 384
_SYSTEM_PART = 0.06
#: types of one request
_MOST = 100
#: seconds from asking to joining, until experience says better
_BOOTS, _GPU_BOOTS = 75.0, 180.0


class Shape(NamedTuple):
    """What containers may use of a machine, and how long it takes to boot."""

    cores: float
    #: MiB
    memory: int
    gpus: tuple[Gpu, ...]
    boot_seconds: float


class Shapes:
    """Knows instance types. Safe to share between threads.

    Args:
        clients: Where the client of EC2 comes from.
    """

    def __init__(self, clients: ClientSource) -> None:
        self._clients = clients
        self._known: dict[str, Shape] = {}
        self._lock = Lock()

    def smallest(self, types: Sequence[str]) -> Shape | None:
        """Return what a machine has whichever of some types it is; None: this region has none.

        Raises:
            Error: EC2 cannot be asked.
        """
        known = self._all(types)
        shapes = [known[each] for each in types if each in known]
        if not shapes:
            return None
        fewest = min(shapes, key=lambda each: len(each.gpus))
        return Shape(
            min(each.cores for each in shapes),
            min(each.memory for each in shapes),
            fewest.gpus,
            max(each.boot_seconds for each in shapes),
        )

    def _all(self, types: Sequence[str]) -> Mapping[str, Shape]:
        with self._lock:
            unknown = [each for each in dict.fromkeys(types) if each not in self._known]
            for start in range(0, len(unknown), _MOST):
                self._ask(unknown[start : start + _MOST])
            return self._known

    def _ask(self, types: Sequence[str]) -> None:
        for each in described(self._clients, types):
            self._known[each["InstanceType"]] = _shape(each)


def described(clients: ClientSource, types: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield what EC2 says of up to 200 types, those of them that this region has.

    Raises:
        Error: EC2 cannot be asked.
    """
    # A filter, because a type by its name that is not there would be an error.
    wanted = [{"Name": "instance-type", "Values": list(types)}]
    with explained("ec2", "DescribeInstanceTypes", ", ".join(types)):
        pages = clients.of("ec2").get_paginator("describe_instance_types")
        for page in pages.paginate(Filters=wanted):
            yield from page["InstanceTypes"]


def _shape(facts: Mapping[str, Any]) -> Shape:
    memory = int((facts["MemoryInfo"]["SizeInMiB"] - _SYSTEM) * (1 - _SYSTEM_PART))
    names = [
        (f"{each['Manufacturer']} {each['Name']}", each["MemoryInfo"]["SizeInMiB"])
        for each in facts.get("GpuInfo", {}).get("Gpus", ())
        for _ in range(each["Count"])
    ]
    gpus = tuple(Gpu(number, "", name, size) for number, (name, size) in enumerate(names))
    return Shape(
        float(facts["VCpuInfo"]["DefaultVCpus"]), memory, gpus, _GPU_BOOTS if gpus else _BOOTS
    )
