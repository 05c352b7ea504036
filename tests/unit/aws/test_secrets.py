"""Secrets on Parameter Store: how they rest, how large they may be, and what AWS may do."""

from dataclasses import replace
from random import Random

import pytest

from cloudfn import errors
from cloudfn.errors import AuthError, DataLossError, InvalidError, RequestSizeError
from cloudfn.providers.aws.secrets import SsmSecrets
from cloudfn.testing.aws import FakeAws, Knobs, SsmKnobs
from tests.unit.aws.client_world import AwsWorld


def account(attempts=10, **nasty):
    aws = FakeAws(knobs=Knobs(ssm=replace(SsmKnobs.calm(), **nasty)), seed=3)
    return aws, SsmSecrets(aws.clients(attempts), "main", aws.clock)


def noise(size):
    """Return text that does not become smaller."""
    return Random(1).randbytes(size // 2).hex()


def parameter(aws, name="/cloudfn/main/secrets/st-1"):
    ssm = aws.client("ssm")
    [found] = ssm.describe_parameters(
        ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": [name]}]
    )["Parameters"]
    return found


def test_a_secret_is_a_secure_string_whose_description_tells_nothing():
    aws, secrets = account()
    secrets.write("st-1", {"TOKEN_NAME": "sesame-open"}, 1_700_000_000.25)

    found = parameter(aws)

    assert (found["Type"], found["Tier"]) == ("SecureString", "Standard")
    assert "sesame" not in str(found)
    assert "TOKEN_NAME" not in str(found)
    hidden = aws.client("ssm").get_parameter(Name=found["Name"])["Parameter"]["Value"]
    assert "sesame" not in hidden


def test_a_key_of_ones_own_encrypts_secrets_where_terraform_names_one(tmp_path):
    world = AwsWorld(tmp_path, Knobs.calm())
    place = world.place("cl-1", on_machine=False)
    world.at(place).secrets.write("st-1", {"A": "1"}, 1.0)
    assert parameter(world.aws)["KeyId"] == "alias/aws/ssm"

    ours = "arn:aws:kms:eu-central-1:123456789012:key/1"
    world.outputs = replace(world.outputs, kms_key=ours)
    world.at(place).secrets.write("st-1", {"A": "2"}, 2.0)

    assert parameter(world.aws)["KeyId"] == ours


def test_a_larger_one_takes_the_advanced_tier_and_one_that_is_too_large_is_refused():
    aws, secrets = account()
    secrets.write("st-1", {"A": noise(8_000)}, 1.0)
    assert parameter(aws)["Tier"] == "Advanced"
    assert secrets.read(["st-1"]) == [{"A": noise(8_000)}]

    secrets.write("st-1", {"A": "small"}, 2.0)
    assert secrets.read(["st-1"]) == [{"A": "small"}]

    with pytest.raises(RequestSizeError, match="secret st-1 take") as raised:
        secrets.write("st-1", {"A": noise(16_000)}, 3.0)
    assert "two secrets" in raised.value.hint
    assert noise(16_000)[:20] not in str(raised.value)
    assert secrets.read(["st-1"]) == [{"A": "small"}]


def test_ten_are_read_in_one_request():
    aws, secrets = account()
    ids = [f"st-{number}" for number in range(20)]
    for secret_id in ids:
        secrets.write(secret_id, {"A": "1"}, 1.0)
    secrets.read([*ids, *ids])

    assert aws.faults.calls["ssm", "GetParameters"] == 2


def test_what_somebody_else_put_there_is_no_secret_and_is_not_quoted():
    aws, secrets = account()
    ssm = aws.client("ssm")
    for value in ("sesame", "z1.sesame", "z1.c2VzYW1l", "z1."):
        ssm.put_parameter(
            Name="/cloudfn/main/secrets/st-1", Value=value, Type="SecureString", Overwrite=True
        )
        with pytest.raises(DataLossError, match="/cloudfn/main/secrets/st-1") as raised:
            secrets.read(["st-1"])
        assert "sesame" not in str(raised.value)
        assert raised.value.__cause__ is None


def test_when_it_was_written_is_asked_of_ssm_where_nobody_said():
    aws, secrets = account()
    aws.client("ssm").put_parameter(
        Name="/cloudfn/main/secrets/st-1", Value="x", Type="SecureString"
    )

    assert secrets.list() == {"st-1": aws.clock.wall()}


def test_other_environments_and_other_parameters_are_not_seen():
    aws, secrets = account()
    SsmSecrets(aws.clients(), "mainz", aws.clock).write("st-1", {"A": "1"}, 1.0)
    ssm = aws.client("ssm")
    for name in ("/cloudfn/main/keys/main", "/cloudfn/main/secrets/deep/er"):
        ssm.put_parameter(Name=name, Value="x", Type="String")

    assert secrets.list() == {}
    assert secrets.read(["st-1"]) == [None]


@pytest.mark.parametrize("secret_id", ["", "../keys/main", "a/b", "a\n", "ä"])
def test_an_id_leads_nowhere_else(secret_id):
    aws, secrets = account()
    for call in (
        lambda: secrets.write(secret_id, {}, 1.0),
        lambda: secrets.read([secret_id]),
        lambda: secrets.delete([secret_id]),
    ):
        with pytest.raises(InvalidError, match="no id of a secret"):
            call()
    assert not aws.faults.calls


def test_puts_that_meet_others_and_throttling_are_waited_out():
    _, secrets = account(conflicts=0.5, puts=3.0, calls=40.0)
    for number in range(30):
        secrets.write(f"st-{number % 3}", {"A": str(number)}, 1.0)

    assert secrets.read(["st-0", "st-1", "st-2"]) == [{"A": "27"}, {"A": "28"}, {"A": "29"}]


def test_lost_answers_are_harmless():
    aws, secrets = account()
    for operation in ("PutParameter", "GetParameters", "DeleteParameter", "DescribeParameters"):
        aws.faults.lose_answer("ssm", operation)
    secrets.write("st-1", {"A": "1"}, 1.0)

    assert secrets.read(["st-1"]) == [{"A": "1"}]
    assert secrets.list() == {"st-1": 1.0}
    secrets.delete(["st-1"])
    assert secrets.read(["st-1"]) == [None]


def test_a_minute_of_throttling_ends():
    aws, secrets = account()
    until = aws.clock.wall() + 60
    aws.faults.fail("ssm", "*", "ThrottlingException", times=None, until=until)
    while aws.clock.wall() < until:
        try:
            secrets.write("st-1", {"A": "1"}, 1.0)
        except errors.ResourceExhaustedError:
            continue

    assert secrets.read(["st-1"]) == [{"A": "1"}]


def test_credentials_that_expire_and_missing_permissions_are_said():
    aws, secrets = account()
    aws.faults.fail("ssm", "*", "ExpiredTokenException", times=1)
    with pytest.raises(AuthError, match="have expired"):
        secrets.write("st-1", {"A": "sesame"}, 1.0)

    aws.faults.fail("ssm", "*", "AccessDeniedException", times=1)
    with pytest.raises(errors.PermissionDeniedError, match="ssm:PutParameter") as raised:
        secrets.write("st-1", {"A": "sesame"}, 1.0)
    assert "sesame" not in str(raised.value)
