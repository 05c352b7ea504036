"""Looks, before any work, whether an account lets cloudfn do it: who we are, permissions, quotas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cloudfn.errors import Error
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.shapes import described
from cloudfn.providers.findings import Finding

#: what `infra apply` and `deploy` do, an action of each sort
ACTIONS = (
    "autoscaling:CreateAutoScalingGroup",
    "dynamodb:CreateTable",
    "ec2:CreateLaunchTemplate",
    "ec2:CreateVpc",
    "ecr:CreateRepository",
    "events:PutRule",
    "iam:CreateRole",
    "iam:PassRole",
    "lambda:CreateFunction",
    "logs:CreateLogGroup",
    "s3:CreateBucket",
    "scheduler:CreateScheduleGroup",
    "sqs:CreateQueue",
    "ssm:PutParameter",
)
#: quotas of EC2 in vCPUs, by the families that share one: (on demand, Spot)
_QUOTAS: Mapping[str, tuple[str, str]] = {
    "standard": ("L-1216C47A", "L-34B43A08"),
    "g": ("L-DB2E81BA", "L-3819A6DF"),
    "p": ("L-417A185B", "L-7212CCBC"),
}
#: instance types of one request
_TYPES_AT_ONCE = 200
_ASSUMED = re.compile(r"^arn:([\w-]+):sts::(\d{12}):assumed-role/([^/]+)/")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose account, and as whom."""

    account_id: str
    arn: str
    #: when AWS said so, as in HTTP; empty: unknown
    date: str = ""


def identity(clients: ClientSource) -> Identity:
    """Return who AWS says we are.

    Raises:
        AuthError: There are no credentials, or they are worth nothing.
    """
    with explained("sts", "GetCallerIdentity"):
        told = clients.of("sts").get_caller_identity()
    headers = told.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return Identity(str(told["Account"]), str(told["Arn"]), headers.get("date", ""))


def principal(arn: str) -> str:
    """Return what policies can be simulated for: the role of a session, and others as they are."""
    found = _ASSUMED.match(arn)
    if found is None:
        return arn
    partition, account, role = found.groups()
    return f"arn:{partition}:iam::{account}:role/{role}"


def _source(clients: ClientSource, arn: str) -> str:
    """Return `principal`, with the path that a role may have and its sessions do not tell.

    Every role of IAM Identity Center has one.
    """
    if not (found := _ASSUMED.match(arn)):
        return arn
    try:
        with explained("iam", "GetRole", found[3]):
            return str(clients.of("iam").get_role(RoleName=found[3])["Role"]["Arn"])
    except Error:
        return principal(arn)


def check_permissions(clients: ClientSource, arn: str) -> Finding:
    """Ask IAM which of the `ACTIONS` would be refused."""
    if arn.endswith(":root"):
        return Finding("permissions", "warn", "the account's root user", "Use a role or a user.")
    try:
        with explained("iam", "SimulatePrincipalPolicy", arn):
            told = clients.of("iam").simulate_principal_policy(
                PolicySourceArn=_source(clients, arn), ActionNames=list(ACTIONS)
            )
    except Error as error:
        return Finding("permissions", "warn", f"not known: {error.message}", error.hint or "")
    denied = [
        each["EvalActionName"]
        for each in told["EvaluationResults"]
        if each["EvalDecision"] != "allowed"
    ]
    if not denied:
        return Finding("permissions", "ok", f"{len(ACTIONS)} actions of {arn}")
    return Finding(
        "permissions", "fail", f"{arn} may not {', '.join(denied)}", "Add these to its policies."
    )


def check_quotas(clients: ClientSource, wanted: Mapping[str, int], *, spot: bool) -> Iterator[Finding]:
    """Compare vCPUs that classes may come to with what EC2 allows.

    Args:
        clients: Of the account.
        wanted: vCPUs by `standard`, `g` or `p`.
        spot: They are for Spot machines.
    """
    for family, needed in sorted(wanted.items()):
        code = _QUOTAS[family][spot]
        name = f"quota {family}{' spot' if spot else ''}"
        try:
            with explained("service-quotas", "GetServiceQuota", code):
                told = clients.of("service-quotas").get_service_quota(
                    ServiceCode="ec2", QuotaCode=code
                )
        except Error as error:
            yield Finding(name, "warn", f"not known: {error.message}", error.hint or "")
            continue
        allowed = int(told["Quota"]["Value"])
        text = f"{allowed} vCPUs, all machines together may have {needed}"
        hint = f"Ask for more: `aws service-quotas request-service-quota-increase … {code}`."
        yield Finding(name, "ok" if allowed >= needed else "warn", text, hint * (allowed < needed))


def check_types(wanted: Sequence[str], sizes: Mapping[str, int], region: str) -> Finding:
    """Say which instance types a region lacks. Pure."""
    if lacking := [each for each in wanted if each not in sizes]:
        text = f"EC2 has no {', '.join(lacking)} in {region}"
        hint = "Name others in `machine_classes`; a class with none that is there is not used."
        return Finding("instance types", "warn", text, hint)
    return Finding("instance types", "ok", f"{region} has {', '.join(wanted)}")


def family_of(instance_type: str) -> str:
    """Return which quota an instance type counts against: standard, g or p."""
    if instance_type[:1] == "p":
        return "p"
    return "g" if re.match(r"^(g\d|vt\d|gr\d)", instance_type) else "standard"


def vcpus(clients: ClientSource, instance_types: Sequence[str]) -> dict[str, int]:
    """Return the vCPUs of instance types by name; those that the region lacks are absent."""
    found: dict[str, int] = {}
    for start in range(0, len(instance_types), _TYPES_AT_ONCE):
        for each in described(clients, instance_types[start : start + _TYPES_AT_ONCE]):
            found[each["InstanceType"]] = int(each["VCpuInfo"]["DefaultVCpus"])
    return found
