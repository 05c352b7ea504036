"""Which service a request is for, what befalls it, and how a refusal looks to boto3."""

import pytest
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.session import Session

from cloudfn.errors import NotFoundError
from cloudfn.rehearsal.faults import (
    Kind,
    Rule,
    check_service,
    refusal,
    rule_for,
    rules_of,
    rules_text,
    service_of,
)

_SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/{}/aws4_request,"
    " SignedHeaders=host, Signature=0"
)


@pytest.mark.parametrize("service", ["sqs", "autoscaling", "dynamodb", "s3"])
def test_a_request_is_for_the_service_that_it_is_signed_for(service):
    assert service_of("/", {"authorization": _SIGNATURE.format(service)}) == service


def test_a_presigned_request_is_recognised_by_its_address():
    target = "/b/k?X-Amz-Credential=test%2F20260101%2Feu-central-1%2Fs3%2Faws4_request&X=1"
    assert service_of(target, {}) == "s3"


def test_a_request_that_nobody_signed_is_for_no_service():
    assert service_of("/v2/", {"authorization": "Basic QVdTOng="}) == ""


def test_the_latest_rule_that_still_holds_befalls_a_service():
    rules = [
        Rule("*", Kind.DELAY, until=10.0),
        Rule("sqs", Kind.FAIL, until=20.0),
        Rule("sqs", Kind.LOSE, until=5.0),
    ]
    found = {now: rule_for(rules, "sqs", now) for now in (4.0, 7.0, 30.0)}
    kinds = {now: rule and rule.kind for now, rule in found.items()}
    assert kinds == {4.0: Kind.LOSE, 7.0: Kind.FAIL, 30.0: None}
    other = rule_for(rules, "s3", 4.0)
    assert other is not None
    assert other.kind is Kind.DELAY


def test_rules_come_back_from_their_file_as_they_were():
    rules = (Rule("sqs", Kind.DELAY, until=10.0, delay=0.5), Rule("*", Kind.FAIL, until=1.0))
    assert rules_of(rules_text(rules)) == rules


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [
        ("dynamodb", "ThrottlingException", 400),
        ("sqs", "RequestThrottled", 403),
        ("ssm", "ThrottlingException", 400),
        ("scheduler", "ThrottlingException", 400),
        ("s3", "SlowDown", 503),
        ("ec2", "RequestLimitExceeded", 503),
        ("autoscaling", "Throttling", 400),
    ],
)
def test_boto3_reads_a_refusal_as_that_of_the_service(service, code, status):
    told = refusal(service, Kind.THROTTLE)
    model = ServiceModel(Session().get_service_model(service)._service_description)
    parser = create_parser(model.resolved_protocol)
    shape = model.operation_model(model.operation_names[0]).output_shape
    answer = {
        "status_code": told.status,
        "headers": dict(told.headers) | {"content-type": told.content_type},
        "body": told.body,
    }
    assert parser.parse(answer, shape)["Error"]["Code"] == code
    assert told.status == status


def test_a_fault_of_a_service_that_there_is_not_is_refused():
    for known in ("sqs", "autoscaling", "logs", "*"):
        check_service(known)
    with pytest.raises(NotFoundError, match="There is no service 'dynamo'"):
        check_service("dynamo")
