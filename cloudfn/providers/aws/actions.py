"""Which permission an operation needs, where its name is another one. Pure.

From the Service Authorization Reference: most actions are called like their operation.
"""

from __future__ import annotations

from collections.abc import Mapping

_OTHER: Mapping[tuple[str, str], str] = {
    ("sqs", "SendMessageBatch"): "sqs:SendMessage",
    ("sqs", "DeleteMessageBatch"): "sqs:DeleteMessage",
    ("sqs", "ChangeMessageVisibilityBatch"): "sqs:ChangeMessageVisibility",
    ("dynamodb", "TransactGetItems"): "dynamodb:GetItem",
    (
        "dynamodb",
        "TransactWriteItems",
    ): "dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem and dynamodb:ConditionCheckItem",
    ("lambda", "Invoke"): "lambda:InvokeFunction",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "HeadBucket"): "s3:ListBucket",
    ("s3", "ListObjects"): "s3:ListBucket",
    ("s3", "ListObjectsV2"): "s3:ListBucket",
    ("s3", "ListBuckets"): "s3:ListAllMyBuckets",
    ("s3", "DeleteObjects"): "s3:DeleteObject",
    ("s3", "CopyObject"): "s3:GetObject and s3:PutObject",
    ("s3", "CreateMultipartUpload"): "s3:PutObject",
    ("s3", "UploadPart"): "s3:PutObject",
    ("s3", "CompleteMultipartUpload"): "s3:PutObject",
    ("s3", "ListParts"): "s3:ListMultipartUploadParts",
    ("s3", "ListMultipartUploads"): "s3:ListBucketMultipartUploads",
}
#: boto3's name of a service, where permissions have another
_PREFIX: Mapping[str, str] = {"stepfunctions": "states"}


def needed_action(service: str, operation: str) -> str:
    """Return the IAM action that an operation needs, such as `sqs:SendMessage`."""
    usual = f"{_PREFIX.get(service, service)}:{operation}"
    return _OTHER.get((service, operation), usual)
