"""Whether an environment on AWS can be used from here, on fakes."""

import json
from email.utils import formatdate

import pytest

from cloudfn.providers.aws.checks import check_access, check_clock, check_leavings
from cloudfn.providers.aws.keys import make_key
from cloudfn.providers.aws.outputs import read_outputs
from cloudfn.testing import FakeAws
from cloudfn.testing.aws import Knobs
from tests.unit.aws.test_outputs import WRITTEN

REGION = "eu-central-1"


@pytest.fixture
def aws():
    made = FakeAws(knobs=Knobs.calm())
    put(made, "outputs", json.dumps(WRITTEN))
    make_key(made.client("ssm"), "main")
    return made


def put(aws, name, value):
    aws.client("ssm").put_parameter(Name=f"/cloudfn/main/{name}", Value=value, Type="String")


def access(aws, **more):
    asked = {"environment": "main", "region": REGION, "now": aws.clock.wall(), **more}
    return [(each.check, each.level) for each in check_access(aws.clients(), **asked)]


def test_an_environment_that_is_there_can_be_used(aws):
    assert access(aws) == [
        ("credentials", "ok"), ("clock", "ok"), ("environment", "ok"), ("key", "ok")
    ]  # fmt: skip


def test_without_credentials_nothing_more_is_asked(aws):
    aws.faults.fail("sts", "GetCallerIdentity", "ExpiredToken")

    assert access(aws) == [("credentials", "fail")]


def test_an_environment_that_is_elsewhere_fails_with_a_way_out(aws):
    *_, found = check_access(aws.clients(), "staging", REGION, aws.clock.wall())

    assert (found.check, found.level) == ("environment", "fail")
    assert "cloudfn infra apply" in found.hint


def test_who_may_not_read_the_key_can_deploy(aws):
    findings = check_access(aws.clients(), "main", REGION, aws.clock.wall())
    assert [next(findings).check for _ in range(3)][-1] == "environment"
    aws.faults.fail("ssm", "GetParameter", "AccessDeniedException")

    (found,) = findings
    assert (found.check, found.level) == ("key", "warn")


@pytest.mark.parametrize(
    ("skew", "level", "text"),
    [
        (0, "ok", "as AWS's"),
        (90, "warn", "90 s ahead of AWS"),
        (-90, "warn", "90 s behind AWS"),
        (4_000, "fail", "4000 s ahead of AWS"),
    ],
)
def test_a_clock_that_is_wrong_is_told_of(skew, level, text):
    found = check_clock(formatdate(1_800_000_000, usegmt=True), 1_800_000_000 + skew)

    assert (found.level, found.text) == (level, text)


def test_mailboxes_and_parameters_that_nobody_needs_are_found(aws):
    for name in ("reply-here", "reply-gone", "fu-1"):
        aws.client("sqs").create_queue(QueueName=f"cloudfn-main-{name}")
    for name in ("fu-1", "fu-1.v/scheduled", "fu-9", "fu-9/scheduled"):
        put(aws, f"pools/{name}", "{}")
    outputs = read_outputs(aws.client("ssm"), "main", REGION)

    mailboxes, parameters = check_leavings(
        aws.clients(), outputs, {"fu-1"}, {"cloudfn-main-reply-here"}
    )

    assert (mailboxes.level, mailboxes.text) == (
        "warn", "1 of clients that are gone: cloudfn-main-reply-gone"
    )  # fmt: skip
    assert parameters.text == (
        "2 of pools that no app has: /cloudfn/main/pools/fu-9, /cloudfn/main/pools/fu-9/scheduled"
    )
    assert "delete-parameters" in parameters.hint


def test_what_may_not_be_listed_is_told_of(aws):
    aws.faults.fail("sqs", "ListQueues", "AccessDenied")
    outputs = read_outputs(aws.client("ssm"), "main", REGION)

    mailboxes, parameters = check_leavings(aws.clients(), outputs, (), ())

    assert (mailboxes.level, parameters.level) == ("warn", "ok")
