"""The machines of a fake account: groups that chase their desired capacity, in their own time.

From "Amazon EC2 Auto Scaling instance lifecycle", "Amazon EC2 Auto Scaling lifecycle hooks",
"Control which Auto Scaling instances terminate during scale in", "Spot Instance interruption
notices" and "Use Capacity Rebalancing". `AutoScaling` and `Ec2` are the services in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from random import Random
from threading import Condition
from typing import Any

from cloudfn.testing.aws.fleet_parts import (
    LAUNCHING,
    LONGEST_WAIT,
    MOST_HEARTBEATS,
    TERMINATING,
    Group,
    Instance,
    Offer,
    Wait,
    as_time,
    out_of_balance,
    victim,
    zone_to_grow,
)
from cloudfn.testing.aws.knobs import FleetKnobs
from cloudfn.testing.clock import FakeClock

#: seconds of a Spot notice
_NOTICE = 120.0
#: seconds until a group whose launches fail tries again, at first and at most
_AGAIN = 15.0
_AT_MOST = 600.0
#: seconds for which a refresh waits for protected instances
_PATIENCE = 3600.0


class Fleet:
    """All groups and instances; what no API does to them, a test does here.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        knobs: How nasty.
    """

    def __init__(self, clock: FakeClock, random: Random, knobs: FleetKnobs) -> None:
        self.clock = clock
        self.random = random
        self.knobs = knobs
        self.changed = Condition()
        self.groups: dict[str, Group] = {}
        self.instances: dict[str, Instance] = {}
        self._capacity: dict[tuple[str, str], int] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count(1)

    # ------------------------------------------------------------------------- what a test does

    def limit(self, kind: str, zone: str, number: int) -> None:
        """Let EC2 have so many free instances of a type in a zone; without this it has any."""
        with self.changed:
            self._capacity[kind, zone] = number

    def reclaim(self, instance_id: str) -> None:
        """Let EC2 take a Spot instance back: a notice now, its end two minutes later."""
        with self.changed:
            now = self.clock.wall()
            self.pass_time(now)
            instance = self.instances[instance_id]
            instance.reclaimed_at = now + _NOTICE
            self.at(instance.reclaimed_at, lambda at: self.vanish(instance, at, "Spot reclaim"))

    def recommend(self, instance_id: str) -> None:
        """Let EC2 recommend to replace an instance; a group with Capacity Rebalancing does."""
        with self.changed:
            now = self.clock.wall()
            self.pass_time(now)
            instance = self.instances[instance_id]
            instance.recommended_at = now
            group = self.groups.get(instance.group or "")
            if group is not None and group.rebalances_capacity:
                group.extra += 1
                self.look_soon(group, now)
                self.at(now + _NOTICE, lambda at: self._replaced(group, instance, at))

    def _replaced(self, group: Group, instance: Instance, now: float) -> None:
        group.extra -= 1
        self.end(group, instance, now, "it was recommended to replace it")
        self.look_soon(group, now)

    def kill(self, instance_id: str) -> None:
        """Let a machine be gone, without a word."""
        with self.changed:
            now = self.clock.wall()
            self.pass_time(now)
            self.vanish(self.instances[instance_id], now, "hardware failure")

    def notices(self, instance_id: str) -> dict[str, Any]:
        """Return what the metadata service tells an instance of its end."""
        with self.changed:
            self.pass_time(self.clock.wall())
            instance = self.instances[instance_id]
            told: dict[str, Any] = {}
            if instance.reclaimed_at is not None:
                told["spot/instance-action"] = {
                    "action": "terminate",
                    "time": as_time(instance.reclaimed_at).strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            if instance.recommended_at is not None:
                told["events/recommendations/rebalance"] = {
                    "noticeTime": as_time(instance.recommended_at).strftime("%Y-%m-%dT%H:%M:%SZ")
                }
            group = self.groups.get(instance.group or "")
            if instance.state.startswith("Terminating"):
                told["autoscaling/target-lifecycle-state"] = "Terminated"
            elif instance.state.startswith("Warmed:") and group and group.warm:
                told["autoscaling/target-lifecycle-state"] = f"Warmed:{group.warm.state}"
            return told

    def running(self) -> list[str]:
        """Return the instances that bill."""
        with self.changed:
            self.pass_time(self.clock.wall())
            return [each.id for each in self.instances.values() if each.ec2 != "terminated"]

    # ------------------------------------------------------------------------------------- time

    def pass_time(self, now: float) -> None:
        """Do what has become due, each thing at its time."""
        while self._events and self._events[0][0] <= now:
            at, _, act = heappop(self._events)
            act(at)

    def at(self, when: float, act: Callable[[float], None]) -> None:
        """Do something at a time; it is told which."""
        heappush(self._events, (when, next(self._numbers), act))

    def look_soon(self, group: Group, now: float, seconds: float | None = None) -> None:
        """Let a group look at its desired capacity, as soon as groups do."""
        wait = self.random.uniform(0, self.knobs.reaction) if seconds is None else seconds
        when = now + wait
        if when < group.looks_at:
            group.looks_at = when
            self.at(when, lambda at: self._look_if_due(group, at))

    def _look_if_due(self, group: Group, now: float) -> None:
        if group.looks_at == now:
            group.looks_at = float("inf")
            self._look(group, now)

    def _look(self, group: Group, now: float) -> None:
        """Take the steps towards the desired capacity that are possible now."""
        missing = group.desired + group.extra - len(group.active)
        if missing > 0 and "Launch" not in group.suspended:
            self._grow(group, missing, now)
        elif missing < 0 and "Terminate" not in group.suspended:
            self._shrink(group, -missing, now)
        elif missing == 0:
            self._balance(group, now)
        self._fill_warm_pool(group, now)
        if group.refresh is not None:
            self._go_on_with_refresh(group, now)
        if group.deleting and not group.instances:
            self.groups.pop(group.name, None)

    def _grow(self, group: Group, number: int, now: float) -> None:
        for _ in range(number):
            if now < group.tries_at or not self._launch(group, now):
                return

    def _balance(self, group: Group, now: float) -> None:
        """Launch in the smallest zone what is ended in the largest, if there is room."""
        moved = out_of_balance(group) if self.knobs.rebalances else None
        if moved is None or "AZRebalance" in group.suspended:
            return
        zone = zone_to_grow(group)[0]
        offer = next((each for each in group.offers if self.take(each.type, zone)), None)
        if offer is not None:
            self.start(group, offer, zone, now)
            self.end(group, moved, now, "to balance the zones")

    def _shrink(self, group: Group, number: int, now: float) -> None:
        for _ in range(number):
            chosen = victim(group)
            if chosen is None:
                self.note(
                    group, now, "Failed", "Terminating EC2 instance",
                    "Could not scale to desired capacity because all remaining instances are"
                    " protected from scale-in.",
                )  # fmt: skip
                return
            self.end(group, chosen, now, "to reach the desired capacity")

    # ---------------------------------------------------------------------------------- launching

    def _launch(self, group: Group, now: float) -> bool:
        """Launch one instance where there is room, or note the failure and try again later."""
        ready = (e for e in group.warmed if not e.state.startswith("Warmed:Pending"))
        warm = next(ready, None)
        if warm is not None:
            warm.state, warm.ec2 = "Pending", "pending"
            self._boot(group, warm, now, 0.3)
            return True
        for offer in group.offers:
            for zone in zone_to_grow(group):
                if self.take(offer.type, zone):
                    instance = self.start(group, offer, zone, now)
                    self.note(
                        group,
                        now,
                        "Successful",
                        f"Launching a new EC2 instance: {instance.id}",
                        "to reach the capacity",
                    )
                    group.failures, group.tries_at = 0, 0.0
                    return True
        self._no_capacity(group, now)
        return False

    def _no_capacity(self, group: Group, now: float) -> None:
        offer, zone = group.offers[0], zone_to_grow(group)[0]
        self.note(
            group, now, "Failed", "Launching a new EC2 instance",
            f"Could not launch {offer.market} instances. InsufficientInstanceCapacity - We"
            f" currently do not have sufficient {offer.type} capacity in the Availability Zone you"
            " requested"
            f" ({zone}).",
        )  # fmt: skip
        group.failures += 1
        group.tries_at = now + min(_AT_MOST, _AGAIN * 2 ** (group.failures - 1))
        self.at(group.tries_at, lambda at: self._look(group, at))

    def take(self, kind: str, zone: str) -> bool:
        """Take one free instance of a type in a zone, if EC2 has one."""
        left = self._capacity.get((kind, zone))
        if left is None:
            return True
        self._capacity[kind, zone] = max(0, left - 1)
        return left > 0

    def start(
        self, group: Group, offer: Offer, zone: str, now: float, *, warm: bool = False
    ) -> Instance:
        """Make an instance; it boots."""
        name = f"i-{self.random.getrandbits(68):017x}"
        instance = Instance(name, offer, zone, group.image, now, group.name)
        instance.protected = group.protects_new
        instance.template = dict(group.template)
        instance.tags = {**group.tags, "aws:autoscaling:groupName": group.name}
        group.instances[name] = self.instances[name] = instance
        if warm:
            instance.state = "Warmed:Pending"
        self._boot(group, instance, now, 1.0)
        return instance

    def _boot(self, group: Group, instance: Instance, now: float, share: float) -> None:
        takes = self.random.uniform(*self.knobs.boot) * share
        self.at(now + takes, lambda at: self._booted(group, instance, at))

    def _booted(self, group: Group, instance: Instance, now: float) -> None:
        if instance.ec2 != "pending":
            return
        instance.ec2 = "running"
        if instance.state == "Warmed:Pending":
            if not self._wait(group, instance, LAUNCHING, now):
                self._put_aside(group, instance)
        elif instance.state == "Pending" and not self._wait(group, instance, LAUNCHING, now):
            self._serve(group, instance, now)

    def _put_aside(self, group: Group, instance: Instance) -> None:
        state = group.warm.state if group.warm else "Stopped"
        instance.state = f"Warmed:{state}"
        instance.ec2 = "running" if state == "Running" else "stopped"

    def _serve(self, group: Group, instance: Instance, now: float) -> None:
        instance.state = "InService"
        self.look_soon(group, now)

    def _fill_warm_pool(self, group: Group, now: float) -> None:
        if group.warm is None or "Launch" in group.suspended:
            return
        prepared = group.most if group.warm.prepared is None else group.warm.prepared
        wanted = max(group.warm.least, prepared - group.desired)
        for _ in range(wanted - len(group.warmed)):
            offer, zone = group.offers[0], zone_to_grow(group)[0]
            if not self.take(offer.type, zone):
                return
            self.start(group, offer, zone, now, warm=True)

    # -------------------------------------------------------------------------------------- hooks

    def _wait(self, group: Group, instance: Instance, transition: str, now: float) -> bool:
        """Let an instance wait for a hook, if there is one."""
        hook = group.hook_of(transition)
        if hook is None:
            return False
        warm = "Warmed:" if instance.state.startswith("Warmed:") else ""
        instance.state = f"{warm}Pending:Wait" if transition == LAUNCHING else "Terminating:Wait"
        token = f"{next(self._numbers):08x}-0000-4000-8000-000000000000"
        instance.wait = Wait(hook, token, now, now + hook.timeout)
        self.at(instance.wait.until, lambda at: self._time_out(group, instance, at))
        return True

    def heartbeat(self, group: Group, instance: Instance, now: float) -> None:
        """Let a hook wait anew, within its longest time."""
        wait = instance.wait
        if wait is not None:
            longest = min(LONGEST_WAIT, MOST_HEARTBEATS * wait.hook.timeout)
            wait.until = min(now + wait.hook.timeout, wait.begun_at + longest)
            self.at(wait.until, lambda at: self._time_out(group, instance, at))

    def _time_out(self, group: Group, instance: Instance, now: float) -> None:
        if instance.wait is not None and instance.wait.until <= now:
            self.complete(group, instance, instance.wait.hook.result, now)

    def complete(self, group: Group, instance: Instance, result: str, now: float) -> None:
        """Let an instance go on after its hook."""
        instance.wait = None
        if instance.state == "Terminating:Wait":
            self._shut_down(group, instance, now)
        elif result == "CONTINUE" and instance.state == "Warmed:Pending:Wait":
            self._put_aside(group, instance)
        elif result == "CONTINUE":
            self._serve(group, instance, now)
        else:
            self.note(
                group, now, "Cancelled", f"Launching a new EC2 instance: {instance.id}", "abandoned"
            )
            self._shut_down(group, instance, now)

    # --------------------------------------------------------------------------------------- ends

    def end(self, group: Group, instance: Instance, now: float, why: str) -> None:
        """End an instance in order: its hook first."""
        if instance.state.startswith("Terminating") or instance.id not in group.instances:
            return
        self.note(group, now, "Successful", f"Terminating EC2 instance: {instance.id}", why)
        instance.wait = None
        if not self._wait(group, instance, TERMINATING, now):
            self._shut_down(group, instance, now)

    def _shut_down(self, group: Group, instance: Instance, now: float) -> None:
        instance.state, instance.ec2 = "Terminating", "shutting-down"
        self.at(now + self.knobs.shutdown, lambda at: self.vanish(instance, at, "ended"))

    def vanish(self, instance: Instance, now: float, why: str) -> None:
        """Let an instance be no more; its group finds out, and replaces what it misses."""
        instance.ec2, instance.state, instance.wait = "terminated", "Terminated", None
        group = self.groups.get(instance.group or "")
        if group is None or instance.id not in group.instances:
            return
        del group.instances[instance.id]
        if why != "ended":
            text = f"{instance.id} was taken out of service after an EC2 health check: {why}."
            self.note(group, now, "Successful", f"Terminating EC2 instance: {instance.id}", text)
        self.look_soon(group, now)

    # ------------------------------------------------------------------------------------ refresh

    def _go_on_with_refresh(self, group: Group, now: float) -> None:
        """Replace one old instance at a time, as long as the others serve."""
        refresh = group.refresh
        assert refresh is not None
        old = [group.instances[name] for name in sorted(refresh.old & set(group.instances))]
        free = [each for each in old if not each.protected or refresh.protected == "Refresh"]
        if not free and old and refresh.protected == "Ignore":
            old = []
        if not old:
            refresh.status, refresh.ended_at = "Successful", now
        elif not free and now >= refresh.begun_at + _PATIENCE:
            refresh.status, refresh.ended_at = "Failed", now
            refresh.reason = "Instances stayed protected from scale-in for an hour."
        elif free and all(each.state == "InService" for each in group.active):
            self.end(group, free[0], now, "instance refresh")
        else:
            self.look_soon(group, now, max(self.knobs.reaction, 1.0))

    # ------------------------------------------------------------------------------------- words

    def note(self, group: Group, now: float, status: str, what: str, why: str) -> None:
        """Write a scaling activity down."""
        failed = {"StatusMessage": why} if status == "Failed" else {}
        cause = f"At {as_time(now):%Y-%m-%dT%H:%M:%SZ} {why}"
        group.activities.insert(
            0,
            {
                "ActivityId": f"activity-{next(self._numbers)}",
                "AutoScalingGroupName": group.name,
                "Description": what,
                "Cause": cause,
                "StartTime": as_time(now),
                "EndTime": as_time(now),
                "StatusCode": status,
                "Progress": 100,
                **failed,
            },
        )

    def of(self, names: Iterable[str]) -> list[Instance]:
        """Return instances by their ids, without those that are not known."""
        return [self.instances[name] for name in names if name in self.instances]
