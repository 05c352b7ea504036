"""What SQS accepts: names, sizes, characters, attributes. Pure.

From the API reference of CreateQueue, SetQueueAttributes, SendMessage and SendMessageBatch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cloudfn.testing.aws.service import Refused
from cloudfn.testing.aws.sqs_messages import Attributes

#: bytes of a message, and of a batch together
LARGEST = 1_048_576
BATCH = 10

_NAME = re.compile(r"[\w-]{1,80}\Z", re.ASCII)
_ENTRY_ID = re.compile(r"[\w-]{1,80}\Z", re.ASCII)
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBERS: Mapping[str, tuple[str, int, int]] = {
    "VisibilityTimeout": ("visibility", 0, 43_200),
    "DelaySeconds": ("delay", 0, 900),
    "MessageRetentionPeriod": ("retention", 60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": ("wait", 0, 20),
    "MaximumMessageSize": ("largest", 1_024, LARGEST),
}
_OTHERS = frozenset(
    {
        "KmsDataKeyReusePeriodSeconds",
        "KmsMasterKeyId",
        "Policy",
        "RedriveAllowPolicy",
        "RedrivePolicy",
        "SqsManagedSseEnabled",
    }
)


def check_name(name: str) -> None:
    """Refuse names that SQS refuses, and FIFO queues, which the fake does not have."""
    if name.endswith(".fifo"):
        raise NotImplementedError("The fake of sqs has standard queues only.")
    if not _NAME.match(name):
        raise Refused(
            "InvalidParameterValue",
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )


def attributes_of(raw: Mapping[str, str]) -> Attributes:
    """Return the attributes of a queue.

    Args:
        raw: As they are given in requests.
    """
    values: dict[str, Any] = {}
    for name, text in raw.items():
        if name in _NUMBERS:
            place, least, most = _NUMBERS[name]
            if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
                raise Refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
            values[place] = int(text)
        elif name not in _OTHERS:
            raise Refused("InvalidAttributeName", f"Unknown Attribute {name}.")
    if redrive := raw.get("RedrivePolicy"):
        try:
            policy = json.loads(redrive)
            values["dead_letters"] = str(policy["deadLetterTargetArn"]).rpartition(":")[2]
            values["max_receives"] = int(policy["maxReceiveCount"])
        except (ValueError, KeyError, TypeError):
            raise Refused(
                "InvalidParameterValue", f"Value {redrive} for parameter RedrivePolicy is invalid."
            ) from None
        if not 1 <= values["max_receives"] <= 1_000:
            raise Refused(
                "InvalidParameterValue", "maxReceiveCount must be between 1 and 1000 (both incl)."
            )
    return Attributes(**values)


def size_of(body: str, attributes: Mapping[str, Any]) -> int:
    """Return the bytes of a message: body, and names, types and values of its attributes."""
    size = len(body.encode("utf-8", "surrogatepass"))
    for name, value in attributes.items():
        size += len(name.encode()) + len(value["DataType"])
        size += len(value.get("StringValue", "").encode()) + len(value.get("BinaryValue", b""))
    return size


def check_message(body: str, attributes: Mapping[str, Any], largest: int) -> None:
    """Refuse a message that SQS refuses."""
    if not body:
        raise Refused("MissingParameter", "The request must contain the parameter MessageBody.")
    if _ILLEGAL.search(body):
        raise Refused(
            "InvalidMessageContents", "Message body contains characters that are not allowed."
        )
    if len(attributes) > 10:
        raise Refused(
            "InvalidParameterValue",
            "Number of message attributes exceeds the allowed maximum [10].",
        )
    if size_of(body, attributes) > largest:
        raise Refused(
            "InvalidParameterValue",
            "One or more parameters are invalid. Reason: Message must be shorter than"
            f" {largest} bytes.",
        )


def check_batch(entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a batch that SQS refuses as a whole."""
    if not entries:
        raise Refused("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > BATCH:
        raise Refused(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {BATCH}. You have sent {len(entries)}.",
        )
    ids = [entry["Id"] for entry in entries]
    if len(set(ids)) < len(ids):
        raise Refused("BatchEntryIdsNotDistinct", f"Id {ids} repeated.")
    if not all(_ENTRY_ID.match(each) for each in ids):
        raise Refused("InvalidBatchEntryId", "A batch entry id can only contain [A-Za-z0-9_-].")


def check_batch_size(entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse messages that are too large together."""
    total = sum(
        size_of(entry["MessageBody"], entry.get("MessageAttributes", {})) for entry in entries
    )
    if total > LARGEST:
        raise Refused(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {LARGEST} bytes. You have sent {total} bytes.",
        )


def within(name: str, value: int, least: int, most: int) -> int:
    """Return a number that is in its range, and refuse another."""
    if not least <= value <= most:
        raise Refused(
            "InvalidParameterValue",
            f"Value {value} for parameter {name} is invalid. Reason: Must be >= {least} and <="
            f" {most}.",
        )
    return value
