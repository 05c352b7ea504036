"""What a genuine provider says: an old one, for the part that it knows, and any that this machine has.

PyPI has the original build of version 3.39.0 (2021). It knows neither EventBridge Scheduler nor S3's settings as
resources of their own, and some arguments and
Pythons are younger; those are left out of the copy. A folder of providers that
`CLOUDFN_TERRAFORM_PROVIDERS` names, laid out as Terraform's mirrors are, is asked about everything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terraform import runs, toolbox

#: files of resources, and arguments, that are younger than 3.39.0
_YOUNGER_FILES = ("store/bucket.tf",)
_YOUNGER_ARGUMENTS = {
    "network/nat.tf": ("domain",),
    "planner/main.tf": ("architectures",),
    "queues/main.tf": ("sqs_managed_sse_enabled",),
    "registry/main.tf": ("force_delete",),
    "store/main.tf": ("deletion_protection_enabled",),
}
_OVERRIDE = f"""
terraform {{
  required_providers {{
    aws = {{
      source  = "hashicorp/aws"
      version = "{toolbox.GENUINE}"
    }}
  }}
}}
"""
_HOLDING_DATA = (
    ("registry", "aws_ecr_repository", "images"),
    ("store", "aws_dynamodb_table", "ledger"),
)
_MODULES = ("logs", "machine_class", "network", "planner", "queues", "registry", "roles", "store")
_CONFIGURATION = """
provider "aws" {
  region = "eu-central-1"
}

module "network" {
  source = "./modules/network"

  egress = "addresses"
  name   = "cloudfn-main"
  region = "eu-central-1"
}

module "store" {
  source = "./modules/store"

  bucket = "cloudfn-main-data"
  name   = "cloudfn-main"
}

module "queues" {
  source = "./modules/queues"

  account_id = "123456789012"
  name       = "cloudfn-main"
  region     = "eu-central-1"
}

module "registry" {
  source = "./modules/registry"

  repository = "cloudfn/main"
}

module "roles" {
  source = "./modules/roles"

  account_id  = "123456789012"
  bucket      = "cloudfn-main-data"
  environment = "main"
  name        = "cloudfn-main"
  region      = "eu-central-1"
}

module "planner" {
  source = "./modules/planner"

  bundle      = { bucket = "b", key = "k", hash_base64 = "aGFzaA==" }
  environment = "main"
  name        = "cloudfn-main"
  role_arn    = module.roles.arns["planner"]
}

module "machine_class" {
  source = "./modules/machine_class"

