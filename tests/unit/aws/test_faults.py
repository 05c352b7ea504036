"""Faults, and what botocore's retries make of them."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from cloudfn.testing.aws import FakeAws, Knobs


@pytest.fixture
def aws():
    return FakeAws(knobs=Knobs.calm())


@pytest.fixture
def sqs(aws):
    return aws.client("sqs")


@pytest.fixture
def url(sqs):
    return sqs.create_queue(QueueName="q")["QueueUrl"]


def send(sqs, url):
    sqs.send_message(QueueUrl=url, MessageBody="a")


def test_the_next_calls_of_an_operation_fail_and_nothing_is_done(aws, sqs, url):
    aws.faults.fail("sqs", "SendMessage", "RequestThrottled", times=2)
    for _ in range(2):
        with pytest.raises(sqs.exceptions.RequestThrottled):
            send(sqs, url)
    assert aws.sqs.truth("q") == []
    send(sqs, url)

    assert aws.sqs.truth("q") == ["a"]
    assert aws.faults.calls["sqs", "SendMessage"] == 3


def test_everything_fails_for_a_minute(aws, sqs, url):
    aws.faults.fail("*", "*", "InternalError", times=None, until=aws.clock.wall() + 60)
    with pytest.raises(ClientError) as found:
        sqs.list_queues()
    aws.clock.advance(59)
    with pytest.raises(ClientError):
        sqs.list_queues()
    aws.clock.advance(1)
    sqs.list_queues()

    assert found.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


def test_an_answer_is_lost_after_the_work_is_done(aws, sqs, url):
    aws.faults.lose_answer("sqs", "SendMessage")
    with pytest.raises(ReadTimeoutError):
        send(sqs, url)

    assert aws.sqs.truth("q") == ["a"]


def test_an_answer_that_is_lost_is_why_a_retried_send_sends_twice(aws, url):
    patient = aws.client("sqs", attempts=3)
    aws.faults.lose_answer("sqs", "SendMessage")
    send(patient, url)

    assert aws.sqs.truth("q") == ["a", "a"]


def test_a_service_that_cannot_be_reached_does_nothing(aws, sqs, url):
    aws.faults.cut("sqs")
    with pytest.raises(EndpointConnectionError):
        send(sqs, url)
    aws.faults.heal()

    assert aws.sqs.truth("q") == []
    send(sqs, url)


def test_a_service_that_is_back_soon_is_reached_by_who_is_patient(aws, url):
    patient = aws.client("sqs", attempts=3)
    aws.faults.cut("sqs", times=2)
    send(patient, url)

    assert aws.sqs.truth("q") == ["a"]


def test_a_delay_is_waited_for_on_the_clock(aws, sqs, url):
    aws.faults.delay("sqs", "SendMessage", 30)
    begin = aws.clock.wall()
    send(sqs, url)

    assert aws.clock.wall() == begin + 30


def test_attempts_repeat_what_botocore_would_and_nothing_else(aws, url):
    patient = aws.client("sqs", attempts=4)
    aws.faults.fail("sqs", "SendMessage", "RequestThrottled", times=3)
    send(patient, url)
    aws.faults.fail("sqs", "SendMessage", "AccessDenied", times=3)
    with pytest.raises(ClientError, match="AccessDenied"):
        send(patient, url)

    assert aws.faults.calls["sqs", "SendMessage"] == 5


def test_the_same_seed_is_the_same_story():
    def story(seed):
        sqs = FakeAws(seed=seed).client("sqs")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        for _ in range(30):
            send(sqs, url)
        polls = (sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5) for _ in range(30))
        return [[each["MessageId"] for each in poll.get("Messages", [])] for poll in polls]

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_an_operation_that_the_fake_lacks_says_so(sqs):
    with pytest.raises(NotImplementedError, match="ListMessageMoveTasks"):
        sqs.list_message_move_tasks(SourceArn="arn")


def test_a_client_and_its_service_share_nothing_that_can_be_changed(aws):
    dynamodb = aws.client("dynamodb")
    dynamodb.create_table(
        TableName="table",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )
    item = {"pk": {"S": "a"}, "list": {"L": []}}
    dynamodb.put_item(TableName="table", Item=item)
    item["list"]["L"].append({"S": "late"})
    answer = dynamodb.get_item(TableName="table", Key={"pk": {"S": "a"}})
    answer["Item"]["list"]["L"].append({"S": "mine"})

    assert aws.dynamodb.truth("table") == [{"pk": {"S": "a"}, "list": {"L": []}}]
