"""What the fake SQS and moto agree on."""

import json

import pytest
from botocore.exceptions import ClientError, ParamValidationError


@pytest.fixture
def sqs(account):
    return account.client("sqs")


@pytest.fixture
def url(sqs):
    return sqs.create_queue(QueueName="doorbells")["QueueUrl"]


def bodies(answer):
    return [message["Body"] for message in answer.get("Messages", [])]


def code(call, **params):
    with pytest.raises(ClientError) as found:
        call(**params)
    return found.value.response["Error"]["Code"]


def test_what_is_sent_is_received_with_its_attributes(sqs, url):
    attributes = {"kind": {"DataType": "String", "StringValue": "ring"}}
    sent = sqs.send_message(QueueUrl=url, MessageBody="a", MessageAttributes=attributes)
    answer = sqs.receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], AttributeNames=["ApproximateReceiveCount"]
    )

    message = answer["Messages"][0]
    assert message["MessageId"] == sent["MessageId"]
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert message["MessageAttributes"]["kind"]["StringValue"] == "ring"
    assert message["Attributes"] == {"ApproximateReceiveCount": "1"}


def test_a_queue_is_found_by_its_name_and_made_once(sqs, url):
    assert sqs.create_queue(QueueName="doorbells")["QueueUrl"] == url
    assert sqs.get_queue_url(QueueName="doorbells")["QueueUrl"] == url
    assert sqs.list_queues(QueueNamePrefix="door")["QueueUrls"] == [url]
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix="x")


def test_a_queue_that_is_not_there_has_its_own_exception(sqs):
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as found:
        sqs.get_queue_url(QueueName="nobody")

    assert found.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert found.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_received_message_is_hidden_until_its_time_is_over(sqs, url):
    sqs.send_message(QueueUrl=url, MessageBody="a")
    first = sqs.receive_message(QueueUrl=url, VisibilityTimeout=30)["Messages"][0]

    assert bodies(sqs.receive_message(QueueUrl=url)) == []
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0
    )
    again = sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"][0]
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    assert again["ReceiptHandle"] != first["ReceiptHandle"]


def test_a_deleted_message_is_gone_and_deleting_it_again_is_harmless(sqs, url):
    sqs.send_message(QueueUrl=url, MessageBody="a")
    handle = sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"][0]["ReceiptHandle"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)

    assert bodies(sqs.receive_message(QueueUrl=url)) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)


def test_a_batch_says_what_became_of_each_entry(sqs, url):
    entries = [{"Id": f"e{n}", "MessageBody": str(n)} for n in range(10)]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)

    assert [each["Id"] for each in answer["Successful"]] == [f"e{n}" for n in range(10)]
    assert not answer.get("Failed")
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    assert sorted(bodies(received)) == [str(n) for n in range(10)]
    handles = [
        {"Id": f"d{n}", "ReceiptHandle": each["ReceiptHandle"]}
        for n, each in enumerate(received["Messages"])
    ]
    assert len(sqs.delete_message_batch(QueueUrl=url, Entries=handles)["Successful"]) == 10


BATCHES = [
    ([], "AWS.SimpleQueueService.EmptyBatchRequest"),
    (
        [{"Id": f"e{n}", "MessageBody": "x"} for n in range(11)],
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    ),
    (
        [{"Id": "e", "MessageBody": "x"}, {"Id": "e", "MessageBody": "y"}],
        "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
    ),
    ([{"Id": "e e", "MessageBody": "x"}], "AWS.SimpleQueueService.InvalidBatchEntryId"),
    (
        [{"Id": f"e{n}", "MessageBody": "x" * 700_000} for n in range(2)],
        "AWS.SimpleQueueService.BatchRequestTooLong",
    ),
]


@pytest.mark.parametrize(("entries", "expected"), BATCHES)
def test_a_batch_that_cannot_be_is_refused_as_a_whole(sqs, url, entries, expected):
    assert code(sqs.send_message_batch, QueueUrl=url, Entries=entries) == expected
    assert bodies(sqs.receive_message(QueueUrl=url)) == []


def test_a_message_may_have_a_mebibyte_and_no_more(sqs, url):
    sqs.send_message(QueueUrl=url, MessageBody="x" * 1_048_576)

    assert (
        code(sqs.send_message, QueueUrl=url, MessageBody="x" * 1_048_577) == "InvalidParameterValue"
    )


@pytest.mark.parametrize("number", [0, 11])
def test_a_receive_takes_one_to_ten(sqs, url, number):
    expected = "InvalidParameterValue"

    assert code(sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=number) == expected


def test_a_handle_that_is_none_is_refused(sqs, url):
    expected = "ReceiptHandleIsInvalid"

    assert code(sqs.delete_message, QueueUrl=url, ReceiptHandle="nonsense") == expected


def test_visibility_ends_twelve_hours_after_the_receive(sqs, url):
    sqs.send_message(QueueUrl=url, MessageBody="a")
    handle = sqs.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    change = sqs.change_message_visibility

    expected = "InvalidParameterValue"
    assert code(change, QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=43_201) == expected


def test_a_message_that_was_received_too_often_goes_to_the_dead_letters_at_the_next_receive(sqs):
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 2}
    url = sqs.create_queue(
        QueueName="source",
        Attributes={"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "0"},
    )["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    for _ in range(2):
        assert bodies(sqs.receive_message(QueueUrl=url)) == ["poison"]

    assert bodies(sqs.receive_message(QueueUrl=dead)) == []
    assert bodies(sqs.receive_message(QueueUrl=url)) == []
    assert bodies(sqs.receive_message(QueueUrl=dead)) == ["poison"]
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]


def test_counts_tell_waiting_delayed_and_held_messages_apart(sqs, url):
    for delay in (0, 0, 900):
        sqs.send_message(QueueUrl=url, MessageBody="a", DelaySeconds=delay)
    sqs.receive_message(QueueUrl=url)
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]

    assert counts["ApproximateNumberOfMessages"] == "1"
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "1"
    assert counts["ApproximateNumberOfMessagesDelayed"] == "1"


def test_attributes_are_kept_and_wrong_ones_refused(sqs, url):
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "77"})
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])

    assert answer["Attributes"] == {"VisibilityTimeout": "77"}


def test_a_request_that_its_model_forbids_never_leaves(sqs, url):
    for params in ({}, {"QueueUrl": url, "Unknown": 1}, {"QueueUrl": 7}):
        with pytest.raises(ParamValidationError):
            sqs.receive_message(**params)
    with pytest.raises(AttributeError):
        sqs.receive_massage()