  boot           = { bucket = "b", key = "k", region = "eu-central-1", sha256 = sha256("bundle") }
  environment    = "main"
  instance_types = ["m6i.large"]
  machine_class  = "cpu"
  max_machines   = 3
  name           = "cloudfn-main"
  purchase       = "spot"
  role_name      = module.roles.names["agent"]
  subnet_ids     = module.network.subnet_ids
  vpc_id         = module.network.vpc_id
}
"""


@pytest.fixture
def old(tmp_path: Path) -> runs.Copy:
    """Give a copy of the modules without what is younger than the old provider."""
    copy = runs.Copy.of(tmp_path / "terraform", toolbox.genuine_provider())
    for file in copy.root.glob("*.tf"):
        file.unlink()
    for file in _YOUNGER_FILES:
        (copy.root / "modules" / file).unlink()
    outputs = copy.root / "modules/store/outputs.tf"
    outputs.write_text(
        outputs.read_text().replace("aws_s3_bucket_policy.data.bucket", "var.bucket")
    )
    for name, arguments in _YOUNGER_ARGUMENTS.items():
        file = copy.root / "modules" / name
        text = file.read_text()
        for argument in arguments:
            text, count = re.subn(rf"^ +{argument} +=.*\n", "", text, flags=re.MULTILINE)
            assert count == 1
        file.write_text(text)
    planner = copy.root / "modules/planner/main.tf"
    planner.write_text(planner.read_text().replace('"python3.12"', '"python3.8"'))
    for module in _MODULES:
        (copy.root / "modules" / module / "versions_override.tf").write_text(_OVERRIDE)
    (copy.root / "main.tf").write_text(_CONFIGURATION)
    (copy.root / "versions.tf").write_text(_OVERRIDE)
    return copy


def test_the_old_provider_itself_accepts_what_it_knows(old):
    old.init(old.root)
    assert old.validate(old.root) == []


def test_the_old_provider_knows_values_that_no_schema_does(old):
    file = old.root / "modules/machine_class/main.tf"
    text = file.read_text()
    for right, wrong in (
        ('= "required"', '= "maybe"'),
        ('shutdown_behavior = "terminate"', 'shutdown_behavior = "explode"'),
    ):
        assert right in text
        text = text.replace(right, wrong)
    file.write_text(text)
    old.init(old.root)
    found = "\n".join(old.validate(old.root))
    for told in ("http_tokens", "shutdown_behavior"):
        assert told in found


_EXISTING = "  existing = { vpc_id = aws_vpc.plain.id, subnet_ids = [aws_subnet.plain.id] }\n"
_PLAIN_NETWORK = """
resource "aws_vpc" "plain" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "plain" {
  cidr_block = "10.0.0.0/24"
  vpc_id     = aws_vpc.plain.id
}
"""
_EMULATOR = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[str]:
    """Give the address of moto's server: an account in which nothing costs anything."""
    with (tmp_path / "moto.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _EMULATOR],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            env={"PYTHONPATH": str(toolbox.packages("emulator")), "PATH": os.defpath},
        )  # fmt: skip
    with process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, (tmp_path / "moto.log").read_text()
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_the_old_provider_makes_an_environment_and_removes_it(old, emulator):
    services = ("autoscaling", "cloudwatchlogs", "dynamodb", "ec2", "ecr", "iam", "sqs", "sts")
    endpoints = "\n".join(f'    {each} = "{emulator}"' for each in services)
    (old.root / "provider_override.tf").write_text(
        'provider "aws" {\n  access_key = "test"\n  secret_key = "test"\n  skip_metadata_api_check = true\n'
        "  skip_credentials_validation = true\n  skip_requesting_account_id = true\n"
        f"  endpoints {{\n{endpoints}\n  }}\n}}\n"
    )
    file = old.root / "main.tf"
    # A function is made of an object in a bucket, and buckets are beyond this provider. It looks every ten
    # seconds whether a network of ours is as it wants it.
    text = re.sub(r'module "planner" \{.*?\n\}\n', "", file.read_text(), flags=re.DOTALL)
    file.write_text(text.replace('  egress = "addresses"\n', _EXISTING) + _PLAIN_NETWORK)
    old.init(old.root)

    made = old.terraform(old.root, "apply", "-auto-approve", "-input=false")
    assert made.returncode == 0, made.stdout + made.stderr

    kept = old.terraform(old.root, "destroy", "-auto-approve", "-input=false")
    assert kept.returncode
    assert kept.stderr.count("Instance cannot be destroyed") == 2  # the table, the images

    for module, kind, name in _HOLDING_DATA:
        (old.root / "modules" / module / "destroy_override.tf").write_text(
            f'resource "{kind}" "{name}" {{\n  lifecycle {{\n    prevent_destroy = false\n  }}\n}}\n'
        )
    gone = old.terraform(old.root, "destroy", "-auto-approve", "-input=false")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert json.loads((old.root / "terraform.tfstate").read_text())["resources"] == []


def test_a_provider_of_this_machine_accepts_everything(tmp_path):
    providers = os.environ.get("CLOUDFN_TERRAFORM_PROVIDERS")
    if not providers:
        pytest.skip("CLOUDFN_TERRAFORM_PROVIDERS names no folder with a provider")
    copy = runs.Copy.of(tmp_path / "terraform", Path(providers))
    for example in runs.EXAMPLES:
        copy.init(copy.folder(example))
        assert copy.validate(copy.folder(example)) == []
