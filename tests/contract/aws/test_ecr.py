"""What the fake ECR and moto agree on."""

import json
from base64 import b64decode

import pytest
from botocore.exceptions import ClientError

REPOSITORY = {"repositoryName": "cloudfn/main"}
TYPE = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def ecr(account):
    client = account.client("ecr")
    client.create_repository(**REPOSITORY, imageTagMutability="IMMUTABLE")
    return client


def manifest(name):
    return json.dumps({"schemaVersion": 2, "mediaType": TYPE, "layers": [], "annotation": name})


def put(ecr, name, tag):
    params = {"imageManifest": manifest(name), "imageManifestMediaType": TYPE, "imageTag": tag}
    return ecr.put_image(**REPOSITORY, **params)["image"]["imageId"]["imageDigest"]


def described(ecr, **params):
    pages = ecr.get_paginator("describe_images").paginate(**REPOSITORY, **params)
    found = [each for page in pages for each in page["imageDetails"]]
    return {each["imageDigest"]: sorted(each.get("imageTags", [])) for each in found}


def got(ecr, **image_id):
    return ecr.batch_get_image(**REPOSITORY, imageIds=[image_id])


def code(call, **params):
    with pytest.raises(ClientError) as found:
        call(**params)
    return found.value.response["Error"]["Code"]


def test_an_image_is_found_by_tag_and_by_digest(ecr):
    digest = put(ecr, "one", "a")

    assert digest.startswith("sha256:")
    assert described(ecr, imageIds=[{"imageTag": "a"}]) == {digest: ["a"]}
    for image_id in ({"imageTag": "a"}, {"imageDigest": digest}):
        [image] = got(ecr, **image_id)["images"]
        assert image["imageId"]["imageDigest"] == digest
        assert json.loads(image["imageManifest"]) == json.loads(manifest("one"))


def test_an_image_may_have_several_tags(ecr):
    digest = put(ecr, "one", "a")

    assert put(ecr, "one", "b") == digest
    assert described(ecr) == {digest: ["a", "b"]}


def test_an_immutable_tag_stays_with_its_image(ecr):
    digest = put(ecr, "one", "a")

    for name in ("one", "two"):
        params = {"imageManifest": manifest(name), "imageTag": "a"}
        assert code(ecr.put_image, **REPOSITORY, **params) in {
            "ImageTagAlreadyExistsException", "ImageAlreadyExistsException",
        }  # fmt: skip
    assert described(ecr) == {digest: ["a"]}


def test_what_is_not_there_is_not_found(ecr):
    missing = code(ecr.describe_images, **REPOSITORY, imageIds=[{"imageTag": "a"}])
    assert missing == "ImageNotFoundException"
    [failure] = got(ecr, imageTag="a")["failures"]
    assert failure["failureCode"] == "ImageNotFound"
    nowhere = {"repositoryName": "cloudfn/other"}
    assert code(ecr.describe_images, **nowhere) == "RepositoryNotFoundException"
    ids = [{"imageTag": "a"}]
    assert code(ecr.batch_get_image, **nowhere, imageIds=ids) == "RepositoryNotFoundException"
    assert code(ecr.create_repository, **REPOSITORY) == "RepositoryAlreadyExistsException"


def test_an_image_goes_with_its_last_tag_or_by_its_digest(ecr):
    one, two = put(ecr, "one", "a"), put(ecr, "two", "c")
    put(ecr, "one", "b")

    ecr.batch_delete_image(**REPOSITORY, imageIds=[{"imageTag": "a"}])
    assert described(ecr) == {one: ["b"], two: ["c"]}
    ecr.batch_delete_image(**REPOSITORY, imageIds=[{"imageTag": "b"}, {"imageDigest": two}])
    assert described(ecr) == {}
    told = ecr.batch_delete_image(**REPOSITORY, imageIds=[{"imageTag": "a"}])
    assert [each["failureCode"] for each in told["failures"]] == ["ImageNotFound"]


def test_a_token_is_a_user_and_a_password_for_the_registry(ecr):
    [data] = ecr.get_authorization_token()["authorizationData"]

    user, _, password = b64decode(data["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert password
    assert data["proxyEndpoint"].endswith(".dkr.ecr.eu-central-1.amazonaws.com")


def test_a_repository_says_what_to_push_to(ecr):
    [found] = ecr.describe_repositories(repositoryNames=["cloudfn/main"])["repositories"]

    assert found["repositoryUri"].endswith(".dkr.ecr.eu-central-1.amazonaws.com/cloudfn/main")
    assert found["imageTagMutability"] == "IMMUTABLE"
