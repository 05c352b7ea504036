"""Running Terraform on a copy of `infra/terraform`, with a provider of our choice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.terraform import toolbox

EXAMPLES = ("minimal", "gpu", "spot", "existing-vpc")
#: what each example has to be told
VARIABLES: dict[str, dict[str, Any]] = {
    "minimal": {},
    "gpu": {"budget_email": "ops@example.org"},
    "spot": {},
    "existing-vpc": {
        "vpc_id": "vpc-0123456789abcdef0",
        "subnet_ids": ["subnet-0123456789abcdef0"],
        "kms_key_arn": "arn:aws:kms:eu-central-1:123456789012:key/0b9c1d2e-1111-2222-3333-444455556666",
        "deployers": ["arn:aws:iam::123456789012:role/ci"],
    },
}
#: seconds for one command
_PATIENCE = 120.0


@dataclass(frozen=True)
class Copy:
    """The modules in a folder of a test's own, and the provider that is used there."""

    root: Path
    config: Path

    @classmethod
    def of(cls, root: Path, providers: Path) -> Copy:
        """Copy the modules into `root`, which must not exist yet."""
        shutil.copytree(
            toolbox.MODULES, root, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")
        )
        config = root / "providers.tfrc"
        config.write_text(
            f'provider_installation {{\n  filesystem_mirror {{\n    path = "{providers}"\n  }}\n}}\n'
        )
        (root / "bundle.zip").write_bytes(b"not a real bundle")
        return cls(root, config)

    def folder(self, example: str) -> Path:
        """Return the folder of an example."""
        return self.root / "examples" / example

    def terraform(
        self, folder: Path, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one command in a folder of the copy; whether it went well is in the answer."""
        return subprocess.run(
            [toolbox.terraform(), *arguments],
            cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False,
            env={
                "HOME": str(self.root), "PATH": os.defpath, "TF_CLI_CONFIG_FILE": str(self.config),
                "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_CLI_ARGS": "-no-color", **(env or {}),
            },
        )  # fmt: skip

    def init(self, folder: Path, *, backend: bool = False) -> None:
        """Make a folder ready, without its backend unless it is asked for."""
        done = self.terraform(folder, "init", f"-backend={str(backend).lower()}", "-input=false")
        assert done.returncode == 0, done.stdout + done.stderr

    def validate(self, folder: Path) -> list[str]:
        """Return what is wrong, nothing if all is well."""
        done = self.terraform(folder, "validate", "-json")
        told = json.loads(done.stdout)
        return [
            f"{each['summary']}: {each['detail']}"
            for each in told["diagnostics"]
            if each["severity"] == "error"
        ]

    def plan(self, example: str) -> dict[str, Any]:
        """Return the plan of an example."""
        folder = self.folder(example)
        # A plan wants to read the state, and the bucket with it is not there.
        (folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        (folder / "test.auto.tfvars.json").write_text(
            json.dumps(
                {
                    "region": "eu-central-1",
                    "bundle": str(self.root / "bundle.zip"),
                    **VARIABLES[example],
                }
            )
        )
        self.init(folder, backend=True)
        return self.planned(folder)

    def planned(self, folder: Path) -> dict[str, Any]:
        """Return the plan of a folder that has been made ready, as Terraform's JSON."""
        done = self.terraform(folder, "plan", "-input=false", "-lock=false", "-out=plan")
        assert done.returncode == 0, done.stdout + done.stderr
        shown = self.terraform(folder, "show", "-json", "plan")
        assert shown.returncode == 0, shown.stderr
        told: dict[str, Any] = json.loads(shown.stdout)
        return told


def resources(plan: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return what is planned of a type: arguments by address."""
    return {
        each["address"]: each["change"]["after"]
        for each in plan["resource_changes"]
        if each["type"] == kind and each["mode"] == "managed"
    }


def check_closed(plan: dict[str, Any]) -> None:
    """Assert that nothing of a plan can be reached from outside, and machines from nowhere."""
    groups = resources(plan, "aws_security_group")
    assert any(".module.machine_class[" in each for each in groups)
    for address, group in groups.items():
        for rule in group["ingress"]:
            assert ".module.machine_class[" not in address
            assert "0.0.0.0/0" not in rule["cidr_blocks"]
            assert not rule["ipv6_cidr_blocks"]
    for kind in ("aws_security_group_rule", "aws_vpc_security_group_ingress_rule"):
        assert not resources(plan, kind)


def check_machines(plan: dict[str, Any]) -> None:
    """Assert that machines answer to their own system alone, write on encrypted disks, and end when they stop."""
    templates = resources(plan, "aws_launch_template")
    assert templates
    for template in templates.values():
        [options] = template["metadata_options"]
        assert (options["http_tokens"], options["http_put_response_hop_limit"]) == ("required", 1)
        for disk in template["block_device_mappings"]:
            assert disk["ebs"][0]["encrypted"] == "true"
            assert disk["ebs"][0]["volume_type"] == "gp3"
        assert template["instance_initiated_shutdown_behavior"] == "terminate"
