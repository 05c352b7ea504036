"""Whether roles may do what their code does, and no more."""

from __future__ import annotations

import pytest

from tests.terraform import roles_flows
from tests.terraform.recorded import Need
from tests.terraform.roles_world import RolesWorld
from tests.terraform.test_policies import ROLES, policies, simulate

#: what programs of others ask for on behalf of a role: Docker, the command line of AWS, SSM's agent
BY_OTHERS = {
    "agent": {
        "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer",
        "ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
        # The script that ends a machine which nobody speaks to, and that fetches what it runs.
        "autoscaling:TerminateInstanceInAutoScalingGroup",
    },
    "deployer": {
        "ecr:BatchCheckLayerAvailability", "ecr:CompleteLayerUpload", "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ssm:ResumeSession", "ssm:StartSession",
        "ssm:TerminateSession",
    },
    "invoker": set(),
    "planner": set(),
}  # fmt: skip


@pytest.fixture(scope="module")
def needs(tmp_path_factory) -> dict[str, set[Need]]:
    world = RolesWorld(tmp_path_factory.mktemp("roles"))
    roles_flows.deploy(world)
    with world.role("deployer", "cl-deployer") as cloud:
        app = roles_flows.deployed(world, cloud)
    for role in ("deployer", "invoker"):
        roles_flows.call(world, role, f"cl-{role}", app)
    roles_flows.serve(world, app)
    roles_flows.plan(world, app)
    return world.needs


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_all_that_its_code_does(needs, role):
    asked = sorted(needs[role])
    cases = [
        {
            "role": role,
            "action": need.action,
            "resource": need.resource,
            "context": dict(need.context),
        }
        for need in asked
    ]

    allowed = simulate(policies(), cases)

    refused = [need for need, is_allowed in zip(asked, allowed, strict=True) if not is_allowed]
    assert refused == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_nothing_that_its_code_never_does(needs, role):
    asked = {need.action for need in needs[role]}

    assert actions_of(policies()[role]) - asked - BY_OTHERS[role] == set()


def actions_of(policy) -> set[str]:
    found: set[str] = set()
    for statement in policy["Statement"]:
        if statement["Effect"] == "Allow":
            actions = statement["Action"]
            found |= {actions} if isinstance(actions, str) else {*actions}
    return found
