"""Fake EC2: the instances of a fleet, as far as cloudfn asks for them.

From the API reference of DescribeInstances, DescribeInstanceTypes, TerminateInstances and
CreateTags, and "Eventual consistency in the Amazon EC2 API".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from random import Random

from cloudfn.testing.aws.fleet import Fleet
from cloudfn.testing.aws.fleet_parts import Instance, as_time
from cloudfn.testing.aws.service import Answer, Refused, Request, Service

_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopped": 80}
_ID = re.compile(r"i-[0-9a-f]{8,17}\Z")
_PAGE = 1_000
#: type → vCPUs, MiB, and GPUs: how many, name, MiB
_TYPES: Mapping[str, tuple[int, int, tuple[int, str, int] | None]] = {
    "t3.micro": (2, 1_024, None),
    "m7i.large": (2, 8_192, None),
    "m7i.xlarge": (4, 16_384, None),
    "m7g.large": (2, 8_192, None),
    "c7i.2xlarge": (8, 16_384, None),
    "g5.xlarge": (4, 16_384, (1, "A10G", 24_576)),
    "g6.xlarge": (4, 16_384, (1, "L4", 22_888)),
    "p5.48xlarge": (192, 2_097_152, (8, "H100", 81_920)),
}
_FILTERS: Mapping[str, Callable[[Instance], str | None]] = {
    "instance-id": lambda each: each.id,
    "instance-state-name": lambda each: each.ec2,
    "instance-type": lambda each: each.offer.type,
    "availability-zone": lambda each: each.zone,
    "instance-lifecycle": lambda each: "spot" if each.offer.market == "spot" else None,
}


class Ec2(Service):
    """The instances of an account and region.

    Args:
        fleet: The machines.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
    """

    name = "ec2"

    def __init__(self, fleet: Fleet, random: Random, region: str, account: str) -> None:
        super().__init__(fleet.clock, random, region, account)
        self._fleet = fleet
        self.changed = fleet.changed

    def pass_time(self, now: float) -> None:
        self._fleet.pass_time(now)

    def describe_instances(self, request: Request) -> Answer:
        names = request.get("InstanceIds", [])
        found = self._named(names, request) if names else self._visible(request)
        for each in request.get("Filters", []):
            found = [one for one in found if _passes(one, each["Name"], each["Values"])]
        start, limit = int(request.get("NextToken", "0")), request.get("MaxResults", _PAGE)
        page = found[start : start + limit]
        answer: Answer = {
            "Reservations": [
                {"ReservationId": f"r{each.id[1:]}", "Instances": [self._shown(each)]}
                for each in page
            ]
        }
        if start + limit < len(found):
            answer["NextToken"] = str(start + limit)
        return answer

    def describe_instance_types(self, request: Request) -> Answer:
        names = request.get("InstanceTypes", list(_TYPES))
        if unknown := [name for name in names if name not in _TYPES]:
            raise Refused(
                "InvalidInstanceType",
                f"The following supplied instance types do not exist: {unknown}",
            )
        for each in request.get("Filters", []):
            if each["Name"] != "instance-type":
                raise Refused("InvalidParameterValue", f"The filter '{each['Name']}' is invalid")
            # Without an error for those that do not exist.
            names = [name for name in names if name in each["Values"]]
        return {"InstanceTypes": [_facts(name) for name in dict.fromkeys(names)]}

    def terminate_instances(self, request: Request) -> Answer:
        found = self._named(request["InstanceIds"], request)
        changes = []
        for instance in found:
            before = instance.ec2
            self._fleet.vanish(instance, request.now, "terminated by a user")
            changes.append(
                {
                    "InstanceId": instance.id,
                    "PreviousState": {"Name": before, "Code": _CODES[before]},
                    "CurrentState": {"Name": "shutting-down", "Code": 32},
                }
            )
        return {"TerminatingInstances": changes}

    def create_tags(self, request: Request) -> None:
        for instance in self._named(request["Resources"], request):
            instance.tags.update({tag["Key"]: tag["Value"] for tag in request["Tags"]})

    def _named(self, names: list[str], request: Request) -> list[Instance]:
        for name in names:
            if not _ID.match(name):
                raise Refused("InvalidInstanceID.Malformed", f'Invalid id: "{name}"')
        seen = {each.id: each for each in self._visible(request)}
        if unknown := [name for name in names if name not in seen]:
            raise Refused(
                "InvalidInstanceID.NotFound",
                f"The instance IDs '{', '.join(unknown)}' do not exist",
            )
        return [seen[name] for name in names]

    def _visible(self, request: Request) -> list[Instance]:
        """Return the instances, but for some that were launched a moment ago."""
        knobs = self._fleet.knobs
        return [
            each
            for each in self._fleet.instances.values()
            if request.now - each.launched_at >= knobs.describe_lag or not self.chance(knobs.stale)
        ]

    def _shown(self, instance: Instance) -> Answer:
        return {
            "InstanceId": instance.id,
            "InstanceType": instance.offer.type,
            "ImageId": instance.image,
            "State": {"Name": instance.ec2, "Code": _CODES[instance.ec2]},
            "LaunchTime": as_time(instance.launched_at),
            "Placement": {"AvailabilityZone": instance.zone},
            "Tags": [{"Key": key, "Value": value} for key, value in instance.tags.items()],
            **({"InstanceLifecycle": "spot"} if instance.offer.market == "spot" else {}),
        }


def _facts(name: str) -> Answer:
    cores, memory, gpus = _TYPES[name]
    answer: Answer = {
        "InstanceType": name,
        "VCpuInfo": {"DefaultVCpus": cores},
        "MemoryInfo": {"SizeInMiB": memory},
    }
    if gpus is not None:
        count, kind, size = gpus
        device = {
            "Name": kind,
            "Manufacturer": "NVIDIA",
            "Count": count,
            "MemoryInfo": {"SizeInMiB": size},
        }
        answer["GpuInfo"] = {"Gpus": [device], "TotalGpuMemoryInMiB": count * size}
    return answer


def _passes(instance: Instance, name: str, values: list[str]) -> bool:
    if name.startswith("tag:"):
        return instance.tags.get(name.removeprefix("tag:")) in values
    if name == "tag-key":
        return bool(set(values) & set(instance.tags))
    if name not in _FILTERS:
        raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")
    return _FILTERS[name](instance) in values
