"""What Auto Scaling and EC2 do to their users, one nastiness at a time."""

import contextlib
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from cloudfn.testing.aws import FakeAws, FleetKnobs, Knobs

GROUP = {"AutoScalingGroupName": "group"}
ZONES = ["eu-central-1a", "eu-central-1b"]
LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


def template(types=("t3.micro",), market="on-demand"):
    return {
        "MixedInstancesPolicy": {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "template", "Version": "1"},
                "Overrides": [{"InstanceType": kind} for kind in types],
            },
            "InstancesDistribution": {
                "OnDemandPercentageAboveBaseCapacity": 100 if market == "on-demand" else 0
            },
        }
    }


#: of one type, in place of a mixture
PLAIN = {"LaunchTemplate": {"LaunchTemplateName": "template"}}


def open_group(aws, desired=0, **params):
    client = aws.client("autoscaling")
    client.create_auto_scaling_group(
        **{
            **GROUP,
            "MinSize": 0,
            "MaxSize": 10,
            "DesiredCapacity": desired,
            "AvailabilityZones": ZONES[:1],
            **({} if "LaunchTemplate" in params else template()),
            **params,
        }
    )
    return client


def fleet(desired=0, group=None, **nasty):
    """Return (account, client) with a group that has these knobs alone."""
    aws = FakeAws(knobs=Knobs(fleet=replace(FleetKnobs.calm(), **nasty)))
    return aws, open_group(aws, desired, **(group or {}))


def described(client):
    return client.describe_auto_scaling_groups(AutoScalingGroupNames=["group"])[
        "AutoScalingGroups"
    ][0]


def instances(client):
    return {each["InstanceId"]: each for each in described(client)["Instances"]}


def states(client):
    return sorted(each["LifecycleState"] for each in instances(client).values())


def test_an_instance_boots_before_it_serves():
    aws, client = fleet(2, boot=(60.0, 60.0))
    assert states(client) == ["Pending", "Pending"]
    aws.clock.advance(59)
    assert states(client) == ["Pending", "Pending"]
    aws.clock.advance(1)
    assert states(client) == ["InService", "InService"]


def test_a_group_needs_a_moment_to_see_that_more_is_desired():
    aws, client = fleet(reaction=10.0)
    client.set_desired_capacity(**GROUP, DesiredCapacity=1)
    assert instances(client) == {}
    aws.clock.advance(10)
    assert len(instances(client)) == 1


def test_a_description_may_be_of_a_moment_ago():
    aws, client = fleet(describe_lag=5.0, stale=1.0)
    assert instances(client) == {}
    client.set_desired_capacity(**GROUP, DesiredCapacity=1)
    aws.clock.advance(4)
    assert instances(client) == {}
    aws.clock.advance(1)
    assert len(instances(client)) == 1


def test_an_instance_of_a_group_may_be_unknown_to_ec2_for_a_moment():
    aws, client = fleet(describe_lag=0.0)
    aws.fleet.knobs = replace(aws.fleet.knobs, describe_lag=5.0, stale=1.0)
    client.set_desired_capacity(**GROUP, DesiredCapacity=1)
    [name] = aws.fleet.running()
    ec2 = aws.client("ec2")

    with pytest.raises(ClientError, match=r"InvalidInstanceID.NotFound"):
        ec2.describe_instances(InstanceIds=[name])
    assert ec2.describe_instances()["Reservations"] == []
    aws.clock.advance(5)
    assert len(ec2.describe_instances(InstanceIds=[name])["Reservations"]) == 1


def test_a_group_gives_fewer_than_asked_says_why_and_tries_again():
    aws, client = fleet()
    aws.fleet.limit("t3.micro", ZONES[0], 2)
    client.set_desired_capacity(**GROUP, DesiredCapacity=3)
    assert len(instances(client)) == 2
    activity = client.describe_scaling_activities(**GROUP)["Activities"][0]
    assert activity["StatusCode"] == "Failed"
    assert "InsufficientInstanceCapacity" in activity["StatusMessage"]

    aws.fleet.limit("t3.micro", ZONES[0], 5)
    aws.clock.advance(15)
    assert len(instances(client)) == 3


def test_another_type_or_zone_is_taken_if_the_group_allows_it():
    aws, client = fleet(group={**template(("g5.xlarge", "g6.xlarge")), "AvailabilityZones": ZONES})
    for zone in ZONES:
        aws.fleet.limit("g5.xlarge", zone, 0)
    aws.fleet.limit("g6.xlarge", ZONES[0], 0)
    client.set_desired_capacity(**GROUP, DesiredCapacity=2)

    found = instances(client).values()
    assert {(each["InstanceType"], each["AvailabilityZone"]) for each in found} == {
        ("g6.xlarge", ZONES[1])
    }


def test_launch_instances_answers_at_once_with_what_there_is_and_a_token_repeats_nothing():
    aws, client = fleet(boot=(60.0, 60.0))
    aws.fleet.limit("t3.micro", ZONES[0], 2)
    call = {**GROUP, "RequestedCapacity": 3, "ClientToken": "token"}
    answer = client.launch_instances(**call)

    assert len(answer["Instances"][0]["InstanceIds"]) == 2
    assert answer["Errors"][0]["ErrorCode"] == "InsufficientInstanceCapacity"
    assert client.launch_instances(**call)["Instances"] == answer["Instances"]
    assert described(client)["DesiredCapacity"] == 2
    with pytest.raises(client.exceptions.IdempotentParameterMismatchError):
        client.launch_instances(**{**call, "RequestedCapacity": 1})
    with pytest.raises(ClientError, match="max size"):
        client.launch_instances(**{**call, "RequestedCapacity": 9, "ClientToken": "other"})


def test_a_launch_waits_for_its_hook_and_an_abandoned_one_is_replaced():
    _aws, client = fleet()
    client.put_lifecycle_hook(
        **GROUP, LifecycleHookName="join", LifecycleTransition=LAUNCHING, HeartbeatTimeout=300
    )
    client.set_desired_capacity(**GROUP, DesiredCapacity=1)
    [first] = instances(client)
    assert states(client) == ["Pending:Wait"]
    client.complete_lifecycle_action(
        **GROUP, LifecycleHookName="join", InstanceId=first, LifecycleActionResult="ABANDON"
    )
    [second] = instances(client)
    assert second != first
    client.complete_lifecycle_action(
        **GROUP, LifecycleHookName="join", InstanceId=second, LifecycleActionResult="CONTINUE"
    )

    assert states(client) == ["InService"]


def test_a_hook_that_nobody_completes_ends_at_its_timeout_and_heartbeats_move_it():
    aws, client = fleet(1)
    client.put_lifecycle_hook(
        **GROUP, LifecycleHookName="drain", LifecycleTransition=TERMINATING, HeartbeatTimeout=100
    )
    [name] = instances(client)
    client.set_desired_capacity(**GROUP, DesiredCapacity=0)
    assert states(client) == ["Terminating:Wait"]
    assert aws.fleet.notices(name) == {"autoscaling/target-lifecycle-state": "Terminated"}
    aws.clock.advance(90)
    client.record_lifecycle_action_heartbeat(**GROUP, LifecycleHookName="drain", InstanceId=name)
    aws.clock.advance(90)
    assert states(client) == ["Terminating:Wait"]
    aws.clock.advance(10)

    assert states(client) == []
    assert aws.fleet.running() == []
    with pytest.raises(ClientError, match="No active Lifecycle Action"):
        client.record_lifecycle_action_heartbeat(
            **GROUP, LifecycleHookName="drain", InstanceId=name
        )


def test_heartbeats_end_after_a_hundred_of_them():
    aws, client = fleet(1)
    client.put_lifecycle_hook(
        **GROUP, LifecycleHookName="drain", LifecycleTransition=TERMINATING, HeartbeatTimeout=30
    )
    [name] = instances(client)
    client.set_desired_capacity(**GROUP, DesiredCapacity=0)
    beats = 0
    while instances(client):
        client.record_lifecycle_action_heartbeat(
            **GROUP, LifecycleHookName="drain", InstanceId=name
        )
        beats += 1
        aws.clock.advance(25)

    assert beats == 3000 / 25


def test_when_all_are_protected_nothing_ends_and_the_group_says_so():
    _, client = fleet(2, {"NewInstancesProtectedFromScaleIn": True})
    names = list(instances(client))
    client.set_desired_capacity(**GROUP, DesiredCapacity=0)
    assert len(instances(client)) == 2
    activity = client.describe_scaling_activities(**GROUP)["Activities"][0]
    assert "protected from scale-in" in activity["StatusMessage"]

    client.set_instance_protection(**GROUP, InstanceIds=names, ProtectedFromScaleIn=False)
    assert instances(client) == {}


def test_protection_is_for_instances_in_service_and_fifty_at_once():
    _, client = fleet(1, boot=(60.0, 60.0))
    call = {**GROUP, "ProtectedFromScaleIn": True}

    with pytest.raises(ClientError, match="not in InService"):
        client.set_instance_protection(**call, InstanceIds=list(instances(client)))
    with pytest.raises(ClientError, match="at most 50"):
        client.set_instance_protection(**call, InstanceIds=["i-1"] * 51)


def test_an_end_with_decrement_below_the_least_size_is_refused():
    _, client = fleet(2, {"MinSize": 2})
    [name, _] = instances(client)
    with pytest.raises(ClientError, match="violate group's min size"):
        client.terminate_instance_in_auto_scaling_group(
            InstanceId=name, ShouldDecrementDesiredCapacity=True
        )
    client.terminate_instance_in_auto_scaling_group(
        InstanceId=name, ShouldDecrementDesiredCapacity=False
    )

    assert name not in instances(client)
    assert len(instances(client)) == 2


def test_several_end_in_one_call():
    _, client = fleet(5)
    gone = list(instances(client))[:3]
    answer = client.terminate_instance_in_auto_scaling_group(
        **GROUP, InstanceIds=gone, ShouldDecrementDesiredCapacity=True
    )

    assert [each["StatusCode"] for each in answer["Activities"]] == ["InProgress"] * 3
    assert not set(gone) & set(instances(client))
    assert described(client)["DesiredCapacity"] == 2


@pytest.mark.parametrize(
    ("wanted", "words"), [(11, "above max value 10"), (1, "below min value 2")]
)
def test_a_capacity_out_of_bounds_is_refused(wanted, words):
    _, client = fleet(2, {"MinSize": 2})

    with pytest.raises(ClientError, match=words):
        client.set_desired_capacity(**GROUP, DesiredCapacity=wanted)


def test_calls_may_meet_other_scaling_activities():
    _, client = fleet(contention=1.0)
    codes = set()
    for _ in range(20):
        with pytest.raises(ClientError) as found:
            client.set_desired_capacity(**GROUP, DesiredCapacity=1)
        codes.add(found.value.response["Error"]["Code"])

    assert codes == {"ResourceContention", "ScalingActivityInProgress"}
    assert described(client)["DesiredCapacity"] == 0


def test_a_spot_notice_comes_two_minutes_before_the_end_and_hooks_do_not_stop_it():
    aws, client = fleet(1, template(market="spot"))
    client.put_lifecycle_hook(
        **GROUP, LifecycleHookName="drain", LifecycleTransition=TERMINATING, HeartbeatTimeout=7200
    )
    [name] = instances(client)
    aws.fleet.reclaim(name)
    assert aws.fleet.notices(name)["spot/instance-action"]["action"] == "terminate"
    assert list(instances(client)) == [name]
    aws.clock.advance(120)

    assert name not in instances(client)
    assert len(instances(client)) == 1
    shown = aws.client("ec2").describe_instances(InstanceIds=[name])["Reservations"][0]
    assert shown["Instances"][0]["State"]["Name"] == "terminated"
    assert shown["Instances"][0]["InstanceLifecycle"] == "spot"


def test_a_rebalance_recommendation_brings_a_second_instance_before_the_first_ends():
    aws, client = fleet(1, {**template(market="spot"), "CapacityRebalance": True})
    [name] = instances(client)
    aws.fleet.recommend(name)
    assert "events/recommendations/rebalance" in aws.fleet.notices(name)
    assert len(aws.fleet.running()) == 2
    aws.clock.advance(120)

    assert name not in instances(client)
    assert len(instances(client)) == 1


def test_a_machine_that_dies_without_a_word_is_replaced():
    aws, client = fleet(2)
    [name, _] = instances(client)
    aws.fleet.kill(name)

    assert name not in instances(client)
    assert len(instances(client)) == 2


def test_zones_out_of_balance_cost_an_instance_that_works():
    aws, client = fleet(2, {"AvailabilityZones": ZONES}, rebalances=True)
    aws.fleet.limit("t3.micro", ZONES[1], 0)
    client.set_desired_capacity(**GROUP, DesiredCapacity=5)
    zones = [each["AvailabilityZone"] for each in instances(client).values()]
    assert zones.count(ZONES[0]) >= 3
    before = set(instances(client))
    client.suspend_processes(**GROUP, ScalingProcesses=["AZRebalance"])
    aws.fleet.limit("t3.micro", ZONES[1], 9)
    aws.clock.advance(60)
    assert set(instances(client)) >= before
    client.resume_processes(**GROUP, ScalingProcesses=["AZRebalance"])
    aws.clock.advance(60)

    zones = [each["AvailabilityZone"] for each in instances(client).values()]
    assert {zones.count(zone) for zone in ZONES} == {2, 3}
    assert before - set(instances(client))


def test_a_refresh_replaces_one_after_the_other_and_only_once_at_a_time():
    aws, client = fleet(3, boot=(10.0, 10.0))
    aws.clock.advance(10)
    before = set(instances(client))
    client.start_instance_refresh(**GROUP)
    with pytest.raises(client.exceptions.InstanceRefreshInProgressFault):
        client.start_instance_refresh(**GROUP)
    served = []
    for _ in range(60):
        aws.clock.advance(1)
        served.append(states(client).count("InService"))
    [refresh] = client.describe_instance_refreshes(**GROUP)["InstanceRefreshes"]

    assert refresh["Status"] == "Successful"
    assert min(served) == 2
    assert not before & set(instances(client))


def test_a_refresh_waits_an_hour_for_protected_instances_and_fails():
    aws, client = fleet(1, {"NewInstancesProtectedFromScaleIn": True})
    client.start_instance_refresh(**GROUP)
    aws.clock.advance(3599)
    [refresh] = client.describe_instance_refreshes(**GROUP)["InstanceRefreshes"]
    assert refresh["Status"] == "InProgress"
    aws.clock.advance(2)
    [refresh] = client.describe_instance_refreshes(**GROUP)["InstanceRefreshes"]

    assert refresh["Status"] == "Failed"
    assert "protected" in refresh["StatusReason"]


def test_a_warm_pool_starts_faster_and_its_instances_cannot_be_ended_or_protected():
    aws, client = fleet(group=PLAIN, boot=(100.0, 100.0))
    client.put_warm_pool(**GROUP, MinSize=1, MaxGroupPreparedCapacity=1)
    aws.clock.advance(100)
    [warm] = client.describe_warm_pool(**GROUP)["Instances"]
    assert warm["LifecycleState"] == "Warmed:Stopped"
    assert instances(client) == {}
    with pytest.raises(ClientError, match="warm pool"):
        client.terminate_instance_in_auto_scaling_group(
            InstanceId=warm["InstanceId"], ShouldDecrementDesiredCapacity=True
        )
    with pytest.raises(ClientError, match="warm pool"):
        client.set_instance_protection(
            **GROUP, InstanceIds=[warm["InstanceId"]], ProtectedFromScaleIn=True
        )
    client.set_desired_capacity(**GROUP, DesiredCapacity=1)
    aws.clock.advance(31)

    assert list(instances(client)) == [warm["InstanceId"]]
    assert states(client) == ["InService"]


def test_a_group_of_mixed_types_has_no_warm_pool():
    _, client = fleet()

    with pytest.raises(ClientError, match="mixed instances policy"):
        client.put_warm_pool(**GROUP)


def test_a_machine_that_is_put_aside_waits_for_its_hook_and_reads_where_it_is_going():
    aws, client = fleet(group=PLAIN)
    client.put_lifecycle_hook(
        **GROUP, LifecycleHookName="join", LifecycleTransition=LAUNCHING, HeartbeatTimeout=600
    )
    client.put_warm_pool(**GROUP, MaxGroupPreparedCapacity=1)
    aws.clock.advance(1)
    [warm] = client.describe_warm_pool(**GROUP)["Instances"]
    name = warm["InstanceId"]

    assert warm["LifecycleState"] == "Warmed:Pending:Wait"
    assert aws.fleet.notices(name) == {"autoscaling/target-lifecycle-state": "Warmed:Stopped"}
    client.complete_lifecycle_action(
        **GROUP, LifecycleHookName="join", InstanceId=name, LifecycleActionResult="CONTINUE"
    )
    [warm] = client.describe_warm_pool(**GROUP)["Instances"]
    assert warm["LifecycleState"] == "Warmed:Stopped"


def test_an_unhealthy_instance_is_replaced_unless_that_is_suspended():
    _, client = fleet(1)
    [name] = instances(client)
    client.suspend_processes(**GROUP, ScalingProcesses=["ReplaceUnhealthy"])
    client.set_instance_health(InstanceId=name, HealthStatus="Unhealthy")
    assert instances(client)[name]["HealthStatus"] == "Unhealthy"
    client.resume_processes(**GROUP)
    client.set_instance_health(InstanceId=name, HealthStatus="Unhealthy")

    assert name not in instances(client)


def test_groups_are_listed_in_pages():
    aws, client = fleet()
    for n in range(3):
        open_group(aws, AutoScalingGroupName=f"other-{n}")
    pages = client.get_paginator("describe_auto_scaling_groups").paginate(
        PaginationConfig={"PageSize": 1}
    )

    assert len(list(pages)) == 4


def test_sizes_that_do_not_fit_are_refused():
    aws = FakeAws(knobs=Knobs.calm())
    for sizes in ({"MinSize": 3, "DesiredCapacity": 1}, {"MinSize": 3, "MaxSize": 2}):
        with pytest.raises(ClientError, match="ValidationError"):
            open_group(aws, **sizes)


def test_an_instance_that_no_group_has_cannot_be_ended_by_one():
    _, client = fleet()

    with pytest.raises(ClientError, match="No managed instance found"):
        client.terminate_instance_in_auto_scaling_group(
            InstanceId="i-00000000000000000", ShouldDecrementDesiredCapacity=True
        )


def test_a_group_with_instances_is_deleted_by_force_only():
    aws, client = fleet(1)
    with pytest.raises(client.exceptions.ResourceInUseFault):
        client.delete_auto_scaling_group(**GROUP)
    client.delete_auto_scaling_group(**GROUP, ForceDelete=True)

    assert aws.fleet.running() == []
    assert client.describe_auto_scaling_groups()["AutoScalingGroups"] == []


class GroupsComeToRest(RuleBasedStateMachine):
    """Whatever befalls a nasty group, left alone it has what is desired; nothing else bills."""

    @initialize(seed=st.integers(0, 10_000), zones=st.sampled_from([1, 2]))
    def open(self, seed, zones):
        self.aws = FakeAws(seed=seed)
        self.client = open_group(self.aws, AvailabilityZones=ZONES[:zones])
        self.client.put_lifecycle_hook(
            **GROUP, LifecycleHookName="h", LifecycleTransition=TERMINATING, HeartbeatTimeout=60
        )

    def attempt(self, call, **params):
        with contextlib.suppress(ClientError):
            call(**params)

    def some(self, data):
        names = sorted(self.aws.fleet.running())
        return data.draw(st.sampled_from(names)) if names else None

    @rule(desired=st.integers(0, 6))
    def set_desired(self, desired):
        self.attempt(self.client.set_desired_capacity, **GROUP, DesiredCapacity=desired)

    @rule(data=st.data(), decrement=st.booleans())
    def end(self, data, decrement):
        if name := self.some(data):
            self.attempt(
                self.client.terminate_instance_in_auto_scaling_group,
                InstanceId=name,
                ShouldDecrementDesiredCapacity=decrement,
            )

    @rule(data=st.data(), how=st.sampled_from(["kill", "reclaim", "recommend"]))
    def befall(self, data, how):
        if name := self.some(data):
            getattr(self.aws.fleet, how)(name)

    @rule(free=st.integers(0, 3), zone=st.sampled_from(ZONES))
    def run_short(self, free, zone):
        self.aws.fleet.limit("t3.micro", zone, free)

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds):
        self.aws.clock.advance(seconds)

    def teardown(self):
        if not hasattr(self, "client"):
            return
        for zone in ZONES:
            self.aws.fleet.limit("t3.micro", zone, 1000)
        self.aws.clock.advance(3600)
        found = described(self.client)
        assert [each["LifecycleState"] for each in found["Instances"]] == ["InService"] * found[
            "DesiredCapacity"
        ]
        assert sorted(self.aws.fleet.running()) == sorted(
            each["InstanceId"] for each in found["Instances"]
        )


TestGroupsComeToRest = GroupsComeToRest.TestCase
TestGroupsComeToRest.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
