"""What a fake fleet is made of: groups, instances, hooks; and which of them to take. No clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cloudfn.testing.aws.service import Answer

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
#: a hook waits for at most 48 h, or 100 times its heartbeat
LONGEST_WAIT = 48 * 3600
MOST_HEARTBEATS = 100
#: lifecycle states of instances that count for the desired capacity
ACTIVE = frozenset({"Pending", "Pending:Wait", "Pending:Proceed", "InService"})


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to get an instance."""

    type: str
    #: "on-demand" or "spot"
    market: str


@dataclass(frozen=True, slots=True)
class Hook:
    """A lifecycle hook."""

    name: str
    transition: str
    timeout: int
    result: str
    raw: Mapping[str, Any]


@dataclass(slots=True)
class Wait:
    """What an instance waits for in Pending:Wait or Terminating:Wait."""

    hook: Hook
    token: str
    begun_at: float
    until: float


@dataclass(slots=True, eq=False)
class Instance:
    """One machine, from its launch to its end and a while longer."""

    id: str
    offer: Offer
    zone: str
    image: str
    launched_at: float
    #: of a group, or None
    group: str | None
    #: of Auto Scaling
    state: str = "Pending"
    #: of EC2
    ec2: str = "pending"
    protected: bool = False
    healthy: bool = True
    tags: dict[str, str] = field(default_factory=dict)
    template: Answer = field(default_factory=dict)
    wait: Wait | None = None
    #: when EC2 takes it back, and when it recommended to replace it
    reclaimed_at: float | None = None
    recommended_at: float | None = None


@dataclass(slots=True)
class Warm:
    """A warm pool's settings."""

    least: int
    prepared: int | None
    state: str

    @property
    def shown(self) -> Answer:
        """As descriptions have it."""
        most = {} if self.prepared is None else {"MaxGroupPreparedCapacity": self.prepared}
        return {"MinSize": self.least, "PoolState": self.state, **most}


@dataclass(slots=True)
class Refresh:
    """An instance refresh."""

    id: str
    begun_at: float
    old: set[str]
    status: str = "InProgress"
    reason: str = ""
    ended_at: float | None = None
    protected: str = "Wait"


@dataclass(slots=True)
class Group:
    """An Auto Scaling Group."""

    name: str
    least: int
    most: int
    desired: int
    zones: list[str]
    offers: list[Offer]
    template: Answer
    created_at: float
    raw: dict[str, Any]
    tags: dict[str, str]
    image: str
    protects_new: bool = False
    rebalances_capacity: bool = False
    suspended: set[str] = field(default_factory=set)
    hooks: dict[str, Hook] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    activities: list[Answer] = field(default_factory=list)
    warm: Warm | None = None
    refreshes: list[Refresh] = field(default_factory=list)
    deleting: bool = False
    #: failed launches in a row, and when the next one is tried
    failures: int = 0
    tries_at: float = 0.0
    #: replacements beyond the desired capacity, while what they replace still serves
    extra: int = 0
    #: when it looks at itself next
    looks_at: float = float("inf")
    #: what a description says, and since when
    shown: tuple[float, Answer] | None = None

    @property
    def active(self) -> list[Instance]:
        """Instances that count for the desired capacity."""
        return [each for each in self.instances.values() if each.state in ACTIVE]

    @property
    def warmed(self) -> list[Instance]:
        """Instances of the warm pool."""
        return [each for each in self.instances.values() if each.state.startswith("Warmed:")]

    @property
    def refresh(self) -> Refresh | None:
        """The instance refresh that goes on."""
        going = (each for each in self.refreshes if each.status == "InProgress")
        return next(going, None)

    def hook_of(self, transition: str) -> Hook | None:
        """Return the hook of a transition; the fake runs one of each."""
        return next((each for each in self.hooks.values() if each.transition == transition), None)


def as_time(at: float) -> datetime:
    """Return a time as answers have it."""
    return datetime.fromtimestamp(at, UTC)


def shown_instance(instance: Instance) -> Answer:
    """Return an instance as it is in the description of its group."""
    return {
        "InstanceId": instance.id,
        "InstanceType": instance.offer.type,
        "AvailabilityZone": instance.zone,
        "LifecycleState": instance.state,
        "HealthStatus": "Healthy" if instance.healthy else "Unhealthy",
        "ProtectedFromScaleIn": instance.protected,
        **({"LaunchTemplate": instance.template} if instance.template else {}),
    }


def shown_group(group: Group, arn: str) -> Answer:
    """Return the description of a group."""
    kept = ("MixedInstancesPolicy", "LaunchTemplate", "VPCZoneIdentifier", "CapacityRebalance")
    return {
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": arn,
        **{name: group.raw[name] for name in kept if name in group.raw},
        "MinSize": group.least,
        "MaxSize": group.most,
        "DesiredCapacity": group.desired,
        "DefaultCooldown": 300,
        "AvailabilityZones": list(group.zones),
        "HealthCheckType": "EC2",
        "HealthCheckGracePeriod": 0,
        "CreatedTime": as_time(group.created_at),
        "NewInstancesProtectedFromScaleIn": group.protects_new,
        "SuspendedProcesses": [
            {"ProcessName": name, "SuspensionReason": "User suspended"}
            for name in sorted(group.suspended)
        ],
        "Instances": [
            shown_instance(each)
            for each in group.instances.values()
            if not each.state.startswith("Warmed:")
        ],
        "Tags": [
            {
                "Key": key,
                "Value": value,
                "ResourceId": group.name,
                "ResourceType": "auto-scaling-group",
                "PropagateAtLaunch": True,
            }
            for key, value in group.tags.items()
        ],
        **(
            {"WarmPoolSize": len(group.warmed), "WarmPoolConfiguration": group.warm.shown}
            if group.warm
            else {}
        ),
        **({"Status": "Delete in progress"} if group.deleting else {}),
    }


def shown_refresh(group: Group, refresh: Refresh) -> Answer:
    """Return an instance refresh as it is described."""
    left = len(refresh.old & set(group.instances))
    done = len(refresh.old) - left
    return {
        "InstanceRefreshId": refresh.id,
        "AutoScalingGroupName": group.name,
        "Status": refresh.status,
        "StartTime": as_time(refresh.begun_at),
        "PercentageComplete": 100 * done // max(1, len(refresh.old)),
        "InstancesToUpdate": left,
        **({"StatusReason": refresh.reason} if refresh.reason else {}),
        **({"EndTime": as_time(refresh.ended_at)} if refresh.ended_at is not None else {}),
    }


def zone_to_grow(group: Group) -> list[str]:
    """Return the zones of a group, the one with the fewest instances first."""
    return sorted(group.zones, key=lambda zone: sum(each.zone == zone for each in group.active))


def victim(group: Group) -> Instance | None:
    """Return what a scale-in ends: of the fullest zone the oldest that is not protected."""
    open_to = [each for each in group.active if not each.protected]
    if not open_to:
        return None
    zones = [each.zone for each in group.active]
    return min(open_to, key=lambda each: (-zones.count(each.zone), each.launched_at, each.id))


def out_of_balance(group: Group) -> Instance | None:
    """Return what a rebalance of the zones ends: zones differ by more than one."""
    counts = {zone: sum(each.zone == zone for each in group.active) for zone in group.zones}
    if not counts or max(counts.values()) - min(counts.values()) < 2:
        return None
    fullest = max(counts, key=lambda zone: counts[zone])
    candidates = [
        each
        for each in group.active
        if each.zone == fullest and not each.protected and each.state == "InService"
    ]
    return min(candidates, key=lambda each: each.launched_at, default=None)
