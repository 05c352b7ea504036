"""What the four roles may do: linted, and asked action by action."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from typing import Any

import pytest

from tests.terraform import toolbox

ROLES = ("agent", "deployer", "invoker", "planner")
#: whoever calls functions: clients, and user code on machines
CALLERS = {"agent", "deployer", "invoker"}
_FACTS = {
    "account_id": "123456789012",
    "bucket": "cloudfn-main-123456789012-eu-central-1",
    "environment": "main",
    "name": "cloudfn-main",
    "partition": "aws",
    "region": "eu-central-1",
}


def _arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:eu-central-1:123456789012:{rest}"


_BUCKET = f"arn:aws:s3:::{_FACTS['bucket']}"
_QUEUE = _arn("sqs", "cloudfn-main-fu-charge")
_REPLY = _arn("sqs", "cloudfn-main-reply-1")
_DEAD = _arn("sqs", "cloudfn-main-dead")
_OTHER_QUEUE = _arn("sqs", "cloudfn-prod-fu-charge")
#: of the environment main-2, whose names begin like those of main
_LIKE_OURS = _arn("sqs", "cloudfn-main-2-fu-charge")
_TABLE = _arn("dynamodb", "table/cloudfn-main")
_OTHER_TABLE = _arn("dynamodb", "table/cloudfn-prod")
_GROUP = _arn(
    "autoscaling",
    "autoScalingGroup:0a1b2c3d-0000-0000-0000-000000000000:autoScalingGroupName/cloudfn-main-cpu",
)
_OTHER_GROUP = _arn(
    "autoscaling",
    "autoScalingGroup:0a1b2c3d-0000-0000-0000-000000000000:autoScalingGroupName/cloudfn-prod-cpu",
)
_SECRET = _arn("ssm", "parameter/cloudfn/main/secrets/stripe")
_OTHER_SECRET = _arn("ssm", "parameter/cloudfn/prod/secrets/stripe")
_KEY = _arn("ssm", "parameter/cloudfn/main/keys/main")
_POOL = _arn("ssm", "parameter/cloudfn/main/pools/shop/charge")
_OUTPUTS = _arn("ssm", "parameter/cloudfn/main/outputs")
_IMAGES = _arn("ecr", "repository/cloudfn/main")
_PLANNER = _arn("lambda", "function:cloudfn-main-planner")
_SCHEDULE = _arn("scheduler", "schedule/cloudfn-main/nightly")
_SCHEDULER_ROLE = "arn:aws:iam::123456789012:role/cloudfn-main-scheduler"
_MACHINE = _arn("ec2", "instance/i-0123456789abcdef0")

#: action, resource, who may
TABLE: list[tuple[str, str, set[str]]] = [
    ("dynamodb:UpdateItem", _TABLE, {*ROLES}),
    ("dynamodb:UpdateItem", _OTHER_TABLE, set()),
    ("dynamodb:Scan", _TABLE, set()),
    ("dynamodb:DeleteTable", _TABLE, set()),
    ("sqs:SendMessage", _QUEUE, {*ROLES}),
    ("sqs:SendMessage", _OTHER_QUEUE, set()),
    ("sqs:ReceiveMessage", _QUEUE, {"agent"}),
    ("sqs:DeleteMessage", _QUEUE, {"agent"}),
    ("sqs:ReceiveMessage", _REPLY, CALLERS),
    ("sqs:ReceiveMessage", _DEAD, {"planner"}),
    ("sqs:SendMessage", _LIKE_OURS, set()),
    ("sqs:ReceiveMessage", _LIKE_OURS, set()),
    ("sqs:CreateQueue", _QUEUE, {"deployer"}),
    ("sqs:CreateQueue", _REPLY, {"agent", "deployer", "invoker"}),
    ("sqs:DeleteQueue", _QUEUE, {"deployer", "planner"}),
    ("sqs:DeleteQueue", _REPLY, {*ROLES}),
    ("sqs:DeleteQueue", _OTHER_QUEUE, set()),
    ("sqs:ListQueueTags", _REPLY, {"planner"}),
    ("sqs:TagQueue", _REPLY, {"agent", "deployer", "invoker"}),
    ("s3:PutObject", _BUCKET + "/inputs/1", {"deployer", "invoker"}),
    ("s3:GetObject", _BUCKET + "/inputs/1", CALLERS),
    ("s3:DeleteObject", _BUCKET + "/inputs/1", {*ROLES}),
    ("s3:PutObject", _BUCKET + "/results/1", {"agent"}),
    ("s3:DeleteObject", _BUCKET + "/results/1", {*ROLES}),
    ("s3:GetObject", _BUCKET + "/results/1", CALLERS),
    ("s3:DeleteObject", _BUCKET + "/volumes/vo-1/1", {*ROLES}),
    ("s3:GetObject", _BUCKET + "/volumes/vo-1/1", CALLERS),
    ("s3:PutObject", _BUCKET + "/volumes/vo-1/ma-1", {*ROLES}),
    ("s3:PutObject", _BUCKET + "/bundles/1", {"deployer"}),
    ("s3:GetObject", _BUCKET + "/bundles/1", {"agent", "deployer"}),
    ("s3:PutObject", _BUCKET + "/agent/1.zip", set()),
    ("s3:GetObject", _BUCKET + "/agent/1.zip", {"agent"}),
    ("s3:DeleteBucket", _BUCKET, set()),
    ("s3:GetObject", "arn:aws:s3:::somebody-elses/x", set()),
    ("ssm:GetParameters", _SECRET, {"agent", "deployer"}),
    ("ssm:GetParameters", _OTHER_SECRET, set()),
    ("ssm:PutParameter", _SECRET, {"deployer"}),
    ("ssm:GetParameter", _KEY, {*ROLES}),
    ("ssm:PutParameter", _KEY, set()),
    ("ssm:PutParameter", _POOL, {"deployer", "planner"}),
    ("ssm:GetParametersByPath", _POOL, {"deployer", "planner"}),
    ("ssm:DeleteParameter", _POOL, {"deployer", "planner"}),
    ("ssm:DeleteParameter", _KEY, set()),
    ("ssm:GetParameter", _OUTPUTS, {*ROLES}),
    ("ssm:PutParameter", _OUTPUTS, set()),
    ("ec2:RunInstances", _MACHINE, set()),
    ("ec2:TerminateInstances", _MACHINE, set()),
    ("ecr:PutImage", _IMAGES, {"deployer"}),
    ("ecr:BatchGetImage", _IMAGES, {"agent", "deployer"}),
    ("ecr:DeleteRepository", _IMAGES, set()),
    ("lambda:InvokeFunction", _PLANNER, {"agent", "deployer", "invoker"}),
    ("lambda:UpdateFunctionCode", _PLANNER, set()),
    ("scheduler:CreateSchedule", _SCHEDULE, {"deployer"}),
    ("iam:CreateRole", _SCHEDULER_ROLE, set()),
    ("iam:PutRolePolicy", _SCHEDULER_ROLE, set()),
]
#: of an Auto Scaling Group of ours: action, who may
GROUPS: list[tuple[str, set[str]]] = [
    ("autoscaling:SetDesiredCapacity", {"planner"}),
    ("autoscaling:LaunchInstances", {"planner"}),
    ("autoscaling:TerminateInstanceInAutoScalingGroup", {"agent", "planner"}),
    ("autoscaling:CompleteLifecycleAction", {"agent"}),
    ("autoscaling:RecordLifecycleActionHeartbeat", {"agent"}),
    ("autoscaling:SetInstanceProtection", {"agent"}),
    ("autoscaling:UpdateAutoScalingGroup", set()),
]
#: role, action, resource, what the request says, whether it is allowed
CONDITIONS: list[tuple[str, str, str, dict[str, str], bool]] = [
    ("deployer", "iam:PassRole", _SCHEDULER_ROLE, {"iam:PassedToService": "scheduler.amazonaws.com"}, True),
    ("deployer", "iam:PassRole", _SCHEDULER_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}, False),
    (
        "deployer", "iam:PassRole", "arn:aws:iam::123456789012:role/cloudfn-main-agent",
        {"iam:PassedToService": "scheduler.amazonaws.com"}, False,
    ),
    ("deployer", "ssm:StartSession", _MACHINE, {"ssm:resourceTag/cloudfn:environment": "main"}, True),
    ("deployer", "ssm:StartSession", _MACHINE, {"ssm:resourceTag/cloudfn:environment": "prod"}, False),
    ("deployer", "ssm:StartSession", _MACHINE, {}, False),
    (
        "deployer", "ec2-instance-connect:SendSSHPublicKey", _MACHINE,
        {"aws:ResourceTag/cloudfn:environment": "main"}, True,
    ),
    (
        "deployer", "ec2-instance-connect:SendSSHPublicKey", _MACHINE,
        {"aws:ResourceTag/cloudfn:environment": "prod"}, False,
    ),
    ("deployer", "s3:ListBucket", _BUCKET, {"s3:prefix": "bundles/1.tar.gz"}, True),
    ("deployer", "s3:ListBucket", _BUCKET, {"s3:prefix": "inputs/"}, False),
    ("deployer", "s3:ListBucket", _BUCKET, {}, False),
    ("invoker", "s3:ListBucket", _BUCKET, {"s3:prefix": "volumes/"}, False),
    ("planner", "dynamodb:UpdateItem", _TABLE, {"dynamodb:LeadingKeys": "LEADER"}, True),
    ("agent", "dynamodb:UpdateItem", _TABLE, {"dynamodb:LeadingKeys": "LEADER"}, False),
    ("invoker", "dynamodb:PutItem", _TABLE, {"dynamodb:LeadingKeys": "SC#sc-1"}, False),
    ("invoker", "dynamodb:GetItem", _TABLE, {"dynamodb:LeadingKeys": "SC#sc-1"}, True),
    ("deployer", "dynamodb:PutItem", _TABLE, {"dynamodb:LeadingKeys": "SC#sc-1"}, True),
]  # fmt: skip


#: which documents each role has
DOCUMENTS = {
    "agent": ("agent", "limits"),
    "deployer": ("deployer", "invoker"),
    "invoker": ("invoker", "limits"),
    "planner": ("planner",),
}


@cache
def documents() -> dict[str, Any]:
    """Return the documents as Terraform renders them."""
    found = {}
    for document in (*ROLES, "limits"):
        text = (toolbox.MODULES / "modules/roles/policies" / f"{document}.json.tftpl").read_text()
        for name, value in _FACTS.items():
            text = text.replace(f"${{{name}}}", value)
        found[document] = json.loads(text.replace("$${", "${"))
    return found


@cache
def policies() -> dict[str, Any]:
    """Return all that each role may do, as one document."""
    return {
        role: {
            "Version": "2012-10-17",
            "Statement": [each for name in names for each in documents()[name]["Statement"]],
        }
        for role, names in DOCUMENTS.items()
    }


def simulate(given: dict[str, Any], cases: list[dict[str, Any]]) -> list[bool]:
    folder = toolbox.node_modules()
    done = subprocess.run(
        ["node", str(toolbox.SIMULATE)],
        input=json.dumps({"folder": str(folder), "policies": given, "cases": cases}),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    answers = json.loads(done.stdout)
    for case, answer in zip(cases, answers, strict=True):
        assert not answer.get("error"), (case, answer)
    return [answer["overallResult"] == "Allowed" for answer in answers]


def test_terraform_renders_the_same_policies(plan_of):
    rendered = plan_of("minimal")["planned_values"]["outputs"]
    roles = plan_of("minimal")["resource_changes"]
    found = {
        each["address"].rpartition("aws_iam_role_policy.")[2]: json.loads(
            each["change"]["after"]["policy"]
        )
        for each in roles
        if each["address"].startswith("module.cloudfn.module.roles.aws_iam_role_policy.")
    }
    assert rendered is not None
    assert found == {
        **{f'this["{role}"]': documents()[role] for role in ROLES},
        "calls": documents()["invoker"],
        **{f'limits["{role}"]': documents()["limits"] for role in ("agent", "invoker")},
    }


def test_each_role_may_do_its_part_and_nothing_more():
    cases = [
        {"role": role, "action": action, "resource": resource, "context": {}}
        for action, resource, _ in TABLE
        for role in ROLES
    ]
    answers = iter(simulate(policies(), cases))
    found = [
        (action, resource, {role for role in ROLES if next(answers)})
        for action, resource, _ in TABLE
    ]
    assert found == TABLE


@pytest.mark.parametrize(
    ("group", "environment"),
    [(_GROUP, "main"), (_OTHER_GROUP, "main"), (_GROUP, "main-2"), (_GROUP, "")],
)
def test_groups_are_ours_by_name_and_by_tag(group, environment):
    """Groups of the environment main-2 have names that begin like those of main."""
    tag = "autoscaling:ResourceTag/cloudfn:environment"
    context = {tag: environment} if environment else {}
    cases = [
        {"role": role, "action": action, "resource": group, "context": context}
        for action, _ in GROUPS
        for role in ROLES
    ]
    answers = iter(simulate(policies(), cases))
    found = [(action, {role for role in ROLES if next(answers)}) for action, _ in GROUPS]
    ours = (group, environment) == (_GROUP, "main")
    assert found == [(action, roles if ours else set()) for action, roles in GROUPS]


def test_conditions_hold():
    cases = [
        {"role": role, "action": action, "resource": resource, "context": context}
        for role, action, resource, context, _ in CONDITIONS
    ]
    assert simulate(policies(), cases) == [allowed for *_, allowed in CONDITIONS]


_LINT = """
import json, sys
from parliament import analyze_policy_string
told = {}
for name, policy in json.load(sys.stdin).items():
    told[name] = [f"{each.issue}: {each.detail}" for each in analyze_policy_string(json.dumps(policy)).findings]
