"""`cloudfn infra`'s way of driving Terraform, on the provider that knows the schema alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.providers.aws.infra.events import Event, Planned, Progress
from cloudfn.providers.aws.infra.terraform import Run, Terraform
from cloudfn.providers.aws.infra.workspace import Workspace
from tests.terraform import runs, toolbox


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Terraform, dict[str, str]]:
    """Give a folder as `infra init` makes it, with its state in a file."""
    root = tmp_path_factory.mktemp("infra")
    pretended = runs.Copy.of(root / "copy", toolbox.pretended_provider())
    workspace = Workspace(root / "main", "main", "eu-central-1", {})
    workspace.prepare("minimal")
    (workspace.folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    environ = {
        "HOME": str(root), "PATH": os.defpath, "TF_CLI_CONFIG_FILE": str(pretended.config),
        "CHECKPOINT_DISABLE": "1",
    }  # fmt: skip
    terraform = Terraform(workspace.folder, environ, toolbox.terraform())
    terraform.init({}, lambda _: None)
    return workspace, terraform, {"bundle": str(pretended.root / "bundle.zip")}


def test_a_plan_says_what_it_would_make(
    made: tuple[Workspace, Terraform, dict[str, str]],
) -> None:
    _, terraform, variables = made
    assert terraform.version() >= (1, 11)
    plan = terraform.plan(variables, lambda _: None)
    assert plan.summary is not None
    creates = {each.address for each in plan.planned if each.action == "create"}
    assert len(creates) == plan.summary.add > 20
    assert plan.drift == ()


_THING = """
resource "terraform_data" "thing" {
  input = "one"

  lifecycle {
    prevent_destroy = true
  }
}

output "told" {
  value = terraform_data.thing.output
}
"""


def test_apply_and_destroy_say_what_they_did(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(_THING)
    terraform = Terraform(tmp_path, {"PATH": os.defpath}, toolbox.terraform())
    terraform.init({}, lambda _: None)
    assert terraform.outputs() == {}
    assert not terraform.has_resources()
    told: list[Event] = []
    applied = terraform.apply({}, told.append)
    assert applied.summary is not None
    assert applied.summary.add == 1
    states = [each.state for each in told if isinstance(each, Progress)]
    assert states == ["begun", "done"]
    assert terraform.outputs() == {"told": "one"}
    assert terraform.has_resources()
    again = terraform.plan({}, lambda _: None)
    assert again.summary is not None
    assert again.summary.empty
    with pytest.raises(errors.ExecutionError, match="cannot be destroyed"):
        terraform.destroy({}, lambda _: None)
    (tmp_path / "main.tf").write_text(_THING.replace("true", "false"))
    gone = terraform.destroy({}, lambda _: None)
    assert gone.summary is not None
    assert gone.summary.remove == 1
    assert not terraform.has_resources()


def test_what_terraform_refuses_is_an_error_with_its_place(
    made: tuple[Workspace, Terraform, dict[str, str]],
) -> None:
    workspace, terraform, variables = made
    wrong = workspace.folder / "wrong.tf"
    wrong.write_text('resource "aws_sqs_queue" "mine" {\n  colour = "blue"\n}\n')
    told: list[Event] = []
    try:
        with pytest.raises(errors.ExecutionError, match=r"wrong\.tf:2") as caught:
            terraform.plan(variables, told.append)
    finally:
        wrong.unlink()
    assert "colour" in str(caught.value.hint)
    assert not [each for each in told if isinstance(each, Planned)]


def test_no_terraform_is_an_error_that_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidError) as caught:
        Terraform(tmp_path, {"PATH": str(tmp_path)})
    assert "Install" in str(caught.value.hint)


def test_drift_is_what_a_plan_would_change_back(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(
        'resource "terraform_data" "thing" {\n  input = var.x\n}\n'
        'variable "x" {\n  type = string\n}\n'
    )
    terraform = Terraform(tmp_path, {"PATH": os.defpath}, toolbox.terraform())
    terraform.init({}, lambda _: None)
    terraform.apply({"x": "one"}, lambda _: None)
    wanted = terraform.plan({"x": "two"}, lambda _: None)
    assert wanted.drift == ()  # it is the folder that changed
    assert Run((Planned("a", "update", drift=True), Planned("a", "update")), None).drift == ("a",)
    assert Run((Planned("a", "update", drift=True),), None).drift == ()
