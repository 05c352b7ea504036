"""What S3 does to its users, one nastiness at a time."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, ResponseStreamingError

from cloudfn.testing.aws import FakeAws, Knobs, S3Knobs


def bucket(**nasty):
    """Return (account, client) with a bucket that has these knobs alone."""
    aws = FakeAws(knobs=Knobs(s3=replace(S3Knobs.calm(), **nasty)))
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="bucket")
    return aws, s3


def put(s3, key="key", body=b"body", **params):
    return s3.put_object(Bucket="bucket", Key=key, Body=body, **params)


def code(call, *args, **params):
    with pytest.raises(ClientError) as found:
        call(*args, **params)
    return found.value.response["Error"]["Code"]


def test_a_conditional_put_may_meet_another_one_and_does_nothing():
    aws, s3 = bucket(conflicts=1.0)
    assert code(put, s3, IfNoneMatch="*") == "ConditionalRequestConflict"
    assert aws.s3.truth("bucket") == {}
    put(s3)

    assert aws.s3.truth("bucket") == {"key": b"body"}


def test_of_many_conditional_puts_one_wins():
    _, s3 = bucket()

    def wins(n):
        try:
            put(s3, body=str(n).encode(), IfNoneMatch="*")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(wins, range(64))) == 1


def test_a_prefix_that_is_written_too_fast_is_slowed_down_and_others_are_not():
    aws, s3 = bucket(prefix_writes=5.0)
    for n in range(5):
        put(s3, f"one/{n}")
    assert code(put, s3, "one/5") == "SlowDown"
    put(s3, "two/0")
    aws.clock.advance(1)
    put(s3, "one/5")


def test_a_body_may_break_off_half_way():
    _, s3 = bucket(broken_bodies=1.0)
    put(s3, body=b"x" * 1000)
    body = s3.get_object(Bucket="bucket", Key="key")["Body"]

    with pytest.raises(ResponseStreamingError):
        body.read()


def test_a_page_is_as_short_as_the_knob_says():
    _, s3 = bucket(page=1)
    for n in range(3):
        put(s3, str(n))
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="bucket"))

    assert [page["KeyCount"] for page in pages] == [1, 1, 1]


def test_what_was_put_is_seen_at_once_by_everybody():
    aws, s3 = bucket()
    put(s3)

    assert aws.client("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 1


def test_an_upload_that_nobody_ends_leaves_its_parts():
    aws, s3 = bucket(part=10)
    upload = s3.create_multipart_upload(Bucket="bucket", Key="big")["UploadId"]
    for number in (1, 2):
        s3.upload_part(
            Bucket="bucket", Key="big", UploadId=upload, PartNumber=number, Body=b"x" * 10
        )
    parts = s3.list_parts(Bucket="bucket", Key="big", UploadId=upload)["Parts"]

    assert [part["Size"] for part in parts] == [10, 10]
    assert aws.s3.leftovers("bucket") == 20
    backwards = {"Parts": [{"PartNumber": n, "ETag": parts[n - 1]["ETag"]} for n in (2, 1)]}
    call = {"Bucket": "bucket", "Key": "big", "UploadId": upload, "MultipartUpload": backwards}
    assert code(s3.complete_multipart_upload, **call) == "InvalidPartOrder"
    s3.abort_multipart_upload(Bucket="bucket", Key="big", UploadId=upload)
    assert aws.s3.leftovers("bucket") == 0


def test_a_completion_may_have_a_condition():
    _, s3 = bucket()
    put(s3, "big")
    upload = s3.create_multipart_upload(Bucket="bucket", Key="big")["UploadId"]
    tag = s3.upload_part(Bucket="bucket", Key="big", UploadId=upload, PartNumber=1, Body=b"x")[
        "ETag"
    ]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    call = {"Bucket": "bucket", "Key": "big", "UploadId": upload, "MultipartUpload": parts}

    assert code(s3.complete_multipart_upload, **call, IfNoneMatch="*") == "PreconditionFailed"
    s3.complete_multipart_upload(**call)


def test_a_presigned_url_is_opaque_and_expires():
    aws, s3 = bucket()
    params = {"Bucket": "bucket", "Key": "key"}
    write = s3.generate_presigned_url("put_object", Params=params, ExpiresIn=60)
    read = s3.generate_presigned_url("get_object", Params=params, ExpiresIn=120)

    assert aws.s3.open_url(read) == (404, b"NoSuchKey")
    assert aws.s3.open_url(write, b"from a laptop") == (200, b"")
    assert aws.s3.open_url(read) == (200, b"from a laptop")
    aws.clock.advance(60)
    assert aws.s3.open_url(write, b"late")[0] == 403
    assert aws.s3.open_url(read) == (200, b"from a laptop")
    assert aws.s3.open_url(read + "0")[0] == 403


def test_a_key_has_up_to_1024_bytes():
    _, s3 = bucket()
    put(s3, "k" * 1024)

    assert code(put, s3, "k" * 1025) == "KeyTooLongError"
