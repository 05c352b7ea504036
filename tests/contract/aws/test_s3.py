"""What the fake S3 and moto agree on."""

import pytest
from botocore.exceptions import ClientError

MIB = 1024 * 1024


@pytest.fixture
def s3(account):
    client = account.client("s3")
    client.create_bucket(
        Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    return client


def put(s3, key="key", body=b"0123456789", **params):
    return s3.put_object(Bucket="bucket", Key=key, Body=body, **params)


def error(call, **params):
    with pytest.raises(ClientError) as found:
        call(Bucket="bucket", **params)
    response = found.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_what_is_put_is_got_with_its_metadata(s3):
    etag = put(s3, Metadata={"call": "fc-1"}, ContentType="text/plain")["ETag"]
    answer = s3.get_object(Bucket="bucket", Key="key")

    assert answer["Body"].read() == b"0123456789"
    assert (answer["ETag"], answer["ContentLength"]) == (etag, 10)
    assert (answer["Metadata"], answer["ContentType"]) == ({"call": "fc-1"}, "text/plain")
    assert s3.head_object(Bucket="bucket", Key="key")["ETag"] == etag


RANGES = [
    ("bytes=0-3", b"0123", "bytes 0-3/10"),
    ("bytes=8-", b"89", "bytes 8-9/10"),
    ("bytes=-2", b"89", "bytes 8-9/10"),
    ("bytes=5-99", b"56789", "bytes 5-9/10"),
]


@pytest.mark.parametrize(("wanted", "body", "content_range"), RANGES)
def test_a_range_is_got_alone(s3, wanted, body, content_range):
    put(s3)
    answer = s3.get_object(Bucket="bucket", Key="key", Range=wanted)

    assert (answer["Body"].read(), answer["ContentRange"]) == (body, content_range)


MISSING = [
    ("get_object", {"Key": "nothing"}, ("NoSuchKey", 404)),
    ("head_object", {"Key": "nothing"}, ("404", 404)),
    ("get_object", {"Key": "key", "Range": "bytes=10-"}, ("InvalidRange", 416)),
    ("get_object", {"Key": "key", "IfMatch": '"other"'}, ("PreconditionFailed", 412)),
    ("put_object", {"Key": "key", "IfNoneMatch": "*"}, ("PreconditionFailed", 412)),
    ("put_object", {"Key": "key", "IfMatch": '"other"'}, ("PreconditionFailed", 412)),
    ("abort_multipart_upload", {"Key": "key", "UploadId": "x"}, ("NoSuchUpload", 404)),
    ("delete_bucket", {}, ("BucketNotEmpty", 409)),
]


@pytest.mark.parametrize(("call", "params", "expected"), MISSING)
def test_what_cannot_be_is_refused_with_the_code_of_s3(s3, call, params, expected):
    put(s3)

    assert error(getattr(s3, call), **params) == expected


def test_a_conditional_put_succeeds_where_its_condition_holds(s3):
    etag = put(s3, IfNoneMatch="*")["ETag"]
    put(s3, body=b"new", IfMatch=etag)

    assert s3.get_object(Bucket="bucket", Key="key")["Body"].read() == b"new"


def test_deleting_is_harmless_however_often(s3):
    put(s3)
    for _ in range(2):
        s3.delete_object(Bucket="bucket", Key="key")
    put(s3, "a"), put(s3, "b")
    deleted = s3.delete_objects(
        Bucket="bucket", Delete={"Objects": [{"Key": "a"}, {"Key": "b"}, {"Key": "c"}]}
    )

    assert {each["Key"] for each in deleted["Deleted"]} >= {"a", "b"}
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0


def test_a_listing_has_pages_folders_and_a_beginning(s3):
    for key in ("a", "dir/1", "dir/2", "dir/sub/3", "z"):
        put(s3, key)
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="bucket", PaginationConfig={"PageSize": 2}
    )
    folders = s3.list_objects_v2(Bucket="bucket", Delimiter="/")
    inside = s3.list_objects_v2(Bucket="bucket", Prefix="dir/", Delimiter="/")
    behind = s3.list_objects_v2(Bucket="bucket", StartAfter="dir/2")

    keys = [each["Key"] for page in pages for each in page["Contents"]]
    assert keys == ["a", "dir/1", "dir/2", "dir/sub/3", "z"]
    assert [each["Key"] for each in folders["Contents"]] == ["a", "z"]
    assert folders["CommonPrefixes"] == [{"Prefix": "dir/"}]
    assert inside["CommonPrefixes"] == [{"Prefix": "dir/sub/"}]
    assert [each["Key"] for each in behind["Contents"]] == ["dir/sub/3", "z"]


def test_a_copy_has_the_same_bytes(s3):
    put(s3)
    s3.copy_object(Bucket="bucket", Key="copy", CopySource={"Bucket": "bucket", "Key": "key"})

    assert s3.get_object(Bucket="bucket", Key="copy")["Body"].read() == b"0123456789"


def begin(s3):
    return s3.create_multipart_upload(Bucket="bucket", Key="big")["UploadId"]


def part(s3, upload, number, body):
    answer = s3.upload_part(
        Bucket="bucket", Key="big", UploadId=upload, PartNumber=number, Body=body
    )
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3, upload, parts):
    return {"Key": "big", "UploadId": upload, "MultipartUpload": {"Parts": parts}}


def test_an_upload_in_parts_is_there_once_it_is_completed(s3):
    upload = begin(s3)
    first, second = b"a" * 5 * MIB, b"b"
    parts = [part(s3, upload, 1, first), part(s3, upload, 2, second)]
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
    assert [each["UploadId"] for each in _uploads(s3)] == [upload]
    etag = s3.complete_multipart_upload(Bucket="bucket", **complete(s3, upload, parts))["ETag"]

    assert etag.endswith('-2"')
    assert s3.get_object(Bucket="bucket", Key="big")["Body"].read() == first + second
    assert _uploads(s3) == []


def _uploads(s3):
    return s3.list_multipart_uploads(Bucket="bucket").get("Uploads", [])


def test_parts_have_a_tag_and_a_size(s3):
    upload = begin(s3)
    small = [part(s3, upload, number, b"small") for number in (1, 2)]
    wrong = [{"PartNumber": 7, "ETag": '"x"'}]
    call = s3.complete_multipart_upload

    assert error(call, **complete(s3, upload, small)) == ("EntityTooSmall", 400)
    assert error(call, **complete(s3, upload, wrong)) == ("InvalidPart", 400)


def test_a_bucket_that_is_not_there_is_not_found(s3):
    with pytest.raises(s3.exceptions.NoSuchBucket):
        s3.get_object(Bucket="nowhere", Key="key")
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="nowhere")
