"""Auto Scaling Groups, as far as a fleet of them needs: one method for each thing that is asked.

Thin I/O. Calls that met another scaling activity are made again, a few times.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from cloudfn.clock import Clock
from cloudfn.errors import ConflictError, InvalidError, NotFoundError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.codes import Kind
from cloudfn.providers.aws.errors import answer_of, error_code, explained, kind
from cloudfn.providers.aws.retries import conflicts
from cloudfn.providers.fleet import InstanceState

_log = logging.getLogger(__name__)

SERVICE = "autoscaling"
#: instances of one request, as Auto Scaling allows
LAUNCHED, ENDED, DESCRIBED = 100, 100, 50
#: states that count for what a group wants
ACTIVE = frozenset({InstanceState.PENDING, InstanceState.IN_SERVICE})
#: tries of what meets another scaling activity; the planner comes again anyway
_TRIES = 4
_REFRESHING = frozenset({"Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"})
#: what says that there is no such operation, by services and by emulators
_UNKNOWN_OPERATION = frozenset(
    {"InvalidAction", "UnknownOperationException", "UnsupportedOperation", "NotImplemented", "501"}
)


class Membership(NamedTuple):
    """An instance's place in Auto Scaling."""

    group: str
    #: as Auto Scaling says it
    lifecycle: str
    protected: bool


class Launched(NamedTuple):
    """What came of launching instances in one zone."""

    machine_ids: list[str]
    #: why not all; empty: all were launched
    refused: str


