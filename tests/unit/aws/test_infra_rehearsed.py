"""`cloudfn infra` where a rehearsal made the base, on moto."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.providers.aws.clients import Access, Clients
from cloudfn.providers.aws.infra import leftovers
from cloudfn.providers.aws.infra.base import Wanted
from cloudfn.providers.aws.infra.events import Event, Said
from cloudfn.providers.aws.infra.steps import Infra
from cloudfn.rehearsal.base import make_base
from cloudfn.rehearsal.names import outputs
from cloudfn.rehearsal.site import ACCOUNT
from cloudfn.rehearsal.site import Wanted as Rehearsed

REHEARSED, SHA256 = Rehearsed(), "0" * 64


class Rehearsal(Clients):
    """Clients of the account that a rehearsal has, and moto not by itself."""

    def of(self, service: str) -> Any:
        client = super().of(service)
        client.meta.events.register("before-sign", _name_account, unique_id="account")
        return client


def _name_account(request: Any, **_: object) -> None:
    request.headers["x-moto-account-id"] = ACCOUNT


def quiet(_event: Event) -> None:
    pass


@pytest.fixture
def clients() -> Iterator[Clients]:
    with mock_aws():
        yield Rehearsal(Access(region=REHEARSED.region))


@pytest.fixture
def infra(clients: Clients, tmp_path: Path) -> Infra:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(b"a bundle")
    make_base(clients.of, REHEARSED, bundle, SHA256)
    return _infra(tmp_path)


def _infra(folder: Path) -> Infra:
    wanted = Wanted(folder / "none", "main", REHEARSED.region)
    return Infra(wanted, {}, folder, lambda *_: None, Rehearsal)


def test_destroy_leaves_nothing_of_a_rehearsals_base(infra: Infra, clients: Clients) -> None:
    told = outputs(REHEARSED, SHA256)
    found = {each.kind for each in leftovers.remaining(clients, "main", told)}
    assert found >= {"table", "images", "function", "bucket", "group", "queue", "log group"}
    clients.of("s3").put_object(Bucket=told["bucket"], Key="volumes/a", Body=b"data")
    clients.of("autoscaling").set_desired_capacity(
        AutoScalingGroupName="cloudfn-main-cpu", DesiredCapacity=2
    )
    said: list[Event] = []
    assert infra.destroy(said.append) == []
    assert isinstance(said[-1], Said)
    assert "cloudfn rehearse down" in said[-1].text
    assert clients.of("iam").list_roles()["Roles"] == []
    assert clients.of("ec2").describe_launch_templates()["LaunchTemplates"] == []
    assert [each["IsDefault"] for each in clients.of("ec2").describe_vpcs()["Vpcs"]] == [True]
    with pytest.raises(NotFoundError, match="no environment 'main' in eu-central-1"):
        infra.destroy(quiet)


def test_a_base_can_be_in_the_first_region_too(tmp_path: Path) -> None:
    wanted, bundle = Rehearsed(region="us-east-1"), tmp_path / "bundle.zip"
    bundle.write_bytes(b"a bundle")
    with mock_aws():
        clients = Rehearsal(Access(region=wanted.region))
        make_base(clients.of, wanted, bundle, SHA256)
        [bucket] = clients.of("s3").list_buckets()["Buckets"]
        assert bucket["Name"] == outputs(wanted, SHA256)["bucket"]


def test_destroy_goes_on_where_it_broke_off(infra: Infra, clients: Clients) -> None:
    clients.of("dynamodb").delete_table(TableName="cloudfn-main")
    clients.of("lambda").delete_function(FunctionName="cloudfn-main-planner")
    clients.of("ec2").delete_launch_template(LaunchTemplateName="cloudfn-main-cpu")
    clients.of("iam").delete_role_policy(RoleName="cloudfn-main-agent", PolicyName="agent")
    clients.of("iam").delete_role(RoleName="cloudfn-main-agent")
    assert infra.destroy(quiet) == []


def test_a_rehearsals_base_is_described_nowhere(clients: Clients, tmp_path: Path) -> None:
    told = json.dumps(outputs(REHEARSED, SHA256))
    clients.of("ssm").put_parameter(Name="/cloudfn/main/outputs", Type="String", Value=told)
    infra = _infra(tmp_path)
    for act in (infra.plan, infra.apply, lambda report: infra.init("minimal", report)):
        with pytest.raises(InvalidError, match="has its base already") as caught:
            act(quiet)
        assert "cloudfn deploy" in str(caught.value.hint)
