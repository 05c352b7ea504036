"""Clients: made once, lazily, for the right place. Nothing asks the network."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from botocore.exceptions import ClientError

from cloudfn.errors import InvalidError, ResourceExhaustedError
from cloudfn.providers.aws.clients import Access, Clients, patience
from cloudfn.providers.aws.errors import Where
from cloudfn.providers.aws.retries import conflicts, to_the_last
from cloudfn.providers.aws.s3 import Bucket
from cloudfn.testing import FakeClock


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    """Keep the developer's own account out of it."""
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", str(tmp_path / name))
    for name in (
        "PROFILE",
        "SESSION_TOKEN",
        "REGION",
        "DEFAULT_REGION",
        "ENDPOINT_URL",
        "ENDPOINT_URL_SQS",
    ):
        monkeypatch.delenv(f"AWS_{name}", raising=False)


def test_a_service_has_one_client_for_all_threads():
    clients = Clients(Access(region="eu-central-1"))

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(clients.of, ["sqs", "dynamodb"] * 8))

    assert len({id(client) for client in made}) == 2
    assert clients.of("sqs").meta.region_name == "eu-central-1"


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_links_are_signed_as_every_bucket_takes_them_and_tell_temporary_credentials(
    region, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    lasting = _link(region)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")

    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in lasting.url
    assert "X-Amz-Expires=60" in lasting.url
    assert "a%2520b%252Fc.txt" in lasting.url
    assert (lasting.temporary, _link(region).temporary) == (False, True)


def _link(region):
    bucket = Bucket(Clients(Access(region=region)), "bucket", FakeClock(), Random(1))
    return bucket.link("key", "a b/c.txt", 60)


def test_reads_outlast_a_long_poll_and_retries_are_botocores_standard_mode():
    config = Clients(Access(region="eu-central-1")).of("sqs").meta.config

    assert config.read_timeout > 20
    assert config.retries["mode"] == "standard"
    assert config.retries["total_max_attempts"] == patience("sqs").attempts


def test_one_endpoint_holds_for_all_services_but_those_with_their_own():
    clients = Clients(
        Access(
            "eu-central-1", endpoint="http://127.0.0.1:1", endpoints={"ec2": "http://127.0.0.1:2"}
        )
    )

    assert clients.of("sqs").meta.endpoint_url == "http://127.0.0.1:1"
    assert clients.of("ec2").meta.endpoint_url == "http://127.0.0.1:2"


def test_endpoints_of_the_environment_hold_as_in_stock_boto3(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:3")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:4")
    clients = Clients(Access(region="eu-central-1"))

    assert clients.of("sqs").meta.endpoint_url == "http://127.0.0.1:4"
    assert clients.of("ssm").meta.endpoint_url == "http://127.0.0.1:3"


def test_the_region_comes_from_the_profile_if_none_is_named(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text("[profile work]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    assert Clients(Access(profile="work")).region == "eu-north-1"
    assert Clients(Access(profile="work", region="us-east-1")).region == "us-east-1"


def test_the_region_comes_from_the_variables_of_aws_before_any_profile(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text("[profile work]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert Clients(Access(profile="work")).of("sqs").meta.region_name == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert Clients().region == "eu-central-1"
    assert Clients(Access(profile="work")).of("sqs").meta.region_name == "eu-central-1"
    assert Clients(Access(region="us-east-1")).region == "us-east-1"


@pytest.mark.parametrize(
    ("access", "service", "words"),
    [
        (Access(), "sqs", "AWS_REGION"),
        (Access("eu-central-1", profile="nobody"), "sqs", "nobody"),
        (Access("eu-central-1", endpoint="localhost"), "sqs", "http://"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_call(access, service, words):
    with pytest.raises(InvalidError) as found:
        Clients(access).of(service)

    assert words in str(found.value)


def test_a_region_that_there_is_not_is_said_before_the_first_call():
    asked = []

    def resolves(host):
        asked.append(host)
        return host == "ssm.eu-new-1.amazonaws.com"

    for region, endpoint in (("eu-new-1", None), ("eu-centrl-1", "http://127.0.0.1:1")):
        assert Clients(Access(region=region, endpoint=endpoint), resolves).of("ssm")
    with pytest.raises(InvalidError, match="no AWS region 'eu-centrl-1'"):
        Clients(Access(region="eu-centrl-1"), resolves).of("ssm")
    assert Clients(Access(region="eu-central-1"), resolves).of("ssm")

    assert asked == ["ssm.eu-new-1.amazonaws.com", "ssm.eu-centrl-1.amazonaws.com"]


def test_a_region_that_nobody_names_is_asked_for():
    with pytest.raises(InvalidError, match="No AWS region"):
        _ = Clients().region


def test_closed_clients_are_made_anew():
    clients = Clients(Access(region="eu-central-1"))
    before = clients.of("sqs")
    clients.close()

    assert clients.of("sqs") is not before


def conflict():
    return ClientError({"Error": {"Code": "TransactionConflictException"}}, "UpdateItem")


def test_a_call_that_met_another_one_is_repeated_and_the_clock_waits():
    clock = FakeClock(sleepless=True)
    failures = [conflict(), conflict()]

    def call():
        if failures:
            raise failures.pop()
        return "done"

    assert conflicts(clock)(call) == "done"
    assert clock.wall() > FakeClock().wall()


def test_conflicts_without_end_are_raised_and_other_errors_at_once():
    tried = []

    def call(error):
        tried.append(error)
        raise error

    with pytest.raises(ClientError):
        conflicts(FakeClock(sleepless=True), attempts=3)(call, conflict())
    with pytest.raises(KeyError):
        conflicts(FakeClock(sleepless=True))(call, KeyError())

    assert len(tried) == 4


def test_entries_that_are_left_undone_are_sent_again_until_none_is():
    sent = []

    def send(entries):
        sent.append(list(entries))
        return entries[2:]

    where = Where("dynamodb", "BatchWriteItem")
    to_the_last(send, [1, 2, 3, 4, 5], where, FakeClock(sleepless=True), Random(0))

    assert sent == [[1, 2, 3, 4, 5], [3, 4, 5], [5]]


def test_a_batch_of_which_nothing_is_ever_taken_ends_in_an_error():
    where = Where("dynamodb", "BatchWriteItem")
    clock = FakeClock(sleepless=True)

    with pytest.raises(ResourceExhaustedError, match="left 2 of 2 entries undone, 4 times"):
        to_the_last(lambda entries: entries, [1, 2], where, clock, Random(0), attempts=4)
