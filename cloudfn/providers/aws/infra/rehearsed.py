"""The base as a rehearsal makes it, by calls: it can be removed, and not described anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.infra.base import Report
from cloudfn.providers.aws.infra.events import Said
from cloudfn.providers.findings import Finding

#: what outputs say of who made the base
REHEARSAL = "rehearsal"


class RehearsedBase:
    """The `Base` port on an emulated account.

    Args:
        clients: Of the account.
        outputs: Where everything is.
    """

    def __init__(self, clients: ClientSource, outputs: Mapping[str, Any]) -> None:
        self._of = clients.of
        self._outputs = outputs

    def init(self, example: str, report: Report) -> NoReturn:
        self._refuse()

    def plan(self, report: Report) -> NoReturn:
        self._refuse()

    def apply(self, report: Report) -> NoReturn:
        self._refuse()

    def ensure_removable(self) -> None:
        """See the port; calls need nothing."""

    def remove(self, report: Report) -> None:
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("the planner", self._remove_planner),
            ("schedules", self._remove_schedules),
            ("machine classes", self._remove_classes),
            ("the network", self._remove_network),
            ("images", self._remove_images),
            ("logs", self._remove_logs),
            ("calls and everything else in the table", self._remove_table),
            ("objects of the bucket", self._remove_bucket),
            ("roles", self._remove_roles),
        )
        for what, step in steps:
            report(Said(f"Removing {what}"))
            step()

    def forget(self, report: Report) -> None:
        report(Said("The emulated account itself goes with `cloudfn rehearse down`"))

    def check(self, outputs: Mapping[str, Any] | None, report: Report) -> Iterator[Finding]:
        yield Finding("base", "ok", "made by `cloudfn rehearse up`: no Terraform, no quotas")

    def _refuse(self) -> NoReturn:
        raise InvalidError(
            f"The environment {self._outputs['environment']} is a rehearsal's, which has its base"
            " already, without Terraform.",
            hint="Use it: `cloudfn deploy app.py --provider aws`. Other machines, another region:"
            " `cloudfn rehearse down`, then `cloudfn rehearse up` with options.",
        )

    def _remove_planner(self) -> None:
        name = self._outputs["planner"]
        with suppress(NotFoundError), explained("events", "DeleteRule", name):
            self._of("events").remove_targets(Rule=name, Ids=["planner"])
            self._of("events").delete_rule(Name=name)
        with suppress(NotFoundError), explained("lambda", "DeleteFunction", name):
            self._of("lambda").delete_function(FunctionName=name)

    def _remove_schedules(self) -> None:
        group = self._outputs["schedules"]["group"]
        with suppress(NotFoundError), explained("scheduler", "DeleteScheduleGroup", group):
            self._of("scheduler").delete_schedule_group(Name=group)

    def _remove_classes(self) -> None:
        # Their groups are gone with their machines.
        ec2, names = self._of("ec2"), [e["group"] for e in self._outputs["machines"].values()]
        with explained("ec2", "DeleteLaunchTemplate"):
            # Asked for first: of one that is gone, moto says that its name is missing.
            wanted = {"Name": "launch-template-name", "Values": names}
            for each in ec2.describe_launch_templates(Filters=[wanted])["LaunchTemplates"]:
                ec2.delete_launch_template(LaunchTemplateName=each["LaunchTemplateName"])

    def _remove_network(self) -> None:
        ec2 = self._of("ec2")
        ours = {"Name": "tag:cloudfn:environment", "Values": [self._outputs["environment"]]}
        with explained("ec2", "DeleteVpc"):
            for vpc in (each["VpcId"] for each in ec2.describe_vpcs(Filters=[ours])["Vpcs"]):
                inside = {"Name": "vpc-id", "Values": [vpc]}
                for each in ec2.describe_subnets(Filters=[inside])["Subnets"]:
                    ec2.delete_subnet(SubnetId=each["SubnetId"])
                ec2.delete_vpc(VpcId=vpc)

    def _remove_images(self) -> None:
        name = self._outputs["repository"].partition("/")[2]
        with suppress(NotFoundError), explained("ecr", "DeleteRepository", name):
            self._of("ecr").delete_repository(repositoryName=name, force=True)

    def _remove_logs(self) -> None:
        for group in (self._outputs["log_group"], f"/aws/lambda/{self._outputs['planner']}"):
            with suppress(NotFoundError), explained("logs", "DeleteLogGroup", group):
                self._of("logs").delete_log_group(logGroupName=group)

    def _remove_table(self) -> None:
        name = self._outputs["table"]
        with suppress(NotFoundError), explained("dynamodb", "DeleteTable", name):
            self._of("dynamodb").delete_table(TableName=name)

    def _remove_bucket(self) -> None:
        name, s3 = self._outputs["bucket"], self._of("s3")
        with suppress(NotFoundError), explained("s3", "DeleteBucket", name):
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
                if found := [{"Key": each["Key"]} for each in page.get("Contents", ())]:
                    s3.delete_objects(Bucket=name, Delete={"Objects": found, "Quiet": True})
            for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=name):
                for each in page.get("Uploads", ()):
                    s3.abort_multipart_upload(
                        Bucket=name, Key=each["Key"], UploadId=each["UploadId"]
                    )
            s3.delete_bucket(Bucket=name)

    def _remove_roles(self) -> None:
        iam = self._of("iam")
        arns = (*self._outputs["roles"].values(), self._outputs["schedules"]["role_arn"])
        for name in (arn.rpartition("/")[2] for arn in arns):
            with suppress(NotFoundError), explained("iam", "DeleteRole", name):
                for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                    iam.delete_role_policy(RoleName=name, PolicyName=policy)
                iam.delete_role(RoleName=name)
