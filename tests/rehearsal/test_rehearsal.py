"""An emulated AWS with real machines: what works on it, what befalls it, what it leaves."""

from __future__ import annotations

import base64
import json
import os
import signal
import tempfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from cloudfn.rehearsal.control import ask
from tests.rehearsal import programs
from tests.rehearsal.world import Machine, World, free_port

_ASK = "import rehearsed_agent as a; print(a.metadata({!r}))"


@pytest.fixture(scope="module")
def machine(cloud: World) -> Machine:
    return cloud.machine()


def test_a_second_one_is_not_started(cloud):
    done = cloud.cloudfn("rehearse", "up", "--port", str(cloud.port), check=False)
    assert done.returncode == 1
    assert "runs already" in done.stderr


def test_a_machine_is_what_its_metadata_service_says(machine):
    assert machine.run("python3.11", "-c", _ASK.format("instance-id")) == machine.id
    assert machine.run("python3.11", "-c", _ASK.format("instance-type")) == "m7i.large"
    assert machine.run("python3.11", "-c", _ASK.format("spot/instance-action")) == "404"
    role = machine.run("python3.11", "-c", _ASK.format("iam/security-credentials/"))
    assert role == "cloudfn-main-agent"


def test_a_machine_has_processes_and_files_of_its_own_and_is_heard(cloud, machine):
    assert "cloudfn.rehearsal\0machine" in machine.run("cat", "/proc/1/cmdline")
    assert machine.run("ls", "/etc/cloudfn") == "agent.env\nboot.json"
    assert not Path("/etc/cloudfn/boot.json").exists()
    assert "Read-only" in machine.run("sh", "-c", "touch /usr/rehearsed 2>&1 || true")
    assert machine.run("sh", "-c", "touch /tmp/rehearsed && ls /tmp") == "rehearsed"
    assert cloud.status()["machines"][0]["heard"] is not None


def test_a_machine_runs_an_image_that_was_pushed(cloud, machine):
    archive = base64.b64encode(programs.archive()).decode()
    name = f"127.0.0.1:{cloud.port}/cloudfn/main:hello"
    machine.run("sh", "-c", f"echo {archive} | base64 -d | docker import - {name}")
    machine.run(
        "sh",
        "-c",
        f"echo any | docker login -u AWS --password-stdin {name.split('/', maxsplit=1)[0]}",
    )
    machine.run("docker", "push", name)
    kept = cloud.of("ecr").describe_images(repositoryName="cloudfn/main")["imageDetails"]
    assert [each["imageTags"] for each in kept] == [["hello"]]
    machine.run("docker", "rmi", name)
    assert machine.run("docker", "run", "--rm", name, "/hello") == "hello from a container"


def test_a_container_gets_no_answer_from_the_metadata_service(machine):
    archive = base64.b64encode(programs.archive()).decode()
    machine.run("sh", "-c", f"echo {archive} | base64 -d | docker import - local:one")
    machine.run("docker", "run", "--detach", "--name", "one", "local:one", "/wait")
    pid = machine.run("docker", "inspect", "--format", "{{.State.Pid}}", "one")
    look = "import socket; socket.create_connection(('169.254.169.254', 80), 2)"
    inside = f"nsenter --net=/proc/{pid}/ns/net"
    # Without the machine's own rule there is still the hop.
    for rule in ("", "iptables -D DOCKER-USER -d 169.254.169.254 -j DROP;"):
        told = machine.run("sh", "-c", f'{rule} {inside} python3.11 -c "{look}" 2>&1 || true')
        assert "timed out" in told or "TimeoutError" in told
    assert machine.run("python3.11", "-c", look) == ""
    machine.run("docker", "rm", "--force", "one")


def test_the_planner_is_a_function_of_lambda_that_can_be_woken(cloud):
    ssm = cloud.of("ssm")
    cloud.of("lambda").invoke(
        FunctionName="cloudfn-main-planner",
        InvocationType="Event",
        Payload=json.dumps({"source": "wake"}),
    )
    told = {"event": {"source": "wake"}, "environment": "main"}
    cloud.until(lambda: json.loads(_parameter(ssm, "/planned")) == told, "the planner has come")


def _parameter(ssm, name: str) -> str:
    try:
        return ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return "null"


def test_a_disturbed_service_is_whole_again_when_its_time_is_over(cloud):
    sqs = cloud.of("sqs")
    cloud.cloudfn("rehearse", "fault", "sqs", "throttle", "4")
    with pytest.raises(ClientError, match="RequestThrottled"):
        sqs.list_queues()
    assert cloud.of("ssm").describe_parameters()["Parameters"]
    cloud.until(lambda: _works(sqs.list_queues), "SQS works again")


def _works(act) -> bool:
    try:
        act()
    except ClientError:
        return False
    return True


