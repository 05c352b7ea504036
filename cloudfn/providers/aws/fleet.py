"""The fleet on EC2 Auto Scaling: one group for each machine class.

Groups never decide anything by themselves: what they want is changed here alone, by exactly what
was launched and ended. What Auto Scaling tells of its groups lags by seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import ceil
from threading import Lock
from typing import Any

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError, InvalidError, NotFoundError
from cloudfn.providers.aws.autoscaling import (
    ACTIVE,
    DESCRIBED,
    ENDED,
    LAUNCHED,
    AutoScaling,
    is_suspended,
    split,
    state_of,
)
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.outputs import Group
from cloudfn.providers.aws.shapes import Shapes
from cloudfn.providers.fleet import Grown, Instance, MachineClass

_log = logging.getLogger(__name__)

#: names of the hooks that Terraform makes
JOIN, DRAIN = "join", "drain"
#: so few are ended one by one, which any emulator knows
_FEW = 10
#: looks, and seconds between two, until a machine is where its hook waits
_WAITS, _PAUSE = 10, 2.0
#: answers that are remembered by their token
_TOKENS = 256
#: ids in one filter of EC2
_FILTERED = 200
#: seconds from asking to joining of a machine that was stopped, until experience says better
_WARM_BOOT = 45.0
#: dollars of a GiB of gp3 for an hour: a stopped machine costs its disk
_GIB_HOUR = 0.08 / 730


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
        page: int = DESCRIBED,
    ) -> None:
        self._clients = clients
        self._groups = groups
        self._clock = clock
        self._scaling = AutoScaling(clients, clock, page)
        self._shapes = Shapes(clients)
        self._launched: dict[str, float] = {}
        self._grown: dict[str, Grown] = {}
        #: groups that take no LaunchInstances
        self._without: set[str] = set()
        self._lock = Lock()

    def classes(self) -> list[MachineClass]:
        described = self._scaling.groups([each.group for each in self._groups.values()])
        found = []
        for name, group in self._groups.items():
            shape = self._shapes.smallest(group.instance_types)
            if shape is None:
                types = ", ".join(group.instance_types)
                _log.warning("the class %s is left out: EC2 has no %s here", name, types)
                continue
            facts = described.get(group.group)
            found.append(
                MachineClass(
                    name,
                    shape.cores,
                    shape.memory,
                    shape.gpus,
                    group.architecture,
                    _most(group, facts) if facts else 0,
                    group.spot,
                    warm_price=_warm_price(group, facts) if facts else None,
                    boot_seconds=_WARM_BOOT if _has_warm_pool(facts) else shape.boot_seconds,
                    no_growth=_no_growth(facts),
                    no_retiring=self._no_retiring(facts) if facts else "",
                )
            )
        return found

    def instances(self) -> list[Instance]:
        names = {group.group: name for name, group in self._groups.items()}
        groups = self._scaling.groups(list(names))
        found = [
            (names[group], each, state)
            for group, facts in groups.items()
            for each in (*facts["Instances"], *self._warmed(group, facts))
            if (state := state_of(each["LifecycleState"])) is not None
        ]
        # What EC2 says of one that was stopped or put aside is not when it began to serve.
        cold = {names[group] for group, facts in groups.items() if not _has_warm_pool(facts)}
        launched = self._launch_times([e["InstanceId"] for name, e, _ in found if name in cold])
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

    def _warmed(self, group: str, facts: Mapping[str, Any]) -> Sequence[Any]:
        return self._scaling.warmed(group) if _has_warm_pool(facts) else ()

    # Growing

    def grow(self, machine_class: str, count: int, token: str) -> Grown:
        if machine_class not in self._groups:
            raise NotFoundError(
                f"There is no machine class {machine_class!r}.",
                hint=f"There are: {', '.join(self._groups) or 'none'}.",
            )
        with self._lock:
            if token not in self._grown:
                self._grown[token] = self._grow(self._groups[machine_class], count, token)
                for old in list(self._grown)[:-_TOKENS]:
                    del self._grown[old]
            return self._grown[token]

    def _grow(self, group: Group, count: int, token: str) -> Grown:
        if count <= 0:
            return Grown(0)
        facts = self._scaling.groups([group.group]).get(group.group)
        if facts is None or _no_growth(facts):
            return Grown(0, refused=_no_growth(facts))
        # LaunchInstances makes new ones; a group that wants more takes those of its warm pool.
        if group.group not in self._without and not _has_warm_pool(facts):
            try:
                return self._launch(group, facts, count, token)
            except ConflictError:
                raise
            except InvalidError as error:
                if "max size" in error.message:
                    return self._launch_below_max(group, facts, count, token)
                _log.info("%s takes no LaunchInstances: %s", group.group, error.message)
                self._without.add(group.group)
        return self._want_more(group, facts, count)

    def _launch(self, group: Group, facts: Mapping[str, Any], count: int, token: str) -> Grown:
        """Launch machines zone by zone, each its share, and what one lacks in the next.

        The order of zones follows from the token, so that the same token asks the same.
        """
        zones = sorted(facts["AvailabilityZones"])
        start = int(_digest(token)[:8], 16) % len(zones)
        zones = zones[start:] + zones[:start]
        made: list[str] = []
        refusals: dict[str, str] = {}
        for number, zone in enumerate(zones):
            share = ceil((count - len(made)) / (len(zones) - number))
            made += self._launch_in(group, zone, share, f"{token} {zone}", refusals)
        for zone in zones:
            if len(made) < count and zone not in refusals:
                missing = count - len(made)
                made += self._launch_in(group, zone, missing, f"{token} {zone} again", refusals)
        said = ", ".join(dict.fromkeys(refusals.values()))
        return Grown(len(made), tuple(made), said if len(made) < count else "")

    def _launch_in(
        self, group: Group, zone: str, count: int, token: str, refusals: dict[str, str]
    ) -> list[str]:
        made: list[str] = []
        while len(made) < count and zone not in refusals:
            wanted = min(LAUNCHED, count - len(made))
            once = _digest(f"{token} {len(made)}")
            launched = self._scaling.launch(group.group, zone, wanted, once)
            made += launched.machine_ids
            if launched.refused:
                refusals[zone] = launched.refused
        return made

    def _launch_below_max(
        self, group: Group, facts: Mapping[str, Any], count: int, token: str
    ) -> Grown:
        room, said = _most(group, facts) - facts["DesiredCapacity"], _full(group, facts)
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

    def _want_more(self, group: Group, facts: Mapping[str, Any], count: int) -> Grown:
        """Raise what a group wants; what it could not get of that before is given up first."""
        desired = facts["DesiredCapacity"]
        active = sum(state_of(each["LifecycleState"]) in ACTIVE for each in facts["Instances"])
        if active < desired and (why := self._scaling.failure(group.group)):
            self._scaling.want(group.group, active)
            return Grown(0, refused=why)
        granted = max(0, min(count, _most(group, facts) - desired))
        if granted:
            self._scaling.want(group.group, desired + granted)
        return Grown(granted, refused=_full(group, facts) if granted < count else "")

    # Ending

    def retire(self, machine_ids: Sequence[str]) -> None:
        by_group: dict[str, list[str]] = {}
        for machine_id, place in self._scaling.memberships(machine_ids).items():
            if state_of(place.lifecycle) in ACTIVE:
                by_group.setdefault(place.group, []).append(machine_id)
        facts = self._scaling.groups(list(by_group))
        for group, ids in by_group.items():
            known = facts.get(group, {})
            # A group that wants fewer than there are ends some anyway: it wants no less for these.
            spare = max(0, known.get("DesiredCapacity", 0) - known.get("MinSize", 0))
            size = 1 if len(ids) <= _FEW else ENDED
            for some in split(ids[:spare], size):
                self._end(group, some, less=True)
            for some in split(ids[spare:], size):
                self._end(group, some, less=False)

    def _end(self, group: str, ids: Sequence[str], *, less: bool) -> None:
        try:
            self._scaling.end(group, ids, less=less)
        except ConflictError:
            raise
        except (InvalidError, NotFoundError):
            # Somebody else may have ended one of them meanwhile; the others' turn comes again.
            states = [state_of(e.lifecycle) for e in self._scaling.memberships(ids).values()]
            if len(states) == len(ids) and all(state in ACTIVE for state in states):
                raise

    # What agents say

    def prepared(self, machine_id: str) -> None:
        """See the port; waits until the machine is where the hook holds it."""
        for _ in range(_WAITS):
            place = self._scaling.memberships([machine_id]).get(machine_id)
            if place is not None and place.lifecycle == "Warmed:Pending:Wait":
                self._scaling.complete(place.group, JOIN, machine_id)
            elif place is not None and place.lifecycle != "Warmed:Pending":
                return
            self._clock.sleep(_PAUSE)
        raise ConflictError(
            f"Machine {machine_id} does not come into its warm pool.",
            hint="Look into the group's activity history.",
        )

    def joined(self, machine_id: str) -> None:
        """See the port; waits until the machine is where the hook holds it."""
        lifecycle = ""
        for _ in range(_WAITS):
            place = self._scaling.memberships([machine_id]).get(machine_id)
            lifecycle = place.lifecycle if place is not None else ""
            if place is not None and lifecycle == "Pending:Wait":
                self._scaling.complete(place.group, JOIN, machine_id)
            elif place is not None and lifecycle == "InService":
                if not place.protected:
                    self._scaling.protect(place.group, machine_id)
                return
            elif place is not None and not lifecycle.startswith(("Pending", "Warmed:")):
                return
            self._clock.sleep(_PAUSE)
        raise ConflictError(
            f"Machine {machine_id} is not in service: Auto Scaling says {lifecycle or 'nothing'}.",
            hint="Look into the group's activity history.",
        )

    def hold(self, machine_id: str) -> bool:
        place = self._scaling.memberships([machine_id]).get(machine_id)
        if place is None or place.lifecycle != "Terminating:Wait":
            return False
        return self._scaling.hold(place.group, DRAIN, machine_id)

    def drained(self, machine_id: str) -> None:
        place = self._scaling.memberships([machine_id]).get(machine_id)
        if place is not None and place.lifecycle == "Terminating:Wait":
            self._scaling.complete(place.group, DRAIN, machine_id)

    # What there is

    def _no_retiring(self, facts: Mapping[str, Any]) -> str:
        if is_suspended(facts, "Terminate"):
            return "its Terminate process is suspended"
        refreshing = self._scaling.is_refreshing(facts["AutoScalingGroupName"])
        return "an instance refresh is under way" if refreshing else ""

    def _launch_times(self, ids: Sequence[str]) -> Mapping[str, float]:
        """Return when instances were launched, as far as EC2 says so yet."""
        with self._lock:
            known = {each: self._launched[each] for each in ids if each in self._launched}
        for some in split([each for each in ids if each not in known], _FILTERED):
            # A filter, because ids that EC2 has not heard of yet would be an error.
            with explained("ec2", "DescribeInstances"):
                answer = self._clients.of("ec2").describe_instances(
                    Filters=[{"Name": "instance-id", "Values": some}]
                )
            for reservation in answer["Reservations"]:
                for each in reservation["Instances"]:
                    known[each["InstanceId"]] = each["LaunchTime"].timestamp()
        with self._lock:
            self._launched = known
        return known


def _no_growth(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return "its Auto Scaling Group is not there"
    if facts.get("Status"):
        return "its Auto Scaling Group is being deleted"
    return "its Launch process is suspended" if is_suspended(facts, "Launch") else ""


def _has_warm_pool(facts: Mapping[str, Any] | None) -> bool:
    return facts is not None and facts.get("WarmPoolConfiguration") is not None


def _warm_price(group: Group, facts: Mapping[str, Any]) -> float | None:
    """Return what a machine in a group's warm pool costs an hour; None: what any one does."""
    stopped = _has_warm_pool(facts) and facts["WarmPoolConfiguration"]["PoolState"] == "Stopped"
    return group.disk * _GIB_HOUR if stopped else None


def _most(group: Group, facts: Mapping[str, Any]) -> int:
    """Return how many machines a group may have, by Terraform's word and its own."""
    return min(group.max_machines, int(facts["MaxSize"]))


def _full(group: Group, facts: Mapping[str, Any]) -> str:
    return f"{group.group} may have {_most(group, facts)} machines"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
