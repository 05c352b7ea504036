"""What `cloudfn infra` does to an account beside Terraform, on moto."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cloudfn.cli.root import main
from cloudfn.errors import InvalidError, PermissionDeniedError
from cloudfn.providers.aws.clients import Clients
from cloudfn.providers.aws.infra import leftovers, preflight, state
from cloudfn.providers.aws.infra.base import Wanted
from cloudfn.providers.aws.infra.steps import Infra
from cloudfn.rehearsal.names import outputs
from cloudfn.rehearsal.site import Wanted as Rehearsed
from cloudfn.testing.aws import FakeAws, Knobs
from tests.unit.aws.moto_account import REGION, Account, client


@pytest.fixture
def account() -> Iterator[Account]:
    with mock_aws():
        yield Account()


def silent(_text: str) -> None:
    pass


def test_the_bucket_for_state_is_private_encrypted_and_versioned(account: Account) -> None:
    s3 = account.of("s3")
    name = state.bucket_name("123456789012", REGION)
    assert state.ensure_bucket(s3, name, REGION)
    assert not state.ensure_bucket(s3, name, REGION)
    block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert all(block.values())
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    policy = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])
    assert policy["Statement"][0]["Effect"] == "Deny"


def test_state_goes_in_all_its_versions_and_the_bucket_with_the_last_one(account: Account) -> None:
    s3 = account.of("s3")
    state.ensure_bucket(s3, "states", REGION)
    s3.delete_bucket_policy(Bucket="states")  # moto denies without looking at the condition
    for environment in ("main", "staging"):
        for _ in range(3):
            s3.put_object(Bucket="states", Key=state.state_key(environment), Body=b"{}")
    s3.delete_object(Bucket="states", Key=state.state_key("main"))
    assert not state.forget_state(s3, "states", state.state_key("main"))
    left = s3.list_object_versions(Bucket="states")
    assert {each["Key"] for each in left["Versions"]} == {state.state_key("staging")}
    assert "DeleteMarkers" not in left
    assert state.forget_state(s3, "states", state.state_key("staging"))
    assert s3.list_buckets()["Buckets"] == []
    assert state.forget_state(s3, "states", state.state_key("staging"))


def test_a_bucket_that_was_there_before_stays_as_it_is(account: Account) -> None:
    s3 = account.of("s3")
    s3.create_bucket(Bucket="theirs", CreateBucketConfiguration={"LocationConstraint": REGION})
    tags = [{"Key": "team", "Value": "platform"}]
    s3.put_bucket_tagging(Bucket="theirs", Tagging={"TagSet": tags})
    assert not state.ensure_bucket(s3, "theirs", REGION)
    assert s3.get_bucket_tagging(Bucket="theirs")["TagSet"] == tags
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket="theirs")
    s3.put_object(Bucket="theirs", Key=state.state_key("main"), Body=b"{}")
    assert not state.forget_state(s3, "theirs", state.state_key("main"))
    assert "Contents" not in s3.list_objects_v2(Bucket="theirs")


def test_names_in_another_partition_are_of_it(account: Account) -> None:
    s3 = account.of("s3")
    state.ensure_bucket(s3, "states", REGION, "aws-us-gov")
    assert "arn:aws-us-gov:s3:::states/*" in s3.get_bucket_policy(Bucket="states")["Policy"]


def fill(account: Account, environment: str) -> None:
    """Make what deploys and the planner make."""
    for name in ("fu-square", f"reply-{'1' * 24}"):
        account.of("sqs").create_queue(QueueName=f"cloudfn-{environment}-{name}")
    for number in range(12):
        account.of("ssm").put_parameter(
            Name=f"/cloudfn/{environment}/pools/fu-{number}", Value="{}", Type="String"
        )
    ec2 = account.of("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.create_launch_template(
        LaunchTemplateName=f"cloudfn-{environment}-cpu",
        LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "m5.large"},
    )
    account.of("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName=f"cloudfn-{environment}-cpu",
        LaunchTemplate={"LaunchTemplateName": f"cloudfn-{environment}-cpu"},
        MinSize=0,
        MaxSize=4,
        DesiredCapacity=2,
        VPCZoneIdentifier=subnet,
        NewInstancesProtectedFromScaleIn=True,
        Tags=[
            {"Key": "cloudfn:environment", "Value": environment, "PropagateAtLaunch": True},
        ],
    )


def test_nothing_of_an_environment_is_left_and_all_of_another_one(account: Account) -> None:
    for environment in ("main", "main-2", "main-reply"):
        fill(account, environment)
    kinds = [each.kind for each in leftovers.remaining(account, "main")]
    assert (kinds.count("queue"), kinds.count("parameter"), kinds.count("machine")) == (2, 12, 2)
    for _ in range(2):
        leftovers.quieten(account, "main", silent)
        leftovers.sweep(account, "main", silent)
        assert leftovers.remaining(account, "main") == []
    for other in ("main-2", "main-reply"):
        assert len(leftovers.remaining(account, other)) == len(kinds)


def test_every_queue_is_removed_however_many_there_are_and_whoever_helps() -> None:
    aws = FakeAws(knobs=Knobs.calm(), region=REGION)
    sqs = aws.client("sqs")
    for number in range(1_003):
        sqs.create_queue(QueueName=f"cloudfn-main-fu-{number:04}")
    aws.faults.fail("sqs", "DeleteQueue", "QueueDoesNotExist", times=2)
    leftovers.sweep(aws.clients(), "main", silent)
    assert len(sqs.list_queues()["QueueUrls"]) == 2


def test_what_cannot_be_removed_whole_is_not_begun_with(account: Account, tmp_path: Path) -> None:
    fill(account, "main")
    (tmp_path / "cloudfn.auto.tfvars.json").write_text(
        json.dumps({"environment": "other", "region": REGION})
    )
    (tmp_path / "backend.json").write_text("{}")
    infra = Infra(Wanted(tmp_path, "main", REGION), {}, tmp_path, lambda *_: None)
    with pytest.raises(InvalidError, match="is of environment other, not main"):
        infra.destroy(lambda _event: None)
    assert len(list(leftovers.machines(account, "main"))) == 2


def test_machines_without_a_group_are_orphans(account: Account) -> None:
    fill(account, "main")
    assert leftovers.orphans(account, "main") == []
    lost = account.of("ec2").run_instances(
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [{"Key": "cloudfn:environment", "Value": "main"}],
            }
        ],
    )["Instances"][0]["InstanceId"]
    assert leftovers.orphans(account, "main") == [lost]
    account.of("ec2").terminate_instances(InstanceIds=[lost])
    assert leftovers.orphans(account, "main") == []


def test_we_are_who_aws_says(account: Account) -> None:
    assert preflight.identity(account).account_id == "123456789012"


@pytest.mark.parametrize(
    ("arn", "simulated"),
    [
        (
            "arn:aws:sts::123456789012:assumed-role/deployer/somebody",
            "arn:aws:iam::123456789012:role/deployer",
        ),
        ("arn:aws:iam::123456789012:user/somebody", "arn:aws:iam::123456789012:user/somebody"),
    ],
)
def test_policies_are_simulated_for_the_role_behind_a_session(arn: str, simulated: str) -> None:
    assert preflight.principal(arn) == simulated


def test_a_role_with_a_path_is_found_behind_its_session() -> None:
    role = "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_1"
    asked: list[str] = []

    class Iam:
        def of(self, _service: str) -> Any:
            return self

        def get_role(self, **told: str) -> Any:
            return {"Role": {"Arn": role}} if role.endswith(f"/{told['RoleName']}") else {}

        def simulate_principal_policy(self, **told: Any) -> Any:
            asked.append(told["PolicySourceArn"])
            return {"EvaluationResults": []}

    session = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_1/somebody"
    assert preflight.check_permissions(Iam(), session).level == "ok"
    assert asked == [role]


@pytest.mark.parametrize(
    ("instance_type", "family"),
    [
        ("m7i.large", "standard"),
        ("g6.xlarge", "g"),
        ("gr6.4xlarge", "g"),
        ("vt1.3xlarge", "g"),
        ("p5.48xlarge", "p"),
        ("c7g.medium", "standard"),
    ],
)
def test_a_type_counts_against_the_quota_of_its_family(instance_type: str, family: str) -> None:
    assert preflight.family_of(instance_type) == family


def test_sizes_of_types_are_asked_for(account: Account) -> None:
    assert preflight.vcpus(account, ["m5.large", "g5.xlarge"]) == {"m5.large": 2, "g5.xlarge": 4}


def test_types_that_a_region_lacks_are_said(account: Account) -> None:
    names = ["m5.large", "z99.large"]
    sizes = preflight.vcpus(account, names)
    assert sizes == {"m5.large": 2}
    found = preflight.check_types(names, sizes, REGION)
    assert (found.level, found.text) == ("warn", "EC2 has no z99.large in eu-central-1")
    assert preflight.check_types(["m5.large"], sizes, REGION).level == "ok"


def test_what_may_not_be_looked_at_does_not_end_the_doctor(
    account: Account, tmp_path: Path
) -> None:
    class Refusing(Clients):
        def of(self, service: str) -> Any:
            if service in ("autoscaling", "iam"):
                raise PermissionDeniedError("you may not")
            return client(service)

    infra = Infra(Wanted(tmp_path, "main", REGION), {}, tmp_path, lambda *_: None, Refusing)
    last = list(infra.doctor(lambda _event: None))[-1]
    assert (last.check, last.level, last.text) == ("orphans", "warn", "not known: you may not")


def test_a_region_that_nobody_names_is_the_doctors_first_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    infra = Infra(Wanted(tmp_path, "main"), {}, tmp_path, lambda *_: None)
    with pytest.raises(InvalidError, match="You must specify a region"):
        infra.plan(lambda _event: None)
    [found] = infra.doctor(lambda _event: None)
    assert (found.check, found.level, found.text) == (
        "credentials", "fail", "No AWS region is named."
    )  # fmt: skip


class Scripted:
    """A client that answers every operation with one answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def __getattr__(self, _operation: str) -> Any:
        return lambda **_: self._answer

    def of(self, _service: str) -> Any:
        return self