print(json.dumps(told))
"""


def lint(given: dict[str, Any]) -> dict[str, list[str]]:
    done = subprocess.run(
        [str(toolbox.python("tools")), "-W", "ignore", "-c", _LINT],
        input=json.dumps(given), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    told: dict[str, list[str]] = json.loads(done.stdout)
    return told


def test_a_linter_finds_nothing_in_the_policies():
    known = {
        # Newer than the linter's data; the evaluator above has heard of it.
        "planner": ["UNKNOWN_ACTION: Unknown action autoscaling:LaunchInstances"],
    }
    assert lint(documents()) == {name: known.get(name, []) for name in documents()}


def test_the_linter_finds_what_is_wrong():
    statement = {"Sid": "A", "Effect": "Allow", "Action": "sqs:SendMesage", "Resource": _QUEUE}
    bucket = {"Sid": "B", "Effect": "Allow", "Action": "s3:GetObject", "Resource": _BUCKET}
    told = lint(
        {
            "misspelt": {"Version": "2012-10-17", "Statement": [statement]},
            "mixed up": {"Version": "2012-10-17", "Statement": [bucket]},
        }
    )
    assert "UNKNOWN_ACTION" in told["misspelt"][0]
    assert "RESOURCE_MISMATCH" in told["mixed up"][0]


@pytest.mark.parametrize("role", ROLES)
def test_what_stands_for_everything_is_what_knows_no_resource(role):
    for statement in policies()[role]["Statement"]:
        if statement["Resource"] == "*":
            assert all(
                action.split(":")[1].startswith(("Describe", "List", "Get"))
                or action.startswith(("ssmmessages:", "ssm:UpdateInstanceInformation"))
                for action in (
                    [statement["Action"]]
                    if isinstance(statement["Action"], str)
                    else statement["Action"]
                )
            )


def test_machines_without_a_way_out_reach_whatever_they_may_ask():
    """Through an endpoint each: those of S3 and DynamoDB are there in any case."""
    text = (toolbox.MODULES / "modules" / "network" / "main.tf").read_text()
    found = re.search(r"needed +=( \[.*\])", text)
    assert found is not None
    endpoints = {each.partition(".")[0] for each in json.loads(found[1])}
    text = json.dumps(documents()["agent"])
    asked = set(re.findall(r'"([a-z0-9-]+):[A-Z]\w+"', text))
    assert "lambda" in asked
    assert asked - {"dynamodb", "s3"} <= endpoints
