"""The adapters with genuine boto3 clients, and moto behind them: requests are such as boto3 takes.

How they behave when AWS is nasty is asked of the fakes; moto is slow and too kind.
"""

import json
from random import Random

import pytest
from moto import mock_aws

from cloudfn.clock import SystemClock
from cloudfn.errors import DataLossError
from cloudfn.model.call import Status
from cloudfn.providers.aws.clients import Access, Clients
from cloudfn.providers.aws.depot import S3Depot
from cloudfn.providers.aws.doorbells import SqsDoorbells
from cloudfn.providers.aws.keys import load_key, make_key
from cloudfn.providers.aws.secrets import SsmSecrets
from cloudfn.providers.aws.wakeups import SqsWakeups
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.wakeups import Note
from cloudfn.sdk.bundle import empty
from cloudfn.wire.messages import BlobRef

REGION = "eu-central-1"
PART = 5 << 20
DEAD = f"arn:aws:sqs:{REGION}:123456789012:cloudfn-main-dead"
ATTRIBUTES = {
    "MessageRetentionPeriod": "604800",
    "ReceiveMessageWaitTimeSeconds": "20",
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": DEAD, "maxReceiveCount": 1000}),
    "SqsManagedSseEnabled": "true",
    "VisibilityTimeout": "30",
}
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyEncryptedConnections",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": "%s",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }
)
TAGS = {"cloudfn:environment": "main"}


@pytest.fixture(scope="module")
def clients():
    with mock_aws():
        found = Clients(Access(region=REGION))
        found.of("sqs").create_queue(QueueName="cloudfn-main-dead")
        found.of("s3").create_bucket(
            Bucket="bkt", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield found
        found.close()


@pytest.fixture
def common():
    return {"clock": SystemClock(), "random": Random(1)}


def test_doorbells(clients, common):
    bells = SqsDoorbells(clients, "cloudfn-main-", ATTRIBUTES, POLICY, tags=TAGS, **common)
    bells.open("fu-f")
    bells.open("fu-f")
    rings = {Ring("fu-f", "fu-f@1", str(number), b"\0" * number) for number in range(12)}
    assert bells.functions() == ["fu-f"]
    assert bells.ring([*rings, Ring("fu-x", "", "")]) == 12

    heard = set()
    while found := bells.listen("fu-f", 0, 10):
        bells.answer(found)
        bells.answer(found)
        heard |= {each.ring for each in found}
    assert heard == rings
    bells.remove("fu-f")
    bells.remove("fu-f")
    assert bells.functions() == []


def test_wakeups(clients, common):
    client, machine = (
        SqsWakeups(
            clients,
            "cloudfn-main-",
            ATTRIBUTES,
            POLICY,
            tags=TAGS,
            key=lambda: bytes(32),
            **common,
        )
        for _ in range(2)
    )
    note = Note("fc-1", (1, 2), (Status.RETURNED, Status.RAISED), (b"\0", b"\xff"), 3)
    machine.tell(client.open(), [note])
    now = SystemClock().wall()

    assert client.listen(0) == [note]
    assert client.listen(0) == []
    assert machine.sweep(now, 600) == 0
    assert machine.sweep(now + 700, 600) == 1
    client.listen(0)
    machine.tell(client.open(), [note])
    assert client.listen(0) == [note]
    client.close()
    machine.tell(client.open(), [])
    client.close()


@pytest.mark.parametrize("size", [0, 70_000, PART, 2 * PART + 7])
def test_payloads(clients, common, tmp_path, size):
    client, machine = (
        S3Depot(clients, "bkt", lambda: bytes(32), writes_results=results, part=PART, **common)
        for results in (False, True)
    )
    content = Random(size).randbytes(size)
    (tmp_path / "payload").write_bytes(content)
    ref = BlobRef(f"fc-1/r{size}", size, durable=True)
    client.store(ref, tmp_path / "payload")
    client.store(ref, tmp_path / "payload")

    machine.fetch(ref, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    client.delete([ref])
    with pytest.raises(DataLossError):
        machine.fetch(ref, tmp_path / "copy")


def test_bundles(clients, common, tmp_path):
    depot = S3Depot(clients, "bkt", lambda: bytes(32), writes_results=False, **common)
    (tmp_path / "here").mkdir()
    assert not depot.has_bundle(empty().digest)

    depot.store_bundle(empty().digest, tmp_path / "here")

    assert depot.has_bundle(empty().digest)
    depot.fetch_bundle(empty().digest, tmp_path / "there")
    assert (tmp_path / "there").is_dir()


def test_secrets_and_the_key(clients):
    secrets = SsmSecrets(clients, "main", SystemClock())
    secrets.write("st-1", {"A": "{{x}}"}, 1.5)
    secrets.write("st-1", {"A": "{{y}}"}, 2.5)

    assert secrets.read(["st-1", "st-2"]) == [{"A": "{{y}}"}, None]
    assert secrets.list() == {"st-1": 2.5}
    secrets.delete(["st-1", "st-1"])
    assert secrets.list() == {}

    ssm = clients.of("ssm")
    assert make_key(ssm, "main") == make_key(ssm, "main") == load_key(ssm, "main")