def test_what_policies_refuse_is_named() -> None:
    results = [
        {"EvalActionName": "iam:CreateRole", "EvalDecision": "implicitDeny"},
        {"EvalActionName": "s3:CreateBucket", "EvalDecision": "allowed"},
    ]
    found = preflight.check_permissions(
        Scripted({"EvaluationResults": results}), "arn:aws:iam::123456789012:user/somebody"
    )
    assert found.level == "fail"
    assert "iam:CreateRole" in found.text
    assert "s3:CreateBucket" not in found.text


@pytest.mark.parametrize(("allowed", "level"), [(64, "ok"), (32, "warn")])
def test_a_quota_that_is_too_small_is_said_before_the_work(allowed: int, level: str) -> None:
    answer = Scripted({"Quota": {"Value": float(allowed)}})
    [found] = preflight.check_quotas(answer, {"g": 40}, spot=False)
    assert found.level == level
    assert bool(found.hint) == (level == "warn")


def test_commands_look_where_everything_else_looks(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    told = outputs(Rehearsed(), "0" * 64)
    account.of("ssm").put_parameter(
        Name="/cloudfn/main/outputs", Value=json.dumps(told), Type="String"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert main(["infra", "outputs"]) == 1
    assert main(["infra", "outputs", "--region", REGION]) == 0
    assert main(["--region", REGION, "infra", "outputs"]) == 0
    monkeypatch.setenv("CLOUDFN_REGION", REGION)
    capsys.readouterr()
    assert main(["infra", "outputs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
