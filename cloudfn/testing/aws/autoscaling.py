"""Fake Auto Scaling: single instances, lifecycle hooks, instance refresh, warm pools.

From the API reference, "Amazon EC2 Auto Scaling lifecycle hooks", "Use instance scale-in
protection", "Use an instance refresh" and "Warm pools for Amazon EC2 Auto Scaling".
"""

from __future__ import annotations

from cloudfn.testing.aws.autoscaling_groups import AutoScalingGroups, invalid, paged
from cloudfn.testing.aws.fleet_parts import (
    LAUNCHING,
    TERMINATING,
    Group,
    Hook,
    Instance,
    Refresh,
    Warm,
    shown_instance,
    shown_refresh,
)
from cloudfn.testing.aws.service import Answer, Refused, Request

_MOST_PROTECTED = 50
_MOST_ENDED = 100


class AutoScaling(AutoScalingGroups):
    """All of the service; made like `AutoScalingGroups`."""

    # --------------------------------------------------------------------------------- instances

    def set_instance_protection(self, request: Request) -> None:
        group, names = self.group(request), request["InstanceIds"]
        if len(names) > _MOST_PROTECTED:
            raise invalid(f"The number of instance ids must be at most {_MOST_PROTECTED}.")
        for instance in [_managed(group, name) for name in names]:
            if instance.state != "InService":
                raise invalid(
                    f"The instance {instance.id} is not in InService or EnteringStandby or Standby."
                )
            instance.protected = request["ProtectedFromScaleIn"]
        self.fleet.look_soon(group, request.now)

    def terminate_instance_in_auto_scaling_group(self, request: Request) -> Answer:
        single = [request["InstanceId"]] if "InstanceId" in request.params else []
        names = request.get("InstanceIds", single)
        if not 1 <= len(names) <= _MOST_ENDED:
            raise invalid(f"Between 1 and {_MOST_ENDED} instance ids are required.")
        if not single and "AutoScalingGroupName" not in request.params:
            raise invalid("AutoScalingGroupName is required with InstanceIds.")
        group = self._group_of(names[0], request.get("AutoScalingGroupName"))
        instances = [_managed(group, name) for name in names]
        less = len(names) if request["ShouldDecrementDesiredCapacity"] else 0
        if less and group.desired - less < group.least:
            raise invalid(
                f"Currently, desiredSize equals minSize ({group.least}). Terminating instance"
                " without replacement will violate group's min size constraint. Either set"
                " shouldDecrementDesiredCapacity flag to false or lower group's min size."
            )
        self.contend()
        group.desired -= less
        for instance in instances:
            self.fleet.end(group, instance, request.now, "at a user's request")
        self.fleet.look_soon(group, request.now)
        activities = [
            {**each, "StatusCode": "InProgress"} for each in group.activities[: len(names)]
        ]
        for each in activities:
            each.pop("EndTime", None)
        return {"Activity": activities[0]} if single else {"Activities": activities}

    def set_instance_health(self, request: Request) -> None:
        group = self._group_of(request["InstanceId"], None)
        instance = group.instances[request["InstanceId"]]
        instance.healthy = request["HealthStatus"] == "Healthy"
        if not instance.healthy and "ReplaceUnhealthy" not in group.suspended:
            self.fleet.end(group, instance, request.now, "it was marked unhealthy")
            self.fleet.look_soon(group, request.now)

    # ------------------------------------------------------------------------------------- hooks

    def put_lifecycle_hook(self, request: Request) -> None:
        group, name = self.group(request), request["LifecycleHookName"]
        transition = request.get("LifecycleTransition", "")
        timeout, result = (
            request.get("HeartbeatTimeout", 3_600),
            request.get("DefaultResult", "ABANDON"),
        )
        if transition not in {LAUNCHING, TERMINATING}:
            raise invalid(f"Lifecycle transition must be {LAUNCHING} or {TERMINATING}.")
        if not 30 <= timeout <= 7_200:
            raise invalid("Heartbeat timeout must be between 30 and 7200 seconds.")
        if result not in {"CONTINUE", "ABANDON"}:
            raise invalid("Lifecycle action result must be CONTINUE or ABANDON.")
        group.hooks[name] = Hook(name, transition, timeout, result, dict(request.params))

    def describe_lifecycle_hooks(self, request: Request) -> Answer:
        hooks = [
            {
                **hook.raw,
                "HeartbeatTimeout": hook.timeout,
                "DefaultResult": hook.result,
                "GlobalTimeout": min(172_800, 100 * hook.timeout),
            }
            for hook in self.group(request).hooks.values()
        ]
        return {"LifecycleHooks": hooks}

    def delete_lifecycle_hook(self, request: Request) -> None:
        group, name = self.group(request), request["LifecycleHookName"]
        if group.hooks.pop(name, None) is None:
            raise invalid(f"No Lifecycle Hook found with name {name}")
        for instance in list(group.instances.values()):
            if instance.wait is not None and instance.wait.hook.name == name:
                self.fleet.complete(group, instance, "CONTINUE", request.now)

    def complete_lifecycle_action(self, request: Request) -> None:
        group, instance = self._waiting(request)
        result = request["LifecycleActionResult"]
        if result not in {"CONTINUE", "ABANDON"}:
            raise invalid("Lifecycle action result must be CONTINUE or ABANDON.")
        self.fleet.complete(group, instance, result, request.now)

    def record_lifecycle_action_heartbeat(self, request: Request) -> None:
        group, instance = self._waiting(request)
        self.fleet.heartbeat(group, instance, request.now)

    def _waiting(self, request: Request) -> tuple[Group, Instance]:
        group = self.group(request)
        hook, token = request["LifecycleHookName"], request.get("LifecycleActionToken")
        for instance in group.instances.values():
            wait = instance.wait
            named = request.get("InstanceId") == instance.id or (wait and wait.token == token)
            if named and wait is not None and wait.hook.name == hook:
                return group, instance
        raise invalid(
            f"No active Lifecycle Action found with instance ID {request.get('InstanceId')}"
        )

    # ----------------------------------------------------------------------------------- refresh

    def start_instance_refresh(self, request: Request) -> Answer:
        group = self.group(request)
        if group.refresh is not None:
            raise Refused(
                "InstanceRefreshInProgress", "An Instance Refresh is already in progress."
            )
        name = f"refresh-{self.random.getrandbits(64):016x}"
        refresh = Refresh(name, request.now, set(group.instances))
        wishes = request.get("Preferences", {})
        refresh.protected = wishes.get("ScaleInProtectedInstances", "Wait")
        group.refreshes.insert(0, refresh)
        self.fleet.look_soon(group, request.now)
        return {"InstanceRefreshId": name}

    def describe_instance_refreshes(self, request: Request) -> Answer:
        group = self.group(request)
        found = [shown_refresh(group, each) for each in group.refreshes]
        return paged("InstanceRefreshes", found, request)

    def cancel_instance_refresh(self, request: Request) -> Answer:
        refresh = self.group(request).refresh
        if refresh is None:
            raise Refused("ActiveInstanceRefreshNotFound", "No in progress Instance Refresh found.")
        refresh.status, refresh.ended_at = "Cancelled", request.now
        return {"InstanceRefreshId": refresh.id}

    # --------------------------------------------------------------------------------- warm pool

    def put_warm_pool(self, request: Request) -> None:
        group = self.group(request)
        if "MixedInstancesPolicy" in group.raw or any(e.market == "spot" for e in group.offers):
            raise invalid(
                "Warm pools are not supported for groups with a mixed instances policy or Spot"
                " Instances."
            )
        prepared = request.get("MaxGroupPreparedCapacity")
        state = request.get("PoolState", "Stopped")
        group.warm = Warm(request.get("MinSize", 0), prepared, state)
        self.fleet.look_soon(group, request.now)

    def describe_warm_pool(self, request: Request) -> Answer:
        group = self.group(request)
        page = paged("Instances", [shown_instance(each) for each in group.warmed], request)
        return page if group.warm is None else {**page, "WarmPoolConfiguration": group.warm.shown}

    def delete_warm_pool(self, request: Request) -> None:
        group = self.group(request)
        group.warm = None
        for instance in group.warmed:
            self.fleet.end(group, instance, request.now, "the warm pool is deleted")

    def _group_of(self, name: str, wanted: str | None) -> Group:
        instance = self.fleet.instances.get(name)
        group = self.fleet.groups.get((instance.group if instance else "") or "")
        if group is None or name not in group.instances or wanted not in {None, group.name}:
            raise _unmanaged(name)
        return group


def _managed(group: Group, name: str) -> Instance:
    instance = group.instances.get(name)
    if instance is None:
        raise _unmanaged(name)
    if instance.state.startswith("Warmed:"):
        raise invalid(f"The instance {name} is in the warm pool.")
    return instance


def _unmanaged(name: str) -> Refused:
    return invalid(f"Instance Id not found - No managed instance found for instance ID: {name}")
