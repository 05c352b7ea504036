"""What the metadata service says, and to whom."""

import json

import pytest

from cloudfn.rehearsal.metadata import Tokens, Told, answer, tree

TOLD = Told(
    instance_id="i-1",
    instance_type="m7i.large",
    zone="eu-central-1a",
    region="eu-central-1",
    address="10.212.0.2",
    role="cloudfn-main-agent",
    user_data="#cloud-config\n",
)


def test_values_are_where_ec2_has_them():
    paths = tree(TOLD, 0.0)
    assert answer(paths, "meta-data/instance-id") == "i-1"
    assert answer(paths, "meta-data/placement/availability-zone/") == "eu-central-1a"
    assert answer(paths, "user-data") == "#cloud-config\n"
    document = json.loads(answer(paths, "dynamic/instance-identity/document") or "")
    assert document["region"] == "eu-central-1"


def test_folders_are_listed():
    paths = tree(TOLD, 0.0)
    assert answer(paths, "meta-data/iam/security-credentials/") == "cloudfn-main-agent"
    assert answer(paths, "dynamic/instance-identity/") == "document"
    assert answer(paths, "meta-data/network/interfaces/macs/") == "02:cf:0a:d4:00:02/"
    assert "placement/" in (answer(paths, "meta-data/") or "").split("\n")


def test_what_does_not_befall_a_machine_is_not_found():
    paths = tree(TOLD, 0.0)
    assert answer(paths, "meta-data/spot/instance-action") is None
    assert answer(paths, "meta-data/events/recommendations/rebalance") is None


def test_notices_are_told_as_ec2_tells_them():
    told = Told(**{**_fields(), "interrupted": 120.0, "recommended": 60.0, "ending": True})
    paths = tree(told, 0.0)
    action = json.loads(answer(paths, "meta-data/spot/instance-action") or "")
    assert action == {"action": "terminate", "time": "1970-01-01T00:02:00Z"}
    notice = json.loads(answer(paths, "meta-data/events/recommendations/rebalance") or "")
    assert notice == {"noticeTime": "1970-01-01T00:01:00Z"}
    assert answer(paths, "meta-data/autoscaling/target-lifecycle-state") == "Terminated"


def test_a_token_is_good_for_its_machine_and_its_time():
    tokens = Tokens()
    token = tokens.make("10.212.0.2", "60", 0.0)
    assert token is not None
    assert tokens.is_good(token, "10.212.0.2", 59.0)
    assert not tokens.is_good(token, "10.212.0.2", 60.0)
    assert not tokens.is_good(token, "10.212.0.3", 1.0)
    assert not tokens.is_good("made up", "10.212.0.2", 1.0)


@pytest.mark.parametrize("seconds", ["", "0", "21601", "soon"])
def test_a_token_for_no_time_is_refused(seconds):
    assert Tokens().make("10.212.0.2", seconds, 0.0) is None


def _fields():
    return {name: getattr(TOLD, name) for name in Told.__dataclass_fields__}
