"""Fake Auto Scaling: groups, their capacity, and what is told of them.

From the API reference, "Amazon EC2 Auto Scaling groups", "Suspend and resume processes" and "Launch
instances synchronously".
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from cloudfn.testing.aws.fleet import Fleet
from cloudfn.testing.aws.fleet_parts import Group, Instance, Offer, shown_group, shown_instance
from cloudfn.testing.aws.service import Answer, Refused, Request, Service

_PAGE = 50
_MOST_AT_ONCE = 100
_PROCESSES = frozenset(
    {
        "AZRebalance",
        "AddToLoadBalancer",
        "AlarmNotification",
        "HealthCheck",
        "InstanceRefresh",
        "Launch",
        "ReplaceUnhealthy",
        "ScheduledActions",
        "Terminate",
    }
)


class AutoScalingGroups(Service):
    """The groups of an account and region.

    Args:
        fleet: The machines.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
    """

    name = "autoscaling"

    def __init__(self, fleet: Fleet, random: Random, region: str, account: str) -> None:
        super().__init__(fleet.clock, random, region, account)
        self.fleet = fleet
        self.changed = fleet.changed
        self._launches: dict[str, tuple[str, Answer]] = {}

    def pass_time(self, now: float) -> None:
        self.fleet.pass_time(now)

    # ------------------------------------------------------------------------------------ groups

    def create_auto_scaling_group(self, request: Request) -> None:
        name = request["AutoScalingGroupName"]
        if name in self.fleet.groups:
            raise Refused("AlreadyExists", f"AutoScalingGroup by this name already exists: {name}")
        least, most = request["MinSize"], request["MaxSize"]
        desired = request.get("DesiredCapacity", least)
        _check_sizes(least, most, desired)
        zones = request.get("AvailabilityZones", [])
        if not zones and request.get("VPCZoneIdentifier"):
            subnets = request["VPCZoneIdentifier"].split(",")
            zones = [f"{self.region}{'abcdef'[n]}" for n in range(len(subnets))]
        if not zones:
            raise invalid("At least one Availability Zone or VPC Subnet is required.")
        template, offers = _offers(request)
        group = Group(
            name, least, most, desired, zones, offers, template, request.now,
            dict(request.params), _tags(request), "ami-0fake",
        )  # fmt: skip
        group.protects_new = request.get("NewInstancesProtectedFromScaleIn", False)
        group.rebalances_capacity = request.get("CapacityRebalance", False)
        self.fleet.groups[name] = group
        self.fleet.look_soon(group, request.now)

    def update_auto_scaling_group(self, request: Request) -> None:
        group = self.group(request)
        least, most = request.get("MinSize", group.least), request.get("MaxSize", group.most)
        desired = request.get("DesiredCapacity", min(max(group.desired, least), most))
        _check_sizes(least, most, desired)
        group.least, group.most, group.desired = least, most, desired
        group.protects_new = request.get("NewInstancesProtectedFromScaleIn", group.protects_new)
        group.raw.update(request.params)
        if {"LaunchTemplate", "MixedInstancesPolicy"} & set(request.params):
            group.template, group.offers = _offers(request)
        self.fleet.look_soon(group, request.now)

    def delete_auto_scaling_group(self, request: Request) -> None:
        group = self.group(request)
        if group.instances and not request.get("ForceDelete", False):
            raise Refused(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot"
                " instance request(s) still in the group.",
            )
        group.deleting, group.least, group.desired, group.warm = True, 0, 0, None
        for instance in list(group.instances.values()):
            self.fleet.end(group, instance, request.now, "the group is deleted")
        self.fleet.look_soon(group, request.now)

    def describe_auto_scaling_groups(self, request: Request) -> Answer:
        names = request.get("AutoScalingGroupNames", [])
        groups = [each for each in self.fleet.groups.values() if not names or each.name in names]
        return paged("AutoScalingGroups", [self._shown(each, request) for each in groups], request)

    def describe_auto_scaling_instances(self, request: Request) -> Answer:
        names = request.get("InstanceIds", [])
        if len(names) > _PAGE:
            raise invalid(f"The number of instance ids must be at most {_PAGE}.")
        found = [
            {**shown_instance(each), "AutoScalingGroupName": group.name}
            for group in self.fleet.groups.values()
            for each in group.instances.values()
            if not names or each.id in names
        ]
        for each in found:
            each["HealthStatus"] = str(each["HealthStatus"]).upper()
        return paged("AutoScalingInstances", found, request)

    def describe_scaling_activities(self, request: Request) -> Answer:
        wanted = request.get("AutoScalingGroupName")
        groups = [each for each in self.fleet.groups.values() if wanted in {None, each.name}]
        found = [activity for group in groups for activity in group.activities]
        return paged("Activities", found, request)

    def create_or_update_tags(self, request: Request) -> None:
        for tag in request["Tags"]:
            self.known(tag.get("ResourceId", "")).tags[tag["Key"]] = tag.get("Value", "")

    # ---------------------------------------------------------------------------------- capacity

    def set_desired_capacity(self, request: Request) -> None:
        group, wanted = self.group(request), request["DesiredCapacity"]
        if not group.least <= wanted <= group.most:
            side, bound = (
                ("above max", group.most) if wanted > group.most else ("below min", group.least)
            )
            raise invalid(
                f"New SetDesiredCapacity value {wanted} is {side} value {bound} for the"
                " AutoScalingGroup."
            )
        self.contend()
        group.desired = wanted
        self.fleet.look_soon(group, request.now)

    def launch_instances(self, request: Request) -> Answer:
        group, number = self.group(request), request["RequestedCapacity"]
        token, asked = request["ClientToken"], repr(sorted(request.params.items(), key=str))
        if token in self._launches:
            known, answer = self._launches[token]
            if known != asked:
                raise Refused("IdempotentParameterMismatch", "The token was used otherwise.")
            return answer
        zone = self._zone(group, request)
        if not 1 <= number <= _MOST_AT_ONCE:
            raise invalid(f"RequestedCapacity must be between 1 and {_MOST_AT_ONCE}.")
        if group.desired + number > group.most:
            raise invalid(f"The requested capacity would exceed the group's max size {group.most}.")
        if len({offer.market for offer in group.offers}) > 1:
            raise invalid("The group must be either On-Demand or Spot.")
        self.contend()
        made = self._launched(group, zone, number, request.now)
        group.desired += len(made)
        offer = group.offers[0]
        where = {"AvailabilityZone": zone, "InstanceType": offer.type, "MarketType": offer.market}
        errors = [
            {
                **where,
                "ErrorCode": "InsufficientInstanceCapacity",
                "ErrorMessage": f"We currently do not have sufficient {offer.type} capacity.",
            }
        ]
        if len(made) < number and request.get("RetryStrategy") == "retry-with-group-configuration":
            group.desired += number - len(made)
            self.fleet.look_soon(group, request.now)
        answer = {
            "AutoScalingGroupName": group.name,
            "ClientToken": token,
            "Instances": _by_offer(made),
            "Errors": errors if len(made) < number else [],
        }
        self._launches[token] = (asked, answer)
        return answer

    def _zone(self, group: Group, request: Request) -> str:
        named = request.get("AvailabilityZones", [])
        if len(named) > 1 or (not named and len(group.zones) > 1) or set(named) - set(group.zones):
            raise invalid("Exactly one Availability Zone of the group must be specified.")
        return str(named[0] if named else group.zones[0])

    def _launched(self, group: Group, zone: str, number: int, now: float) -> list[Instance]:
        made: list[Instance] = []
        for offer in group.offers:
            while len(made) < number and self.fleet.take(offer.type, zone):
                made.append(self.fleet.start(group, offer, zone, now))
        return made

    # -------------------------------------------------------------------------------- processes

    def suspend_processes(self, request: Request) -> None:
        self.group(request).suspended |= _processes(request)

    def resume_processes(self, request: Request) -> None:
        group = self.group(request)
        group.suspended -= _processes(request)
        self.fleet.look_soon(group, request.now)

    # ------------------------------------------------------------------------------------ parts

    def group(self, request: Request) -> Group:
        """Return the group of a request."""
        return self.known(request["AutoScalingGroupName"])

    def known(self, name: str) -> Group:
        """Return a group by its name."""
        if name not in self.fleet.groups:
            raise invalid(f"AutoScalingGroup name not found - AutoScalingGroup: {name} not found")
        return self.fleet.groups[name]

    def contend(self) -> None:
        """Meet another scaling activity, now and then."""
        if self.chance(self.fleet.knobs.contention):
            if self.chance(0.5):
                raise Refused("ResourceContention", "You already have a pending update.", 500)
            raise Refused("ScalingActivityInProgress", "A scaling activity is in progress.")

    def _shown(self, group: Group, request: Request) -> Answer:
        """Describe a group, maybe as it was a moment ago."""
        knobs = self.fleet.knobs
        at, old = group.shown or (0.0, {})
        if old and request.now - at < knobs.describe_lag and self.chance(knobs.stale):
            return old
        arn = self.arn(f"autoScalingGroup:0000:autoScalingGroupName/{group.name}")
        fresh = shown_group(group, arn)
        group.shown = (request.now, fresh)
        return fresh


def invalid(message: str) -> Refused:
    """Return Auto Scaling's refusal of a request."""
    return Refused("ValidationError", message)


