"""Auto Scaling as moto has it, with what moto leaves out: hooks, boots, bounds, refused capacity.

moto answers; here is when an instance is in which state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

from moto.autoscaling import models
from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.ec2.models import ec2_backends

from cloudfn.clock import Clock
from cloudfn.rehearsal.lifecycle import (
    ACTIVE,
    ALIVE,
    Hook,
    Life,
    Phase,
    completed,
    ended,
    heard,
    passed,
)

#: seconds until a group whose launches fail tries again
_AGAIN = 15.0
_MOST_AT_ONCE = 100
_KEPT = 100


@dataclass(frozen=True, slots=True)
class Running:
    """An instance that has a machine."""

    instance_id: str
    group: str
    instance_type: str
    zone: str
    spot: bool
    phase: Phase
    user_data: str
    launched: float


class Groups:
    """All groups of one account and region, and when their instances are in which state.

    Args:
        account: Its number.
        region: Its name.
        boot_delay: Seconds from launch to a machine.
        clock: What time it is.
    """

    def __init__(self, account: str, region: str, boot_delay: float, clock: Clock) -> None:
        self._scaling = models.autoscaling_backends[account][region]
        self._ec2 = ec2_backends[account][region]
        self._boot_delay, self._clock = boot_delay, clock
        self.lock = RLock()
        self._lives: dict[str, Life] = {}
        #: how many more instances there are, by type; without an entry, any number
        self._free: dict[str, int] = {}
        self._tries_at: dict[str, float] = {}
        self._tokens: dict[str, tuple[str, dict[str, Any]]] = {}
        self._activities: dict[str, list[dict[str, Any]]] = {}

    # -------------------------------------------------------------------------- what a user does

    def limit(self, instance_type: str, number: int | None) -> None:
        """Let EC2 have so many more instances of a type; None: any number again."""
        with self.lock:
            self._free.pop(instance_type, None)
            if number is not None:
                self._free[instance_type] = number

    def disband(self, name: str) -> None:
        """A group is deleted, with all that it has."""
        with self.lock:
            for group in [each for each in self._groups() if each.name == name]:
                for state in list(group.instance_states):
                    self._bury(state.instance_id)

    def vanish(self, instance_id: str) -> None:
        """An instance is no more: by a Spot reclaim, a failure, or its own power-off."""
        with self.lock:
            group = self._group_with(instance_id)
            if group is not None:
                self._note(group, "Successful", f"Terminating EC2 instance: {instance_id}", "gone")
            self._bury(instance_id)

    # --------------------------------------------------------------------------------- each tick

    def tick(self) -> list[Running]:
        """Let time pass; return the instances that have machines now."""
        with self.lock:
            now = self._clock.wall()
            for group in self._groups():
                self._pass(group, now)
                self._chase(group, now)
            return [each for group in self._groups() for each in self._running(group)]

    def _pass(self, group: Any, now: float) -> None:
        hooks = self._hooks(group)
        for state in list(group.instance_states):
            life = self._lives.get(state.instance_id)
            if life is None:  # whoever made it: it has just been launched
                life = Life(Phase.PENDING, now)
            if state.instance.state == "terminated":
                life = Life(Phase.TERMINATED, now)
            self._live(state, passed(life, hooks, self._boot_delay, now))

    def _chase(self, group: Any, now: float) -> None:
        """Launch and end instances until there are as many as desired."""
        active = [each for each in group.instance_states if _phase(each) in ACTIVE]
        missing = (group.desired_capacity or 0) - len(active)
        suspended = {each["ProcessName"] for each in group.suspended_processes}
        if missing > 0 and "Launch" not in suspended and now >= self._tries_at.get(group.name, 0):
            made = self.launch(group, missing)
            if len(made) < missing:
                self._tries_at[group.name] = now + _AGAIN
                why = f"We currently do not have sufficient {_types(group)[0]} capacity."
                self._note(group, "Failed", "Launching a new EC2 instance", why)
        for state in [each for each in active if not each.protected_from_scale_in][
            : max(-missing, 0)
        ]:
            self.end(group, state.instance_id, "shrinking the capacity")

    # --------------------------------------------------------------------- what the service does

    def launch(self, group: Any, number: int) -> list[str]:
        """Launch at most so many instances; return their ids."""
        with self.lock:
            offer = next((each for each in _types(group) if self._free.get(each, 1) > 0), None)
            if offer is None:
                return []
            number = min(number, self._free.get(offer, number))
            if offer in self._free:
                self._free[offer] -= number
            before = {each.instance_id for each in group.instance_states}
            group.run(number)
            made = [each for each in group.instance_states if each.instance_id not in before]
            now = self._clock.wall()
            for state in made:
                state.instance.instance_type = state.instance_type = offer
                state.instance.lifecycle = "spot" if _is_spot(group) else None
                self._live(state, Life(Phase.PENDING, now))
                self._note(
                    group,
                    "Successful",
                    f"Launching a new EC2 instance: {state.instance_id}",
                    "growing",
                )
            return [each.instance_id for each in made]

    def end(self, group: Any, instance_id: str, why: str) -> None:
        """Take an instance away in order: its hook first."""
        with self.lock:
            state = self._state(instance_id)
            life = self._lives.get(instance_id) or Life(Phase.PENDING, self._clock.wall())
            self._note(group, "Successful", f"Terminating EC2 instance: {instance_id}", why)
            self._live(state, ended(life, self._hooks(group), self._clock.wall()))

    def complete(self, group: Any, instance_id: str, hook: str, result: str) -> None:
        """End the wait for a hook."""
        with self.lock:
            state, life = self._waiting(group, instance_id, hook)
            self._live(state, completed(life, result))

    def heartbeat(self, group: Any, instance_id: str, hook: str) -> None:
        """Let a hook wait anew."""
        with self.lock:
            state, life = self._waiting(group, instance_id, hook)
            self._live(state, heard(life, self._clock.wall()))

    def launch_by_token(self, group: Any, number: int, token: str) -> dict[str, Any]:
        """Answer LaunchInstances: the same for the same token."""
        with self.lock:
            asked = f"{group.name} {number}"
            if token in self._tokens:
                known, answer = self._tokens[token]
                if known != asked:
                    raise AutoscalingClientError("IdempotentParameterMismatch", "used otherwise")
                return answer
            if not 1 <= number <= _MOST_AT_ONCE:
                raise ValidationError(f"RequestedCapacity must be 1 to {_MOST_AT_ONCE}.")
            if group.desired_capacity + number > group.max_size:
                raise ValidationError("The requested capacity would exceed the group's max size.")
            made = self.launch(group, number)
            group.desired_capacity += len(made)
            states = [self._state(each) for each in made]
            market = "spot" if _is_spot(group) else "on-demand"
            where = {"AvailabilityZone": group.availability_zones[0], "MarketType": market}
            answer = {
                "AutoScalingGroupName": group.name,
                "ClientToken": token,
                "Instances": [
                    {
                        **where,
                        "InstanceType": each.instance_type,
                        "AvailabilityZone": each.availability_zone,
                        "InstanceIds": [each.instance_id],
                    }
                    for each in states
                ],
                "Errors": [],
            }
            if len(made) < number:
                offer = _types(group)[0]
                error = {
                    **where,
                    "InstanceType": offer,
                    "ErrorCode": "InsufficientInstanceCapacity",
                    "ErrorMessage": f"We currently do not have sufficient {offer} capacity.",
                }
                answer["Errors"] = [error]
            self._tokens[token] = (asked, answer)
            return answer

    def sizes(self) -> dict[str, dict[str, int]]:
        """Return of each group how many are wanted, at most allowed, and there."""
        with self.lock:
            return {
                each.name: {
                    "desired": each.desired_capacity or 0,
                    "max": each.max_size,
                    "instances": len(each.instance_states),
                }
                for each in self._groups()
            }

    def activities(self, name: str) -> list[dict[str, Any]]:
        """Return what a group did, the latest first."""
        return list(self._activities.get(name, ()))

    def group_of(self, instance_id: str) -> Any:
        """Return the group of an instance.

        Raises:
            ValidationError: It has none.
        """
        with self.lock:
            self._state(instance_id)
            return self._group_with(instance_id)

    def check_protectable(self, instance_id: str) -> None:
        """Refuse to protect an instance that does not serve."""
        with self.lock:
            if _phase(self._state(instance_id)) is not Phase.IN_SERVICE:
                raise ValidationError(
                    f"The instance {instance_id} is not in InService or EnteringStandby or Standby."
                )

    # ------------------------------------------------------------------------------------- parts

    def _groups(self) -> list[Any]:
        return list(self._scaling.autoscaling_groups.values())

    def _group_with(self, instance_id: str) -> Any:
        for group in self._groups():
            if any(each.instance_id == instance_id for each in group.instance_states):
                return group
        return None

    def _state(self, instance_id: str) -> Any:
        group = self._group_with(instance_id)
        if group is None:
            raise ValidationError(
                f"Instance Id not found - No managed instance found for {instance_id}"
            )
        return next(each for each in group.instance_states if each.instance_id == instance_id)

    def _waiting(self, group: Any, instance_id: str, hook: str) -> tuple[Any, Life]:
        life = self._lives.get(instance_id)
        here = any(each.instance_id == instance_id for each in group.instance_states)
        if not here or life is None or life.hook is None or life.hook.name != hook:
            raise ValidationError(
                f"No active Lifecycle Action found with instance ID {instance_id}"
            )
        return self._state(instance_id), life

    def _hooks(self, group: Any) -> Sequence[Hook]:
        return [
            Hook(
                each.name,
                str(each.lifecycle_transition),
                float(each.heartbeat_timeout),
                each.default_result,
            )
            for each in self._scaling.describe_lifecycle_hooks(group.name)
        ]

    def _live(self, state: Any, life: Life) -> None:
        self._lives[state.instance_id] = life
        state.lifecycle_state = str(life.phase)
        if state.instance.state != "terminated":
            booting = life.phase is Phase.PENDING
            state.instance._state.name = "pending" if booting else "running"  # noqa: SLF001 - moto knows no boot
            state.instance._state.code = 0 if booting else 16  # noqa: SLF001
        if life.phase is Phase.TERMINATED:
            self._bury(state.instance_id)

    def _bury(self, instance_id: str) -> None:
        self._lives.pop(instance_id, None)
        for group in self._groups():
            group.instance_states = [
                each for each in group.instance_states if each.instance_id != instance_id
            ]
        self._ec2.terminate_instances([instance_id])

    def _running(self, group: Any) -> Iterable[Running]:
        for state in group.instance_states:
            phase = _phase(state)
            if phase in ALIVE:
                yield Running(
                    instance_id=state.instance_id,
                    group=group.name,
                    instance_type=state.instance_type,
                    zone=state.availability_zone,
                    spot=state.instance.lifecycle == "spot",
                    phase=phase,
                    user_data=str(group.user_data or ""),
                    launched=self._lives[state.instance_id].launched,
                )

    def _note(self, group: Any, status: str, what: str, why: str) -> None:
        activity = models.Activity(what, why, group, status_code=status)
        shown = {
            "ActivityId": activity.activity_id,
            "AutoScalingGroupName": group.name,
            "Description": what,
            "Cause": why,
            "StartTime": activity.start_time,
            "EndTime": activity.end_time,
            "StatusCode": status,
            "StatusMessage": why if status == "Failed" else "",
            "Progress": 100,
        }
        kept = self._activities.setdefault(group.name, [])
        kept.insert(0, shown)
        del kept[_KEPT:]


def _phase(state: Any) -> Phase:
    return Phase(state.lifecycle_state)


def _types(group: Any) -> list[str]:
    """Return the types that a group may take, the preferred one first."""
    policy = (group.mixed_instances_policy or {}).get("LaunchTemplate", {})
    named = [each["InstanceType"] for each in policy.get("Overrides", []) if "InstanceType" in each]
    return named or [group.instance_type or "m7i.large"]


def _is_spot(group: Any) -> bool:
    spread = (group.mixed_instances_policy or {}).get("InstancesDistribution", {})
    return str(spread.get("OnDemandPercentageAboveBaseCapacity", 100)) == "0"
