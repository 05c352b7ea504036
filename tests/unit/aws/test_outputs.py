"""What Terraform wrote is read strictly, and errors say what is wrong with it."""

import copy
import json
import re
from pathlib import Path

import pytest

from cloudfn.errors import InvalidError, NotFoundError, PermissionDeniedError, VersionError
from cloudfn.providers.aws.outputs import Group, environments, parameter, read_outputs
from cloudfn.testing.aws import FakeAws, Knobs

TERRAFORM = Path(__file__).parents[3] / "infra/terraform"
#: as `local.outputs` of infra/terraform/main.tf has them
WRITTEN = {
    "version": 1,
    "account_id": "123456789012",
    "bucket": "cloudfn-main-123456789012-eu-central-1",
    "bundle_sha256": "0" * 64,
    "environment": "main",
    "kms_key": None,
    "log_group": "/cloudfn/main",
    "machines": {
        "l4": {
            "group": "cloudfn-main-l4",
            "instance_types": ["g6.xlarge", "g6.2xlarge"],
            "architecture": "x86_64",
            "gpu": True,
            "purchase": "spot",
            "max_machines": 4,
            "disk_gib": 60,
        }
    },
    "planner": "cloudfn-main-planner",
    "queues": {
        "prefix": "cloudfn-main-",
        "attributes": {"VisibilityTimeout": "30"},
        "policy": '{"Resource": "%s"}',
    },
    "region": "eu-central-1",
    "repository": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/cloudfn/main",
    "roles": {"agent": "arn:aws:iam::123456789012:role/cloudfn-main-agent"},
    "schedules": {"group": "cloudfn-main", "role_arn": "arn:aws:iam::123456789012:role/s"},
    "table": "cloudfn-main",
}


def read(text, environment="main", **asked):
    aws = FakeAws(knobs=Knobs.calm())
    ssm = aws.client("ssm")
    ssm.put_parameter(Name=parameter(environment), Value=text, Type="String")
    return read_outputs(ssm, environment, **{"region": "eu-central-1", **asked})


def changed(path, value):
    """Return the text with one value changed; None takes it away."""
    outputs = copy.deepcopy(WRITTEN)
    *above, last = path.split(".")
    place = outputs
    for key in above:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(outputs)


def test_what_terraform_wrote_is_read_in_one_request():
    aws = FakeAws(knobs=Knobs.calm())
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/cloudfn/main/outputs", Value=json.dumps(WRITTEN), Type="String")

    outputs = read_outputs(ssm, "main", "eu-central-1", "123456789012")

    assert aws.faults.calls["ssm", "GetParameter"] == 1
    assert outputs.table == "cloudfn-main"
    assert outputs.bucket == WRITTEN["bucket"]
    assert outputs.queues.prefix == "cloudfn-main-"
    assert outputs.queues.attributes == {"VisibilityTimeout": "30"}
    assert outputs.queues.policy == '{"Resource": "%s"}'
    assert outputs.schedule_group == "cloudfn-main"
    assert outputs.schedule_role == "arn:aws:iam::123456789012:role/s"
    assert outputs.roles["agent"].endswith(":role/cloudfn-main-agent")
    assert outputs.machines == {
        "l4": Group(
            group="cloudfn-main-l4",
            instance_types=("g6.xlarge", "g6.2xlarge"),
            architecture="x86_64",
            gpu=True,
            spot=True,
            max_machines=4,
        )
    }


@pytest.mark.parametrize("key", ["arn:aws:kms:eu-central-1:123456789012:key/1", None])
def test_a_key_of_ones_own_is_read_where_there_is_one(key):
    assert read(json.dumps({**WRITTEN, "kms_key": key})).kms_key == key
    assert read(changed("kms_key", None)).kms_key is None


def test_an_environment_that_is_not_there_says_what_makes_it():
    ssm = FakeAws(knobs=Knobs.calm()).client("ssm")

    with pytest.raises(NotFoundError) as raised:
        read_outputs(ssm, "stage", "us-east-1")

    assert "no environment 'stage' in us-east-1" in raised.value.message
    assert "/cloudfn/stage/outputs" in raised.value.message
    assert "cloudfn infra apply" in raised.value.hint


def test_a_missing_permission_is_no_missing_environment():
    aws = FakeAws(knobs=Knobs.calm())
    aws.faults.fail("ssm", "GetParameter", "AccessDeniedException")

    with pytest.raises(PermissionDeniedError, match="ssm:GetParameter"):
        read_outputs(aws.client("ssm"), "main", "eu-central-1")


@pytest.mark.parametrize(
    ("asked", "both"),
    [
        ({"region": "us-east-1"}, ("eu-central-1", "us-east-1")),
        ({"account_id": "999999999999"}, ("123456789012", "999999999999")),
        ({"environment": "stage"}, ("main", "stage")),
    ],
)
def test_outputs_of_another_place_show_both(asked, both):
    with pytest.raises(InvalidError) as raised:
        read(json.dumps(WRITTEN), **asked)

    for each in both:
        assert each in raised.value.message


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("table", None, "table is missing"),
        ("table", 7, "table is 7, and no str"),
        ("table", "", "table is empty"),
        ("queues", None, "queues is missing"),
        ("queues.prefix", None, "queues.prefix is missing"),
        ("queues.attributes.VisibilityTimeout", 30, "queues.attributes.VisibilityTimeout is 30"),
        ("roles", [], "roles is [], and no dict"),
        ("machines.l4.purchase", "reserved", "machines.l4.purchase is 'reserved'"),
        ("machines.l4.max_machines", True, "machines.l4.max_machines is True, and no int"),
        ("machines.l4.instance_types", [], "machines.l4.instance_types is no list of words"),
        ("machines.l4.gpu", None, "machines.l4.gpu is missing"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(path, value, complaint):
    with pytest.raises(InvalidError) as raised:
        read(changed(path, value))

    assert complaint in raised.value.message
    assert "/cloudfn/main/outputs" in raised.value.message


@pytest.mark.parametrize("text", ["{", "[]", "1"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(InvalidError, match="not what cloudfn's Terraform writes"):
        read(text)


def test_outputs_of_another_version_are_not_guessed_at():
    with pytest.raises(VersionError, match="has version 2; this cloudfn reads 1"):
        read(changed("version", 2))


def test_these_tests_write_what_terraform_writes():
    main = (TERRAFORM / "main.tf").read_text()
    [block] = re.findall(r"\n  outputs = \{\n(.*?)\n  \}", main, re.DOTALL)
    summary = (TERRAFORM / "modules/machine_class/outputs.tf").read_text()
    [of_class] = re.findall(r'output "summary".*?value = \{\n(.*?)\n  \}', summary, re.DOTALL)

    assert set(re.findall(r"^ +(\w+) +=", block, re.MULTILINE)) == set(WRITTEN)
    assert set(re.findall(r"^ +(\w+) +=", of_class, re.MULTILINE)) == set(WRITTEN["machines"]["l4"])


def test_environments_are_those_that_have_outputs():
    ssm = FakeAws(knobs=Knobs.calm()).client("ssm")
    others = ("dev/pools/outputs", "odd/outputs/x", "gone/keys/main")
    for name in ("main/outputs", "dev/outputs", *others):
        ssm.put_parameter(Name=f"/cloudfn/{name}", Value="{}", Type="String")

    assert environments(ssm) == ["dev", "main"]