def paged(name: str, found: list[Any], request: Request) -> Answer:
    """Return a page of a list."""
    start, limit = int(request.get("NextToken", "0")), request.get("MaxRecords", _PAGE)
    answer: Answer = {name: found[start : start + limit]}
    if start + limit < len(found):
        answer["NextToken"] = str(start + limit)
    return answer


def _check_sizes(least: int, most: int, desired: int) -> None:
    if least < 0 or most < least:
        raise invalid("Max bound, MaxSize, must be greater than or equal to min bound, MinSize")
    if not least <= desired <= most:
        raise invalid(
            f"Desired capacity:{desired} must be between the specified min size and max size"
        )


def _processes(request: Request) -> set[str]:
    wanted = set(request.get("ScalingProcesses", _PROCESSES))
    if unknown := wanted - _PROCESSES:
        raise invalid(f"Unknown scaling processes: {sorted(unknown)}")
    return wanted


def _tags(request: Request) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in request.get("Tags", [])}


def _offers(request: Request) -> tuple[Answer, list[Offer]]:
    """Return the launch template of a request, and the ways to get an instance."""
    mixed = request.get("MixedInstancesPolicy")
    if mixed is None:
        template = request.get("LaunchTemplate")
        if template is None:
            raise invalid(
                "Valid requests must contain either LaunchTemplate or MixedInstancesPolicy."
            )
        return dict(template), [Offer("t3.micro", "on-demand")]
    policy = mixed["LaunchTemplate"]
    types = [each["InstanceType"] for each in policy.get("Overrides", [])] or ["t3.micro"]
    share = mixed.get("InstancesDistribution", {}).get("OnDemandPercentageAboveBaseCapacity", 100)
    markets = {0: ["spot"], 100: ["on-demand"]}.get(share, ["on-demand", "spot"])
    offers = [Offer(kind, market) for market in markets for kind in types]
    return dict(policy["LaunchTemplateSpecification"]), offers


def _by_offer(made: Iterable[Instance]) -> list[Answer]:
    by_offer: dict[tuple[Offer, str], list[str]] = {}
    for each in made:
        by_offer.setdefault((each.offer, each.zone), []).append(each.id)
    return [
        {
            "InstanceType": offer.type,
            "MarketType": offer.market,
            "AvailabilityZone": zone,
            "InstanceIds": names,
        }
        for (offer, zone), names in by_offer.items()
    ]