def test_machines_that_ec2_does_not_have_are_refused(cloud):
    cloud.cloudfn("rehearse", "limit", "m7i.large", "0")
    told = cloud.of("autoscaling").launch_instances(
        AutoScalingGroupName="cloudfn-main-cpu", RequestedCapacity=1, ClientToken="none"
    )
    assert [each["ErrorCode"] for each in told["Errors"]] == ["InsufficientInstanceCapacity"]
    assert told["Instances"] == []
    cloud.cloudfn("rehearse", "limit", "m7i.large")


def test_a_group_does_not_grow_beyond_its_bounds(cloud):
    scaling = cloud.of("autoscaling")
    with pytest.raises(ClientError, match="above max value 4"):
        scaling.set_desired_capacity(AutoScalingGroupName="cloudfn-main-cpu", DesiredCapacity=5)
    with pytest.raises(ClientError, match="exceed"):
        scaling.launch_instances(
            AutoScalingGroupName="cloudfn-main-cpu", RequestedCapacity=5, ClientToken="many"
        )


def test_a_machine_drains_before_it_ends(cloud):
    machine = cloud.machine()
    cloud.of("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=machine.id, ShouldDecrementDesiredCapacity=True
    )
    assert machine.answer() == {"out": "drained"}
    cloud.until(lambda: not machine.state(), f"{machine.id} is gone")
    cloud.until(lambda: machine.id not in cloud.machines(), "its machine is gone")


def test_a_group_chases_its_desired_capacity_and_spares_what_is_protected(cloud):
    scaling, group = cloud.of("autoscaling"), {"AutoScalingGroupName": "cloudfn-main-spot"}
    scaling.set_desired_capacity(**group, DesiredCapacity=1)
    (name,) = cloud.until(lambda: _instances(scaling, group), "an instance")
    machine = Machine(cloud, name)
    cloud.until(lambda: machine.state() == "InService", f"{name} serves")
    described = cloud.of("ec2").describe_instances(InstanceIds=[name])
    instance = described["Reservations"][0]["Instances"][0]
    assert instance["InstanceLifecycle"] == "spot"
    assert {"Key": "cloudfn:machine-class", "Value": "spot"} in instance["Tags"]

    scaling.set_desired_capacity(**group, DesiredCapacity=0)
    machine.run("sleep", "1")  # several looks of the group
    assert machine.state() == "InService"
    scaling.set_instance_protection(**group, InstanceIds=[name], ProtectedFromScaleIn=False)
    cloud.until(lambda: not machine.state(), f"{name} is gone")
    told = scaling.describe_scaling_activities(**group)["Activities"]
    assert [each["Description"] for each in told] == [
        f"Terminating EC2 instance: {name}",
        f"Launching a new EC2 instance: {name}",
    ]


def _instances(scaling, group) -> list[str]:
    (told,) = scaling.describe_auto_scaling_groups(
        AutoScalingGroupNames=[group["AutoScalingGroupName"]]
    )["AutoScalingGroups"]
    return [each["InstanceId"] for each in told["Instances"]]


def test_a_spot_notice_is_told_and_comes_true_and_the_group_replaces_what_it_lost(cloud):
    machine = cloud.machine()
    cloud.cloudfn("rehearse", "spot", machine.id, "--seconds", "6")
    assert "terminate" in machine.run("python3.11", "-c", _ASK.format("spot/instance-action"))
    cloud.until(lambda: not machine.state(), f"{machine.id} is gone")
    new = cloud.until(
        lambda: [each for each in cloud.machines() if each != machine.id][1:], "a new one"
    )
    other = Machine(cloud, new[-1])
    cloud.until(lambda: other.state() == "InService", f"{other.id} serves")
    cloud.cloudfn("rehearse", "kill", other.id)
    cloud.until(lambda: other.id not in cloud.machines(), f"{other.id} is dead")


def test_whoever_names_no_machine_is_told_which_there_are(cloud, machine):
    done = cloud.cloudfn("rehearse", "kill", "i-none", check=False)
    assert done.returncode == 1
    assert machine.id in done.stderr


def test_an_interrupted_start_leaves_nothing(cloud):
    with tempfile.TemporaryDirectory(prefix="cfr-") as root:
        other = World(Path(root), cloud.cache, free_port())
        with other.start("rehearse", "up", "--port", str(other.port)) as starting:
            assert starting.stdout is not None
            assert "network" in starting.stdout.readline()
            starting.send_signal(signal.SIGINT)
            starting.communicate(timeout=60)
        assert starting.returncode == 130
        assert other.leftovers() == []


def test_a_killed_supervisor_takes_everything_along_and_the_next_one_cleans_up(cloud):
    _, supervisor = ask(cloud.site.control, {"op": "status"})
    with os.fdopen(os.pidfd_open(supervisor)) as process:
        signal.pidfd_send_signal(process.fileno(), signal.SIGKILL)
    cloud.until(lambda: not [each for each in cloud.leftovers() if "process" in each], "all died")
    assert cloud.status() == {"running": False}
    assert cloud.leftovers()
    cloud.up_with_our_agent()
    assert cloud.machines() == []
    cloud.cloudfn("rehearse", "down")
    assert cloud.leftovers() == []
