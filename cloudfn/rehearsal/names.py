"""What everything of an environment is called, as infra/terraform calls it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cloudfn.providers.aws.infra.rehearsed import REHEARSAL
from cloudfn.rehearsal.site import ACCOUNT, Wanted

#: roles, and who takes them on
ROLES = {
    "agent": {"Service": "ec2.amazonaws.com"},
    "planner": {"Service": "lambda.amazonaws.com"},
    "deployer": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "invoker": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
}

#: ministack takes these to be about everything
_UNSEEN = frozenset({"ssm:GetParameters", "ssm:GetParametersByPath"})
#: their batches are actions of their own there
_BATCHED = frozenset({"sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"})


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one environment in one region."""

    environment: str
    region: str

    @property
    def prefix(self) -> str:
        """First part of most names, and the table's whole name."""
        return f"cloudfn-{self.environment}"

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return f"{self.prefix}-{ACCOUNT}-{self.region}"

    @property
    def repository(self) -> str:
        """The repository's name, without its registry."""
        return f"cloudfn/{self.environment}"

    @property
    def log_group(self) -> str:
        """Where lines go."""
        return f"/cloudfn/{self.environment}"

    @property
    def planner(self) -> str:
        """The planner's function."""
        return f"{self.prefix}-planner"

    @property
    def dead(self) -> str:
        """The dead-letter queue."""
        return f"{self.prefix}-dead"

    @property
    def parameter(self) -> str:
        """Parameter with the outputs."""
        return f"/cloudfn/{self.environment}/outputs"

    def group(self, machine_class: str) -> str:
        """Name of a class's group, launch template and instance profile."""
        return f"{self.prefix}-{machine_class}"

    def role(self, name: str) -> str:
        """Name of a role."""
        return f"{self.prefix}-{name}"

    def role_arn(self, name: str) -> str:
        """ARN of a role."""
        return f"arn:aws:iam::{ACCOUNT}:role/{self.role(name)}"


def queue_defaults(names: Names) -> dict[str, Any]:
    """Return what deploy gives each queue.

    Terraform's policy also denies what is not encrypted, which here is everything.
    """
    dead = f"arn:aws:sqs:{names.region}:{ACCOUNT}:{names.dead}"
    only_this_account = {
        "Sid": "OnlyThisAccount",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": "%s",
        "Condition": {
            "StringNotEquals": {"aws:PrincipalAccount": ACCOUNT},
            "Bool": {"aws:PrincipalIsAWSService": "false"},
        },
    }
    return {
        "prefix": f"{names.prefix}-",
        "attributes": {
            "MessageRetentionPeriod": str(7 * 86400),
            "ReceiveMessageWaitTimeSeconds": "20",
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 1000}),
            "VisibilityTimeout": "30",
            "SqsManagedSseEnabled": "true",
        },
        "policy": json.dumps({"Version": "2012-10-17", "Statement": [only_this_account]}),
    }


def as_emulated(policy: str) -> str:
    """Return a policy as the emulator has to have it, to allow what AWS allows by the original.

    It asks for SQS's batches by actions of their own, names log groups without an end, and does not
    see what some requests are about.
    """
    document = json.loads(policy)
    blind: list[dict[str, Any]] = []
    for statement in document["Statement"]:
        actions, resources = _listed(statement["Action"]), _listed(statement["Resource"])
        batches = [f"{each}Batch" for each in actions if each in _BATCHED]
        groups = [each.removesuffix(":*") for each in resources if ":log-group:" in each]
        statement["Action"] = [*actions, *batches]
        statement["Resource"] = [*resources, *groups]
        if unseen := [each for each in actions if each in _UNSEEN]:
            blind.append({"Effect": statement["Effect"], "Action": unseen, "Resource": ["*"]})
    document["Statement"] += blind
    return json.dumps(document)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def outputs(wanted: Wanted, sha256: str) -> dict[str, Any]:
    """Return what a laptop reads, as Terraform writes it to the outputs' parameter."""
    names = Names(wanted.environment, wanted.region)
    return {
        "version": 1,
        "account_id": ACCOUNT,
        "bucket": names.bucket,
        "bundle_sha256": sha256,
        "environment": wanted.environment,
        "kms_key": None,
        "log_group": names.log_group,
        "made_by": REHEARSAL,
        "machines": {
            name: {
                "group": names.group(name),
                "instance_types": list(each.instance_types),
                "architecture": each.architecture,
                "gpu": each.gpu,
                "purchase": each.purchase,
                "max_machines": each.max_machines,
                "disk_gib": 60,
            }
            for name, each in wanted.classes.items()
        },
        "planner": names.planner,
        "queues": queue_defaults(names),
        "region": wanted.region,
        "repository": f"127.0.0.1:{wanted.port}/{names.repository}",
        "roles": {role: names.role_arn(role) for role in ROLES},
        "schedules": {
            "group": names.prefix,
            "role_arn": names.role_arn("scheduler"),
        },
        "table": names.prefix,
    }
