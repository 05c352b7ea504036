"""moto's server in this process: EC2 as it is, Auto Scaling with `groups` behind it."""

from __future__ import annotations

import logging
from threading import Thread
from typing import Any, ClassVar

from moto.autoscaling import models, responses, urls
from moto.autoscaling.exceptions import ValidationError
from moto.core.responses import ActionResult, EmptyResult

from cloudfn.rehearsal.groups import Groups


class Group(models.FakeAutoScalingGroup):
    """A group that launches and ends nothing by itself: `Groups` does, in its own time."""

    def set_desired_capacity(self, new_capacity: int | None) -> None:
        """Note how many are wanted."""
        self.desired_capacity = self.min_size if new_capacity is None else new_capacity

    def replace_autoscaling_group_instances(
        self, count_needed: int, propagated_tags: dict[str, str]
    ) -> None:
        """Leave it to the next tick."""

    def run(self, count: int) -> None:
        """Launch instances at once."""
        super().replace_autoscaling_group_instances(count, self.get_propagated_tags())


class Emulator:
    """moto's server, in threads.

    Args:
        groups: What is behind Auto Scaling.
    """

    def __init__(self, groups: Groups) -> None:
        models.FakeAutoScalingGroup = Group  # type: ignore[misc]
        # Flask comes with them, which only those have who rehearse.
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        Responses.groups = groups
        urls.url_paths = {"{0}/$": Responses.dispatch}
        # It logs each request.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, app, threaded=True)

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._server.port)

    def start(self) -> None:
        """Begin to answer."""
        Thread(target=self._server.serve_forever, name="moto", daemon=True).start()


class Responses(responses.AutoScalingResponse):
    """What moto answers, where it answers otherwise than AWS."""

    #: moto makes an object of this class for each request, and gives it nothing

    groups: ClassVar[Groups]

    def set_desired_capacity(self) -> ActionResult:
        """Within the group's bounds alone."""
        group, wanted = self._group(), self._get_int_param("DesiredCapacity")
        _check(group.min_size, group.max_size, wanted)
        return super().set_desired_capacity()

    def update_auto_scaling_group(self) -> ActionResult:
        """Within bounds, and without forgetting what is not said."""
        group = self._group()
        least = self._get_int_param("MinSize", group.min_size)
        most = self._get_int_param("MaxSize", group.max_size)
        _check(least, most, self._get_int_param("DesiredCapacity", group.desired_capacity))
        if self._get_param("MixedInstancesPolicy") is None:
            # moto would forget it.
            policy = group.mixed_instances_policy
            answer = super().update_auto_scaling_group()
            group.mixed_instances_policy = policy
            return answer
        return super().update_auto_scaling_group()

    def delete_auto_scaling_group(self) -> ActionResult:
        """With all instances."""
        self.groups.disband(self._get_param("AutoScalingGroupName"))
        return super().delete_auto_scaling_group()

    def launch_instances(self) -> ActionResult:
        """Unknown to moto."""
        number = self._get_int_param("RequestedCapacity")
        token = self._get_param("ClientToken")
        return ActionResult(self.groups.launch_by_token(self._group(), number, token))

    def terminate_instance_in_auto_scaling_group(self) -> ActionResult:
        """With the hook first."""
        name = self._get_param("InstanceId")
        fewer = self._get_bool_param("ShouldDecrementDesiredCapacity") or False
        with self.groups.lock:
            group = self.groups.group_of(name)
            before = group.desired_capacity
            if fewer and before - 1 < group.min_size:
                raise ValidationError(
                    "Terminating instance without replacement will violate group's min size."
                )
            group.desired_capacity -= int(fewer)
            self.groups.end(group, name, "at a user's request")
        return ActionResult({"Activity": self.groups.activities(group.name)[0]})

    def set_instance_protection(self) -> ActionResult:
        """Of instances in service alone."""
        for name in self._get_param("InstanceIds", []):
            self.groups.check_protectable(name)
        return super().set_instance_protection()

    def complete_lifecycle_action(self) -> ActionResult:
        """Unknown to moto."""
        result = self._get_param("LifecycleActionResult")
        if result not in ("CONTINUE", "ABANDON"):
            raise ValidationError("Lifecycle action result must be CONTINUE or ABANDON.")
        self.groups.complete(*self._waiting(), result)
        return EmptyResult()

    def record_lifecycle_action_heartbeat(self) -> ActionResult:
        """Unknown to moto."""
        self.groups.heartbeat(*self._waiting())
        return EmptyResult()

    def put_warm_pool(self) -> ActionResult:
        """Refused: moto would keep it, and nothing would be warm."""
        raise ValidationError("A rehearsal has no warm pools.")

    def describe_scaling_activities(self) -> ActionResult:
        """Those that there were."""
        return ActionResult(
            {"Activities": self.groups.activities(self._get_param("AutoScalingGroupName"))}
        )

    def describe_instance_refreshes(self) -> ActionResult:
        """There are none: nothing here can begin one."""
        self._group()
        return ActionResult({"InstanceRefreshes": []})

    def _group(self) -> Any:
        name = self._get_param("AutoScalingGroupName")
        known = self.autoscaling_backend.autoscaling_groups
        if name not in known:
            raise ValidationError(
                f"AutoScalingGroup name not found - AutoScalingGroup: {name} not found"
            )
        return known[name]

    def _waiting(self) -> tuple[Any, str, str]:
        return (
            self._group(),
            self._get_param("InstanceId"),
            self._get_param("LifecycleHookName"),
        )


def _check(least: int, most: int, wanted: int) -> None:
    if not least <= wanted <= most:
        side, bound = ("above max", most) if wanted > most else ("below min", least)
        raise ValidationError(
            f"New SetDesiredCapacity value {wanted} is {side} value {bound} for the"
            " AutoScalingGroup."
        )
