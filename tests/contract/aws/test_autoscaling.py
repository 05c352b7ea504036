"""What the fake Auto Scaling and moto agree on."""

import pytest
from botocore.exceptions import ClientError

GROUP = {"AutoScalingGroupName": "group"}
TEMPLATE = {"LaunchTemplateName": "template", "Version": "$Latest"}


@pytest.fixture
def autoscaling(account):
    if account.fake is None:
        account.client("ec2").create_launch_template(
            LaunchTemplateName="template",
            LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"},
        )
    client = account.client("autoscaling")
    client.create_auto_scaling_group(
        **GROUP,
        MinSize=1,
        MaxSize=5,
        DesiredCapacity=3,
        LaunchTemplate=TEMPLATE,
        AvailabilityZones=["eu-central-1a"],
        Tags=[{"Key": "cloudfn", "Value": "main", "PropagateAtLaunch": True}],
    )
    return client


def group(autoscaling):
    [found] = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["group"])[
        "AutoScalingGroups"
    ]
    return found


def names(autoscaling):
    return [each["InstanceId"] for each in group(autoscaling)["Instances"]]


def test_a_group_has_as_many_instances_as_desired(autoscaling, account):
    found = group(autoscaling)

    assert (found["MinSize"], found["MaxSize"], found["DesiredCapacity"]) == (1, 5, 3)
    assert {each["LifecycleState"] for each in found["Instances"]} == {"InService"}
    assert {each["HealthStatus"] for each in found["Instances"]} == {"Healthy"}
    described = account.client("ec2").describe_instances(InstanceIds=names(autoscaling))
    instances = [each for one in described["Reservations"] for each in one["Instances"]]
    assert [each["State"]["Name"] for each in instances] == ["running"] * 3
    assert {"Key": "cloudfn", "Value": "main"} in instances[0]["Tags"]


@pytest.mark.parametrize("desired", [1, 5])
def test_the_desired_capacity_is_followed(autoscaling, desired):
    autoscaling.set_desired_capacity(**GROUP, DesiredCapacity=desired)

    assert len(names(autoscaling)) == desired


def test_protected_instances_outlast_a_scale_in(autoscaling):
    kept = names(autoscaling)[1:]
    autoscaling.set_instance_protection(**GROUP, InstanceIds=kept, ProtectedFromScaleIn=True)
    autoscaling.set_desired_capacity(**GROUP, DesiredCapacity=1)

    assert sorted(names(autoscaling)) == sorted(kept)


@pytest.mark.parametrize(("decrement", "left"), [(True, 2), (False, 3)])
def test_exactly_the_named_instance_ends(autoscaling, decrement, left):
    gone = names(autoscaling)[1]
    autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=gone, ShouldDecrementDesiredCapacity=decrement
    )

    assert gone not in names(autoscaling)
    assert len(names(autoscaling)) == group(autoscaling)["DesiredCapacity"] == left


def test_an_instance_that_ends_otherwise_is_replaced(autoscaling, account):
    gone = names(autoscaling)[0]
    account.client("ec2").terminate_instances(InstanceIds=[gone])

    assert gone not in names(autoscaling)
    assert len(names(autoscaling)) == 3


def test_a_suspended_launch_stays_suspended(autoscaling):
    autoscaling.suspend_processes(**GROUP, ScalingProcesses=["AZRebalance"])

    assert [each["ProcessName"] for each in group(autoscaling)["SuspendedProcesses"]] == [
        "AZRebalance"
    ]
    autoscaling.resume_processes(**GROUP, ScalingProcesses=["AZRebalance"])
    assert group(autoscaling)["SuspendedProcesses"] == []


def test_an_instance_that_nobody_knows_is_not_found(account):
    with pytest.raises(ClientError, match=r"InvalidInstanceID.NotFound"):
        account.client("ec2").describe_instances(InstanceIds=["i-00000000000000000"])


def test_a_group_is_deleted_with_its_instances_by_force(autoscaling, account):
    autoscaling.delete_auto_scaling_group(**GROUP, ForceDelete=True)

    assert autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"] == []
    running = account.client("ec2").describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )
    assert running["Reservations"] == []
