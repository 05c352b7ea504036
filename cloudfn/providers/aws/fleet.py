"""The fleet on EC2 Auto Scaling: one group for each machine class.

Groups never decide anything by themselves: what they want is changed here alone, by exactly what
was launched and ended. What Auto Scaling tells of its groups lags by seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from math import ceil
from threading import Lock
from typing import Any, NamedTuple

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError, InvalidError, NotFoundError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.codes import Kind
from cloudfn.providers.aws.errors import explained, kind
from cloudfn.providers.aws.outputs import Group
from cloudfn.providers.aws.retries import conflicts
from cloudfn.providers.aws.shapes import Shapes
from cloudfn.providers.fleet import Grown, Instance, InstanceState, MachineClass

_log = logging.getLogger(__name__)

#: names of the hooks that Terraform makes
JOIN, DRAIN = "join", "drain"
_AUTO_SCALING = "autoscaling"
#: of one request, as Auto Scaling allows
_LAUNCHED, _ENDED, _PROTECTED, _DESCRIBED = 100, 100, 50, 50
#: so few are ended one by one, which any emulator knows
_FEW = 10
#: tries of what meets another scaling activity; the planner comes again anyway
_TRIES = 4
#: tries, and seconds between two, until a machine is where its hook waits
_WAITS, _PAUSE = 10, 2.0
_TOKENS = 256
_REFRESHING = frozenset({"Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"})
#: what says that there is no such operation, by services and by emulators
_UNKNOWN_OPERATION = frozenset(
    {"InvalidAction", "UnknownOperationException", "UnsupportedOperation", "NotImplemented", "501"}
)


class _Place(NamedTuple):
    """Where an instance is in Auto Scaling."""

    group: str
    state: str
    protected: bool


class AutoScalingFleet:
    """The `Fleet` port on Auto Scaling Groups.

    Args:
        clients: Where the clients of Auto Scaling and EC2 come from.
        groups: Machine classes by name.
        clock: Waits between two tries.
        page: Entries of one answer.
    """

    def __init__(
        self,
        clients: ClientSource,
        groups: Mapping[str, Group],
        clock: Clock,
        *,
        page: int = _DESCRIBED,
    ) -> None:
        self._clients = clients
        self._groups = groups
        self._clock = clock
        self._page = page
        self._shapes = Shapes(clients)
        self._launched: dict[str, float] = {}
        self._grown: dict[str, Grown] = {}
        #: LaunchInstances is not there, or not for this group
        self._without: set[str] = set()
        self._lock = Lock()

    def classes(self) -> list[MachineClass]:
        described = self._described([each.group for each in self._groups.values()])
        found = []
        for name, group in self._groups.items():
            shape = self._shapes.smallest(group.instance_types)
            facts = described.get(group.group)
            found.append(
                MachineClass(
                    name,
                    shape.cores,
                    shape.memory,
                    shape.gpus,
                    group.architecture,
                    min(group.max_machines, facts["MaxSize"]) if facts else 0,
                    group.spot,
                    boot_seconds=shape.boot_seconds,
                    no_growth=_no_growth(facts),
                    no_retiring=self._no_retiring(facts) if facts else "",
                )
            )
        return found

    def instances(self) -> list[Instance]:
        described = self._described([each.group for each in self._groups.values()])
        names = {group.group: name for name, group in self._groups.items()}
        found = [
            (names[group], each, state)
            for group, facts in described.items()
            for each in facts["Instances"]
            if (state := _state(each["LifecycleState"])) is not None
        ]
        launched = self._launch_times([each["InstanceId"] for _, each, _ in found])
        return [
            Instance(
                each["InstanceId"],
                name,
                state,
                each["AvailabilityZone"],
                launched.get(each["InstanceId"]),
            )
            for name, each, state in found
        ]

    # Growing

    def grow(self, machine_class: str, count: int, token: str) -> Grown:
        if machine_class not in self._groups:
            raise NotFoundError(
                f"There is no machine class {machine_class!r}.",
                hint=f"There are: {', '.join(self._groups) or 'none'}.",
            )
        with self._lock:
            if token not in self._grown:
                grown = self._grow(self._groups[machine_class], count, token)
                self._grown[token] = grown
                for old in list(self._grown)[:-_TOKENS]:
                    del self._grown[old]
            return self._grown[token]

    def _grow(self, group: Group, count: int, token: str) -> Grown:
        facts = self._described([group.group]).get(group.group) if count > 0 else None
        if facts is None or _no_growth(facts):
            return Grown(0, refused=_no_growth(facts) if count > 0 else "")
        if group.group not in self._without:
            try:
                return self._launch(group, facts, count, token)
            except ConflictError:
                raise
            except InvalidError as error:
                if "max size" in str(error):
                    return self._launch_below_max(group, facts, count, token)
                _log.info("%s takes no LaunchInstances: %s", group.group, error)
                self._without.add(group.group)
        return self._want_more(group, facts, count)

    def _launch_below_max(
        self, group: Group, facts: Mapping[str, Any], count: int, token: str
    ) -> Grown:
        most = min(group.max_machines, facts["MaxSize"])
        room = max(0, most - facts["DesiredCapacity"])
        said = f"{group.group} may have {most} machines"
        if not 0 < room < count:
            return Grown(0, refused=said)
        try:
            launched = self._launch(group, facts, room, f"{token} below max")
        except ConflictError:
            raise
        except InvalidError:
            # What the group wants is more than it said a moment ago.
            return Grown(0, refused=said)
        return launched._replace(refused=launched.refused or said)

    def _launch(self, group: Group, facts: Mapping[str, Any], count: int, token: str) -> Grown:
        """Launch machines zone by zone, each with its share, and what one lacks in the next."""
        zones, start = sorted(facts["AvailabilityZones"]), int(_digest(token)[:8], 16)
        zones = [zones[(start + number) % len(zones)] for number in range(len(zones))]
        made: list[str] = []
        errors: dict[str, str] = {}
        for number, zone in enumerate(zones):
            share = ceil((count - len(made)) / (len(zones) - number))
            got = self._launch_in(group, zone, share, f"{token} {zone}", errors)
            made += got
        for zone in zones:
            # Whatever some zone lacked, another may have.
            if len(made) < count and zone not in errors:
                more = self._launch_in(group, zone, count - len(made), f"{token} {zone} 2", errors)
                made += more
        return Grown(len(made), tuple(made), _said(errors) if len(made) < count else "")

    def _launch_in(
        self, group: Group, zone: str, count: int, token: str, errors: dict[str, str]
    ) -> list[str]:
        made: list[str] = []
        while len(made) < count:
            wanted = min(_LAUNCHED, count - len(made))
            answer = self._launch_once(group, zone, wanted, _digest(f"{token} {len(made)}"))
            got = [each for some in answer["Instances"] for each in some["InstanceIds"]]
            made += got
            for each in answer.get("Errors", ()):
                errors[zone] = str(each.get("ErrorCode") or each.get("ErrorMessage"))
            if len(got) < wanted:
                errors.setdefault(zone, "fewer machines than asked for")
                break
        return made

    def _launch_once(self, group: Group, zone: str, count: int, token: str) -> Any:
        client = self._clients.of(_AUTO_SCALING)
        if not hasattr(client, "launch_instances"):
            raise InvalidError("This boto3 does not know LaunchInstances.")
        with explained(_AUTO_SCALING, "LaunchInstances", group.group):
            try:
                return conflicts(self._clock, _TRIES)(
                    client.launch_instances,
                    AutoScalingGroupName=group.group,
                    RequestedCapacity=count,
                    ClientToken=token,
                    AvailabilityZones=[zone],
                    RetryStrategy="none",
                )
            except Exception as error:
                if kind(error) is Kind.CAPACITY:
                    code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
                    return {"Instances": [], "Errors": [{"ErrorCode": code}]}
                if _is_unknown_operation(error):
                    raise InvalidError("There is no LaunchInstances here.") from error
                raise

    def _want_more(self, group: Group, facts: Mapping[str, Any], count: int) -> Grown:
        """Raise what a group wants; what it could not get of that before is given up first."""
        desired = facts["DesiredCapacity"]
        active = sum(_state(e["LifecycleState"]) in _ACTIVE for e in facts["Instances"])
        if active < desired and (why := self._failure(group)):
            self._want(group, active)
            return Grown(0, refused=why)
        most = min(group.max_machines, facts["MaxSize"])
        granted = max(0, min(count, most - desired))
        if granted:
            self._want(group, desired + granted)
        short = f"{group.group} may have {most} machines" if granted < count else ""
        return Grown(granted, refused=short)

    def _want(self, group: Group, number: int) -> None:
        with explained(_AUTO_SCALING, "SetDesiredCapacity", group.group):
            conflicts(self._clock, _TRIES)(
                self._clients.of(_AUTO_SCALING).set_desired_capacity,
                AutoScalingGroupName=group.group,
                DesiredCapacity=number,
                HonorCooldown=False,
            )

    def _failure(self, group: Group) -> str:
        """Return why the group's last launch failed; empty if it did not."""
        with explained(_AUTO_SCALING, "DescribeScalingActivities", group.group):
            answer = self._clients.of(_AUTO_SCALING).describe_scaling_activities(
                AutoScalingGroupName=group.group, MaxRecords=10
            )
        for each in answer["Activities"]:
            if each["Description"].startswith("Launching"):
                failed = each["StatusCode"] in {"Failed", "Cancelled"}
                return str(each.get("StatusMessage", "a launch failed")) if failed else ""
        return ""

    # Ending

    def retire(self, machine_ids: Sequence[str]) -> None:
        by_group: dict[str, list[str]] = {}
        for machine_id, place in self._places(machine_ids).items():
            if _state(place.state) in _ACTIVE:
                by_group.setdefault(place.group, []).append(machine_id)
        for group, ids in by_group.items():
            facts = self._described([group]).get(group, {})
            # A group that wants fewer than there are already ends them without wanting less.
            spare = max(0, facts.get("DesiredCapacity", 0) - facts.get("MinSize", 0))
            size = 1 if len(ids) <= _FEW else _ENDED
            for some in _split(ids[:spare], size):
                self._end(group, some, less=True)
            for some in _split(ids[spare:], size):
                self._end(group, some, less=False)

    def _end(self, group: str, ids: Sequence[str], *, less: bool) -> None:
        which: dict[str, Any] = {"InstanceId": ids[0]}
        if len(ids) > 1:
            which = {"InstanceIds": list(ids), "AutoScalingGroupName": group}
        try:
            with explained(_AUTO_SCALING, "TerminateInstanceInAutoScalingGroup", group):
                conflicts(self._clock, _TRIES)(
                    self._clients.of(_AUTO_SCALING).terminate_instance_in_auto_scaling_group,
                    ShouldDecrementDesiredCapacity=less,
                    **which,
                )
        except ConflictError:
            raise
        except (InvalidError, NotFoundError):
            # Somebody else may have ended one of them meanwhile.
            places = self._places(ids)
            if all(_state(each.state) in _ACTIVE for each in places.values()) and places:
                raise

    def joined(self, machine_id: str) -> None:
        """See the port; waits until the machine is where the hook holds it."""
        state = ""
        for _ in range(_WAITS):
            place = self._places([machine_id]).get(machine_id)
            state = place.state if place else ""
            if place is not None and state == "Pending:Wait":
                self._complete(place.group, JOIN, machine_id)
            elif place is not None and state == "InService":
                if not place.protected:
                    self._protect(place.group, machine_id)
                return
            elif place is not None and state not in {"Pending", "Pending:Proceed"}:
                return
            self._clock.sleep(_PAUSE)
        raise ConflictError(
            f"Machine {machine_id} is not in service: Auto Scaling says {state or 'nothing'}.",
            hint="Look into the group's activity history.",
        )

    def drained(self, machine_id: str) -> None:
        place = self._places([machine_id]).get(machine_id)
        if place is not None and place.state == "Terminating:Wait":
            self._complete(place.group, DRAIN, machine_id)

    def _complete(self, group: str, hook: str, machine_id: str) -> None:
        try:
            with explained(_AUTO_SCALING, "CompleteLifecycleAction", group):
                conflicts(self._clock, _TRIES)(
                    self._clients.of(_AUTO_SCALING).complete_lifecycle_action,
                    AutoScalingGroupName=group,
                    LifecycleHookName=hook,
                    InstanceId=machine_id,
                    LifecycleActionResult="CONTINUE",
                )
        except ConflictError:
            raise
        except (InvalidError, NotFoundError) as error:
            _log.info("%s waits for no %s: %s", machine_id, hook, error)

    def _protect(self, group: str, machine_id: str) -> None:
        with explained(_AUTO_SCALING, "SetInstanceProtection", group):
            conflicts(self._clock, _TRIES)(
                self._clients.of(_AUTO_SCALING).set_instance_protection,
                AutoScalingGroupName=group,
                InstanceIds=[machine_id],
                ProtectedFromScaleIn=True,
            )

    # What there is

    def _described(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what Auto Scaling says of groups, by their names."""
        found: dict[str, Any] = {}
        for some in _split(names, _DESCRIBED):
            for answer in self._pages("describe_auto_scaling_groups", AutoScalingGroupNames=some):
                groups = answer["AutoScalingGroups"]
                found |= {each["AutoScalingGroupName"]: each for each in groups}
        return found

    def _places(self, ids: Sequence[str]) -> dict[str, _Place]:
        found: dict[str, _Place] = {}
        for some in _split(list(dict.fromkeys(ids)), _DESCRIBED):
            for answer in self._pages("describe_auto_scaling_instances", InstanceIds=some):
                for each in answer["AutoScalingInstances"]:
                    found[each["InstanceId"]] = _Place(
                        each["AutoScalingGroupName"],
                        each["LifecycleState"],
                        each["ProtectedFromScaleIn"],
                    )
        return found

    def _no_retiring(self, facts: Mapping[str, Any]) -> str:
        name = facts["AutoScalingGroupName"]
        if _is_suspended(facts, "Terminate"):
            return "its Terminate process is suspended"
        with explained(_AUTO_SCALING, "DescribeInstanceRefreshes", name):
            answer = self._clients.of(_AUTO_SCALING).describe_instance_refreshes(
                AutoScalingGroupName=name, MaxRecords=1
            )
        going = any(each["Status"] in _REFRESHING for each in answer["InstanceRefreshes"])
        return "an instance refresh is under way" if going else ""

    def _launch_times(self, ids: Sequence[str]) -> Mapping[str, float]:
        """Return when instances were launched, as far as EC2 says so yet."""
        with self._lock:
            known = {each: self._launched[each] for each in ids if each in self._launched}
        unknown = [each for each in ids if each not in known]
        for some in _split(unknown, 200):
            # A filter, because ids that EC2 has not heard of yet would be an error.
            with explained("ec2", "DescribeInstances"):
                answer = self._clients.of("ec2").describe_instances(
                    Filters=[{"Name": "instance-id", "Values": list(some)}]
                )
            for reservation in answer["Reservations"]:
                for each in reservation["Instances"]:
                    known[each["InstanceId"]] = each["LaunchTime"].timestamp()
        with self._lock:
            self._launched = known
        return known

    def _pages(self, operation: str, **params: Any) -> Iterator[Any]:
        client = self._clients.of(_AUTO_SCALING)
        method = getattr(client, operation)
        with explained(_AUTO_SCALING, operation):
            answer = method(MaxRecords=self._page, **params)
        yield answer
        while token := answer.get("NextToken"):
            with explained(_AUTO_SCALING, operation):
                answer = method(MaxRecords=self._page, NextToken=token, **params)
            yield answer


_ACTIVE = frozenset({InstanceState.PENDING, InstanceState.IN_SERVICE})


def _state(lifecycle: str) -> InstanceState | None:
    """Return what a lifecycle state means; None: it is not there, as those of warm pools."""
    if lifecycle.startswith("Pending"):
        return InstanceState.PENDING
    if lifecycle in {"InService", "EnteringStandby", "Standby"}:
        return InstanceState.IN_SERVICE
    if lifecycle.startswith(("Terminating", "Detaching")):
        return InstanceState.ENDING
    return None


def _no_growth(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return "its Auto Scaling Group is not there"
    if facts.get("Status"):
        return "its Auto Scaling Group is being deleted"
    return "its Launch process is suspended" if _is_suspended(facts, "Launch") else ""


def _is_suspended(facts: Mapping[str, Any], process: str) -> bool:
    return any(each["ProcessName"] == process for each in facts.get("SuspendedProcesses", ()))


def _is_unknown_operation(error: Exception) -> bool:
    response = getattr(error, "response", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == 501 or response.get("Error", {}).get("Code") in _UNKNOWN_OPERATION


def _said(errors: Mapping[str, str]) -> str:
    """Return the reasons of all zones, each once."""
    return ", ".join(dict.fromkeys(errors.values()))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _split(values: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
