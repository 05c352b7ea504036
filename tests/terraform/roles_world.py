"""An environment on fakes, in which each role does everything that it ever does.

What is asked of AWS meanwhile is noted; whether policies allow it, `test_roles.py` asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloudfn.control.invocation.front import Front
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.ecr import EcrRepository, RegistryLogin
from cloudfn.providers.aws.images import EcrImages, MachineImages
from cloudfn.providers.aws.keys import load_key, make_key
from cloudfn.providers.aws.outputs import parameter, read_outputs
from cloudfn.providers.aws.provider import put_together
from cloudfn.providers.base import Cloud, Place
from cloudfn.settings import Settings, load
from cloudfn.testing.aws import FakeAws, Knobs
from cloudfn.testing.aws.ecr_docker import EcrDocker
from cloudfn.testing.aws.fleet_parts import Warm
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.memory_images import MemoryImages
from tests.terraform.recorded import ACCOUNT, REGION, Need, Recorded

BUCKET, GROUP, PLANNER = (
    f"cloudfn-main-{ACCOUNT}-{REGION}",
    "cloudfn-main-cpu",
    "cloudfn-main-planner",
)
SECRET = "st-" + "a" * 20
IMAGE = ImageSpec((Layer("debian_slim", {"python_version": "3.11"}),))
_OUTPUTS = {
    "version": 1,
    "account_id": ACCOUNT,
    "bucket": BUCKET,
    "bundle_sha256": "0" * 64,
    "environment": "main",
    "log_group": "/cloudfn/main",
    "machines": {
        "cpu": {
            "group": GROUP,
            "instance_types": ["m7i.large"],
            "architecture": "x86_64",
            "gpu": False,
            "purchase": "on-demand",
            "max_machines": 4,
            "disk_gib": 60,
        }
    },
    "planner": PLANNER,
    "queues": {
        "prefix": "cloudfn-main-",
        "attributes": {
            "VisibilityTimeout": "30",
            "RedrivePolicy": json.dumps(
                {
                    "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:cloudfn-main-dead",
                    "maxReceiveCount": 1,
                }
            ),
        },
        "policy": '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*",'
        ' "Action": "sqs:*", "Resource": "%s", "Condition":'
        ' {"Bool": {"aws:SecureTransport": "false"}}}]}',
    },
    "region": REGION,
    "repository": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/cloudfn/main",
    "roles": {"agent": f"arn:aws:iam::{ACCOUNT}:role/cloudfn-main-agent"},
    "schedules": {
        "group": "cloudfn-main",
        "role_arn": f"arn:aws:iam::{ACCOUNT}:role/cloudfn-main-scheduler",
    },
    "table": "cloudfn-main",
}


class RolesWorld:
    """What Terraform has made, and what each role asks of AWS.

    Args:
        folder: Of the test's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.aws = FakeAws(FakeClock(sleepless=True), knobs=Knobs.calm(), region=REGION)
        self.clock = self.aws.clock
        self.needs: dict[str, set[Need]] = {}
        self.docker = MemoryImages()
        #: of the role that was taken on last
        self.clients: ClientSource = self.aws.clients()
        #: of the sources that were stored last
        self.digest = ""
        self.settings: Settings = load(
            {"CLOUDFN_PROVIDER": "aws", "HOME": str(folder)}, environment="main"
        )
        self._make()

    def _make(self) -> None:
        of = self.aws.client
        self.aws.make_table()
        self.aws.make_bucket(BUCKET)
        self.aws.functions.define(PLANNER, lambda _event: None)
        of("sqs").create_queue(QueueName="cloudfn-main-dead")
        of("ecr").create_repository(repositoryName="cloudfn/main", imageTagMutability="IMMUTABLE")
        of("logs").create_log_group(logGroupName="/cloudfn/main")
        of("scheduler").create_schedule_group(Name="cloudfn-main")
        of("ssm").put_parameter(Name=parameter("main"), Value=json.dumps(_OUTPUTS), Type="String")
        make_key(of("ssm"), "main", clock=self.clock)
        scaling = of("autoscaling")
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            MinSize=0,
            MaxSize=4,
            DesiredCapacity=0,
            AvailabilityZones=[f"{REGION}a"],
            NewInstancesProtectedFromScaleIn=True,
            MixedInstancesPolicy={
                "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 100},
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": {"LaunchTemplateName": GROUP},
                    "Overrides": [{"InstanceType": "m7i.large"}],
                },
            },
        )
        for hook, way in (("join", "LAUNCHING"), ("drain", "TERMINATING")):
            scaling.put_lifecycle_hook(
                AutoScalingGroupName=GROUP,
                LifecycleHookName=hook,
                LifecycleTransition=f"autoscaling:EC2_INSTANCE_{way}",
                HeartbeatTimeout=600,
                DefaultResult="CONTINUE",
            )

    @contextmanager
    def role(self, name: str, holder: str) -> Iterator[Cloud]:
        """Give the cloud as a role opens it, and note what it asks for."""
        recorded = Recorded(self.aws.clients(), lambda _instance: GROUP)
        self.clients = recorded
        ssm = recorded.of("ssm")
        outputs = read_outputs(ssm, "main", REGION)
        place = Place(self.settings, holder, self.folder / holder, on_machine=name == "agent")
        cloud = put_together(
            recorded, outputs, lambda: load_key(ssm, "main").secret, place, lambda: None, self.clock
        )
        repository = EcrRepository(recorded, outputs.repository, "linux/amd64")
        login, registry = RegistryLogin(recorded), EcrDocker(self.aws.ecr, self.docker)
        images: Any = EcrImages(repository, login, self.docker, registry)
        if name == "agent":
            images = MachineImages(repository, login, MemoryImages(), registry, self.clock)
        try:
            yield replace(cloud, images=images)
        finally:
            self.needs.setdefault(name, set()).update(recorded.needs)

    def front(self, cloud: Cloud, holder: str) -> Front:
        """Return the client's side of the engine over a cloud."""
        return Front(cloud, Place(self.settings, holder, self.folder / holder), self.clock)

    def file(self, name: str, size: int) -> Path:
        """Return a file."""
        path = self.folder / name
        path.write_bytes(b"x" * size)
        return path

    @contextmanager
    def warm_pool(self) -> Iterator[None]:
        """Have the group have a warm pool, with nothing in it."""
        group = self.aws.fleet.groups[GROUP]
        group.warm = Warm(0, 0, "Stopped")
        yield
        group.warm = None

    def machine(self) -> str:
        """Have a machine that waits for its agent; return its id."""
        scaling = self.aws.client("autoscaling")
        scaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=1)
        for _ in range(1_000):
            self.clock.advance(1.0)
            told = scaling.describe_auto_scaling_instances()["AutoScalingInstances"]
            if told and told[0]["LifecycleState"] == "Pending:Wait":
                return str(told[0]["InstanceId"])
        raise AssertionError("no machine comes")