class AutoScaling:
    """Asks Auto Scaling. Safe to share between threads; blocks.

    Args:
        clients: Where the client comes from.
        clock: Waits between two tries.
        page: Entries of one answer.
    """

    def __init__(self, clients: ClientSource, clock: Clock, page: int = DESCRIBED) -> None:
        self._clients = clients
        self._clock = clock
        self._page = page

    @property
    def _client(self) -> Any:
        return self._clients.of(SERVICE)

    def groups(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what Auto Scaling says of groups, by name; those that are not there are absent."""
        found: dict[str, Any] = {}
        for some in split(names, DESCRIBED):
            for answer in self._pages("describe_auto_scaling_groups", AutoScalingGroupNames=some):
                groups = answer["AutoScalingGroups"]
                found |= {each["AutoScalingGroupName"]: each for each in groups}
        return found

    def warmed(self, group: str) -> list[Any]:
        """Return the instances in a group's warm pool, as Auto Scaling says them."""
        answers = self._pages("describe_warm_pool", AutoScalingGroupName=group)
        return [each for answer in answers for each in answer["Instances"]]

    def memberships(self, machine_ids: Sequence[str]) -> dict[str, Membership]:
        """Return in which groups instances are, by id; those in none are absent."""
        found: dict[str, Membership] = {}
        for some in split(list(dict.fromkeys(machine_ids)), DESCRIBED):
            for answer in self._pages("describe_auto_scaling_instances", InstanceIds=some):
                for each in answer["AutoScalingInstances"]:
                    found[each["InstanceId"]] = Membership(
                        each["AutoScalingGroupName"],
                        each["LifecycleState"],
                        each["ProtectedFromScaleIn"],
                    )
        return found

    def is_refreshing(self, group: str) -> bool:
        """Whether an instance refresh of a group is under way."""
        with explained(SERVICE, "DescribeInstanceRefreshes", group):
            answer = self._client.describe_instance_refreshes(
                AutoScalingGroupName=group, MaxRecords=1
            )
        return any(each["Status"] in _REFRESHING for each in answer["InstanceRefreshes"])

    def failure(self, group: str) -> str:
        """Return why the group's last launch failed; empty if it did not."""
        with explained(SERVICE, "DescribeScalingActivities", group):
            answer = self._client.describe_scaling_activities(
                AutoScalingGroupName=group, MaxRecords=10
            )
        for each in answer["Activities"]:
            if each["Description"].startswith("Launching"):
                failed = each["StatusCode"] in {"Failed", "Cancelled"}
                return str(each.get("StatusMessage", "a launch failed")) if failed else ""
        return ""

    def launch(self, group: str, zone: str, count: int, token: str) -> Launched:
        """Launch up to `LAUNCHED` instances in a zone, once for a token.

        Raises:
            InvalidError: The group takes no such request, or may not have so many.
            ConflictError: Something else goes on there.
        """
        if not hasattr(self._client, "launch_instances"):
            raise InvalidError("This boto3 does not know LaunchInstances.")
        with explained(SERVICE, "LaunchInstances", group):
            try:
                answer = self._again(
                    self._client.launch_instances,
                    AutoScalingGroupName=group,
                    RequestedCapacity=count,
                    ClientToken=token,
                    AvailabilityZones=[zone],
                    RetryStrategy="none",
                )
            except Exception as error:
                if kind(error) is Kind.CAPACITY:
                    return Launched([], error_code(error))
                if _is_unknown_operation(error):
                    raise InvalidError("There is no LaunchInstances here.") from error
                raise
        ids = [each for some in answer["Instances"] for each in some["InstanceIds"]]
        said = [each.get("ErrorCode") or each["ErrorMessage"] for each in answer.get("Errors", ())]
        short = str(said[0]) if said else "fewer machines than asked for"
        return Launched(ids, short if len(ids) < count else "")

    def want(self, group: str, number: int) -> None:
        """Have a group want so many instances."""
        with explained(SERVICE, "SetDesiredCapacity", group):
            self._again(
                self._client.set_desired_capacity,
                AutoScalingGroupName=group,
                DesiredCapacity=number,
                HonorCooldown=False,
            )

    def end(self, group: str, machine_ids: Sequence[str], *, less: bool) -> None:
        """End up to `ENDED` instances of a group; with `less` it wants so many fewer.

        Raises:
            InvalidError: One of them is not there any more, for example.
        """
        # One by one is what any emulator knows.
        which: dict[str, Any] = {"InstanceId": machine_ids[0]}
        if len(machine_ids) > 1:
            which = {"InstanceIds": list(machine_ids), "AutoScalingGroupName": group}
        with explained(SERVICE, "TerminateInstanceInAutoScalingGroup", group):
            self._again(
                self._client.terminate_instance_in_auto_scaling_group,
                ShouldDecrementDesiredCapacity=less,
                **which,
            )

    def complete(self, group: str, hook: str, machine_id: str) -> None:
        """Let an instance go on that waits for a hook; one that waits no more is none of ours."""
        complete = partial(self._client.complete_lifecycle_action, LifecycleActionResult="CONTINUE")
        self._tell_hook("CompleteLifecycleAction", complete, group, hook, machine_id)

    def hold(self, group: str, hook: str, machine_id: str) -> bool:
        """Have a hook wait anew; return whether it still waits for that instance."""
        hold = self._client.record_lifecycle_action_heartbeat
        return self._tell_hook("RecordLifecycleActionHeartbeat", hold, group, hook, machine_id)

    def _tell_hook(
        self, what: str, tell: Callable[..., Any], group: str, hook: str, machine_id: str
    ) -> bool:
        """Tell a hook something; return whether it waited for that instance."""
        try:
            with explained(SERVICE, what, group):
                self._again(
                    tell, AutoScalingGroupName=group, LifecycleHookName=hook, InstanceId=machine_id
                )
        except ConflictError:
            raise
        except (InvalidError, NotFoundError) as error:
            _log.info("%s waits for no %s: %s", machine_id, hook, error.message)
            return False
        return True

    def protect(self, group: str, machine_id: str) -> None:
        """Let a group end an instance by nothing but its name."""
        with explained(SERVICE, "SetInstanceProtection", group):
            self._again(
                self._client.set_instance_protection,
                AutoScalingGroupName=group,
                InstanceIds=[machine_id],
                ProtectedFromScaleIn=True,
            )

    def _again(self, call: Callable[..., Any], **params: Any) -> Any:
        return conflicts(self._clock, _TRIES)(call, **params)

    def _pages(self, operation: str, **params: Any) -> Iterator[Any]:
        method = getattr(self._client, operation)
        more: dict[str, str] = {}
        while True:
            with explained(SERVICE, operation):
                answer = method(MaxRecords=self._page, **params, **more)
            yield answer
            if not (token := answer.get("NextToken")):
                return
            more = {"NextToken": token}


def state_of(lifecycle: str) -> InstanceState | None:
    """Return what a lifecycle state means; None: it is not there. Pure."""
    if lifecycle.startswith("Pending"):
        return InstanceState.PENDING
    if lifecycle in {"InService", "EnteringStandby", "Standby"}:
        return InstanceState.IN_SERVICE
    if lifecycle.startswith(("Terminating", "Detaching")):
        return InstanceState.ENDING
    if lifecycle.startswith("Warmed:") and not lifecycle.startswith("Warmed:Terminat"):
        return InstanceState.WARM
    return None


def is_suspended(facts: Mapping[str, Any], process: str) -> bool:
    """Whether a group's process, such as "Launch", is suspended. Pure."""
    return any(each["ProcessName"] == process for each in facts.get("SuspendedProcesses", ()))


def split(values: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield values in lists of up to `size`. Pure."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])


def _is_unknown_operation(error: Exception) -> bool:
    status = answer_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == 501 or error_code(error) in _UNKNOWN_OPERATION
