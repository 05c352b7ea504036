"""The fake ECR is as strict as the documentation."""

import json
from base64 import b64decode

import pytest
from botocore.exceptions import ClientError

from cloudfn.testing.aws import EcrKnobs, FakeAws, Knobs
from cloudfn.testing.aws.service import Refused

REPOSITORY = {"repositoryName": "cloudfn/main"}


def account(**changes):
    aws = FakeAws(knobs=Knobs(ecr=EcrKnobs(**changes)))
    ecr = aws.client("ecr")
    ecr.create_repository(**REPOSITORY, imageTagMutability="IMMUTABLE")
    return aws, ecr


def password(ecr):
    [data] = ecr.get_authorization_token()["authorizationData"]
    return b64decode(data["authorizationToken"]).decode().partition(":")[2]


def push(aws, secret, tag="a", content=b"layer"):
    return aws.ecr.pushed(f"{aws.ecr.registry}/cloudfn/main", tag, [content], secret)


def test_a_token_opens_the_registry_until_it_expires():
    aws, ecr = account(token_lives=100.0)
    secret = password(ecr)
    digest = push(aws, secret)
    assert aws.ecr.pulled(f"{aws.ecr.registry}/cloudfn/main@{digest}", secret) == [b"layer"]

    aws.clock.advance(100.0)
    with pytest.raises(Refused, match="denied"):
        push(aws, secret)
    with pytest.raises(Refused, match="denied"):
        push(aws, "guessed")


def test_a_push_is_repeatable_and_a_tag_is_not_moved():
    aws, ecr = account()
    secret = password(ecr)

    assert push(aws, secret) == push(aws, secret)
    with pytest.raises(Refused, match="immutable"):
        push(aws, secret, content=b"another")


def test_an_image_needs_its_layers():
    _, ecr = account()
    layers = [{"digest": "sha256:0", "size": 1}]

    with pytest.raises(ecr.exceptions.LayersNotFoundException):
        ecr.put_image(**REPOSITORY, imageManifest=json.dumps({"layers": layers}), imageTag="a")


def test_a_mutable_tag_moves():
    aws, ecr = account()
    ecr.create_repository(repositoryName="free")
    for name in ("one", "two"):
        manifest = json.dumps({"layers": [], "name": name})
        ecr.put_image(repositoryName="free", imageManifest=manifest, imageTag="a")

    assert sorted(aws.ecr.truth("free").values()) == [[], ["a"]]


@pytest.mark.parametrize(
    ("image_id", "code"),
    [
        ({}, "MissingDigestAndTag"),
        ({"imageDigest": "sha256:short"}, "InvalidImageDigest"),
        ({"imageDigest": f"sha256:{'0' * 64}"}, "ImageNotFound"),
    ],
)
def test_an_id_that_makes_no_sense_is_a_failure_by_itself(image_id, code):
    _, ecr = account()

    told = ecr.batch_get_image(**REPOSITORY, imageIds=[image_id])

    assert [each["failureCode"] for each in told["failures"]] == [code]
    assert told["images"] == []


def test_calls_beyond_the_rate_are_throttled():
    _, ecr = account(reads=1.0)
    ecr.describe_images(**REPOSITORY)

    with pytest.raises(ClientError, match="ThrottlingException"):
        ecr.describe_images(**REPOSITORY)
