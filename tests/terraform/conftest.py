"""What the checks of `infra/terraform` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.terraform import runs, toolbox

_ONE_CLASS = """
provider "aws" {
  region = "eu-central-1"
}

module "machine_class" {
  source = "../modules/machine_class"

  environment    = "main"
  instance_types = ["m7i.large"]
  machine_class  = "cpu"
  max_machines   = 3
  name           = "cloudfn-main"
  role_name      = "cloudfn-main-agent"
  subnet_ids     = ["subnet-1"]
  vpc_id         = "vpc-1"

  boot = {
    bucket = "cloudfn-main-123456789012-eu-central-1"
    key    = "agent/${sha256("bundle")}.zip"
    region = "eu-central-1"
    sha256 = sha256("bundle")
  }
}

output "user_data" {
  value = module.machine_class.user_data
}
"""


@pytest.fixture(scope="module")
def pretended(tmp_path_factory: pytest.TempPathFactory) -> runs.Copy:
    """Give a copy of the modules with the provider that knows the current schema alone."""
    root = tmp_path_factory.mktemp("pretended") / "terraform"
    return runs.Copy.of(root, toolbox.pretended_provider())


@pytest.fixture(scope="module")
def plan_of(pretended: runs.Copy) -> Callable[[str], dict[str, Any]]:
    """Give the plan of an example, made when it is first asked for."""
    plans: dict[str, dict[str, Any]] = {}

    def plan(example: str) -> dict[str, Any]:
        if example not in plans:
            plans[example] = pretended.plan(example)
        return plans[example]

    return plan


@pytest.fixture(scope="module")
def user_data(pretended: runs.Copy) -> str:
    """Give what machines of a class start with, as Terraform renders it."""
    folder = pretended.root / "one-class"
    folder.mkdir()
    (folder / "main.tf").write_text(_ONE_CLASS)
    pretended.init(folder)
    plan = pretended.planned(folder)
    told: str = plan["planned_values"]["outputs"]["user_data"]["value"]
    return told


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and give them time: the first ones may have to fetch what they need."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.terraform)
            item.add_marker(pytest.mark.timeout(600))
