"""What the fake STS and moto agree on."""

from datetime import UTC, datetime, timedelta

ROLE = "arn:aws:iam::123456789012:role/cloudfn-main-deployer"


def test_one_is_somebody_of_the_account(account):
    told = account.client("sts").get_caller_identity()

    assert told["Account"] == "123456789012"
    assert told["Arn"].split(":")[4] == "123456789012"


def test_a_role_is_assumed_for_an_hour_under_a_name(account):
    told = account.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="ada")

    assumed = "arn:aws:sts::123456789012:assumed-role/cloudfn-main-deployer/ada"
    assert told["AssumedRoleUser"]["Arn"] == assumed
    keys = told["Credentials"]
    assert keys["AccessKeyId"].startswith("ASIA")
    assert keys["SessionToken"]
    assert isinstance(keys["Expiration"], datetime)
    if account.fake:
        now = datetime.fromtimestamp(account.fake.clock.wall(), UTC)
        assert keys["Expiration"] == now + timedelta(hours=1)
