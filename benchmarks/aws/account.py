"""An environment on calm fakes, and how often each process of it asks AWS for what."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.providers.aws.outputs import parse_outputs
from cloudfn.providers.aws.provider import put_together
from cloudfn.providers.base import Cloud, Place
from cloudfn.providers.catalog import AppRecord, RevisionSpec
from cloudfn.settings import Settings, load
from cloudfn.testing.aws import FakeAws, Knobs
from cloudfn.testing.clock import FakeClock

REGION, ACCOUNT = "eu-central-1", "123456789012"
#: requests by service and operation
Calls = Counter[tuple[str, str]]
_KEY = bytes(range(32))


class Account:
    """An environment, as Terraform makes it.

    Args:
        folder: For what processes keep.
        most: Machines that its one class may have.
    """

    def __init__(self, folder: Path, most: int = 10_000) -> None:
        self.folder = folder
        self.aws = FakeAws(FakeClock(sleepless=True), knobs=Knobs.calm(), region=REGION)
        self.clock = self.aws.clock
        self.settings: Settings = load(
            {"CLOUDFN_PROVIDER": "aws", "HOME": str(folder)}, environment="main"
        )
        self._outputs = parse_outputs(json.dumps(_outputs(most)), "outputs")
        self._make(most)

    def open(self, holder: str, *, on_machine: bool = False) -> Cloud:
        """Return the environment as a process of that id has it."""
        place = Place(self.settings, holder, self.folder / holder, on_machine)
        clients = self.aws.clients()
        return put_together(clients, self._outputs, lambda: _KEY, place, lambda: None, self.clock)

    def machines(self, number: int) -> list[str]:
        """Have so many machines, all there can be; return their ids."""
        scaling, group = self.aws.client("autoscaling"), "cloudfn-main-cpu"
        scaling.update_auto_scaling_group(
            AutoScalingGroupName=group, MaxSize=number, DesiredCapacity=number
        )
        self.clock.advance(600.0)
        pages = scaling.get_paginator("describe_auto_scaling_instances").paginate()
        found = [each for page in pages for each in page["AutoScalingInstances"]]
        assert {each["LifecycleState"] for each in found} == {"InService"}
        return [each["InstanceId"] for each in found]

    @contextmanager
    def counted(self) -> Iterator[Calls]:
        """Give what is asked for meanwhile, once it is over."""
        before, found = Counter(self.aws.faults.calls), Calls()
        yield found
        found.update(self.aws.faults.calls - before)

    def deploy(self, apps: int, functions: int, cloud: Cloud, **settings: int) -> list[AppRecord]:
        """Have apps with so many functions each, and their queues."""
        specs = tuple(
            FunctionSpec(
                name=f"f{number}",
                module="jobs",
                qualname=f"f{number}",
                autoscaler=AutoscalerSettings(**settings),
            )
            for number in range(functions)
        )
        revision = RevisionSpec("0" * 64, "jobs", specs, "", runtime="docker")
        made = []
        for number in range(apps):
            app = cloud.catalog.create_app(f"app-{number}", "deployed", revision, self.clock.wall())
            for function in cloud.catalog.functions(app.app_id):
                cloud.doorbells.open(function.function_id)
            made.append(app)
        return made

    def _make(self, most: int) -> None:
        of = self.aws.client
        self.aws.make_table()
        self.aws.make_bucket("cloudfn-main")
        self.aws.functions.define("cloudfn-main-planner", lambda _event: None)
        of("sqs").create_queue(QueueName="cloudfn-main-dead")
        of("logs").create_log_group(logGroupName="/cloudfn/main")
        of("scheduler").create_schedule_group(Name="cloudfn-main")
        of("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName="cloudfn-main-cpu",
            MinSize=0,
            MaxSize=most,
            DesiredCapacity=0,
            AvailabilityZones=[f"{REGION}a"],
            NewInstancesProtectedFromScaleIn=True,
            MixedInstancesPolicy={
                "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 100},
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": {"LaunchTemplateName": "cloudfn-main-cpu"},
                    "Overrides": [{"InstanceType": "m7i.large"}],
                },
            },
        )


def total(calls: Calls, service: str = "") -> int:
    """Return how many requests there are of a service, or in all."""
    return sum(number for (name, _), number in calls.items() if service in {"", name})


def _outputs(most: int) -> dict[str, Any]:
    dead = f"arn:aws:sqs:{REGION}:{ACCOUNT}:cloudfn-main-dead"
    return {
        "version": 1,
        "account_id": ACCOUNT,
        "bucket": "cloudfn-main",
        "bundle_sha256": "0" * 64,
        "environment": "main",
        "log_group": "/cloudfn/main",
        "machines": {
            "cpu": {
                "group": "cloudfn-main-cpu",
                "instance_types": ["m7i.large"],
                "architecture": "x86_64",
                "gpu": False,
                "purchase": "on-demand",
                "max_machines": most,
                "disk_gib": 60,
            }
        },
        "planner": "cloudfn-main-planner",
        "queues": {
            "prefix": "cloudfn-main-",
            "attributes": {
                "VisibilityTimeout": "30",
                "RedrivePolicy": json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 1000}),
            },
            "policy": '{"Version": "2012-10-17", "Statement": []}',
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
