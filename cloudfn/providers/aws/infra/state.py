"""The bucket that holds Terraform's state: private, encrypted, versioned."""

from __future__ import annotations

import json
from typing import Any

from cloudfn.errors import ConflictError, NotFoundError
from cloudfn.providers.aws.errors import explained

#: what tells a bucket that `ensure_bucket` made from one that was there before
_OURS = {"Key": "cloudfn:managed-by", "Value": "cloudfn infra init"}
#: the only region in which a bucket is made without saying where
_FIRST_REGION = "us-east-1"


def bucket_name(account_id: str, region: str) -> str:
    """Return the name of an account's bucket for state in a region."""
    return f"cloudfn-state-{account_id}-{region}"


def bucket_location(region: str) -> dict[str, Any]:
    """Return what CreateBucket is told of the place, in the words of boto3."""
    if region == _FIRST_REGION:
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


def state_key(environment: str) -> str:
    """Return the name of an environment's state in the bucket."""
    return f"cloudfn/{environment}/terraform.tfstate"


def ensure_bucket(s3: Any, name: str, region: str, partition: str = "aws") -> bool:
    """Have the bucket, closed to everybody else; return whether it was made just now.

    One that was there before and is not of our making stays as it is.

    Args:
        s3: boto3's client.
        name: Of the bucket.
        region: Where it is made.
        partition: aws, aws-cn or aws-us-gov.

    Raises:
        ConflictError: Somebody else has a bucket of that name.
    """
    made = not exists(s3, name)
    if made:
        _create(s3, name, region)
        with explained("s3", "PutBucketTagging", f"bucket {name}"):
            s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [_OURS]})
    elif not _is_ours(s3, name):
        return False
    with explained("s3", "PutBucket…", f"bucket {name}"):
        s3.put_public_access_block(
            Bucket=name,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
        )
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_encryption(
            Bucket=name,
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps(_policy(name, partition)))
    return made


def forget_state(s3: Any, name: str, key: str) -> bool:
    """Delete an environment's state in all its versions, and our bucket if that was the last.

    Returns:
        Whether the bucket is gone too.
    """
    if not exists(s3, name):
        return True
    with explained("s3", "DeleteObjects", f"bucket {name}"):
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=name)
        others = False
        for page in pages:
            for each in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                if each["Key"].startswith(key):
                    s3.delete_object(Bucket=name, Key=each["Key"], VersionId=each["VersionId"])
                else:
                    others = True
    if others or not _is_ours(s3, name):
        return False
    with explained("s3", "DeleteBucket", f"bucket {name}"):
        s3.delete_bucket(Bucket=name)
    return True


def _is_ours(s3: Any, name: str) -> bool:
    try:
        with explained("s3", "GetBucketTagging", f"bucket {name}"):
            return _OURS in s3.get_bucket_tagging(Bucket=name)["TagSet"]
    except NotFoundError:
        return False  # it has no tags


def exists(s3: Any, name: str) -> bool:
    """Whether there is a bucket of that name.

    Raises:
        ConflictError: It is somebody else's.
    """
    from botocore.exceptions import ClientError

    try:
        with explained("s3", "HeadBucket", f"bucket {name}"):
            s3.head_bucket(Bucket=name)
    except NotFoundError:
        return False
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and cause.response["Error"]["Code"] in ("403", "301"):
            raise ConflictError(
                f"The bucket {name} is not ours, or lies elsewhere.",
                hint="Name another one: `cloudfn infra init --state-bucket NAME`.",
            ) from error
        raise
    return True


def _create(s3: Any, name: str, region: str) -> None:
    with explained("s3", "CreateBucket", f"bucket {name}"):
        s3.create_bucket(
            Bucket=name, ObjectOwnership="BucketOwnerEnforced", **bucket_location(region)
        )


def _policy(name: str, partition: str) -> dict[str, Any]:
    arn = f"arn:{partition}:s3:::{name}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyEncryptedConnections",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }
