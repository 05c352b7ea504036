"""What the fake CloudWatch Logs and moto agree on."""

import pytest
from botocore.exceptions import ClientError

from cloudfn.clock import SystemClock

GROUP = {"logGroupName": "/cloudfn/main"}


@pytest.fixture
def logs(account):
    client = account.client("logs")
    client.create_log_group(**GROUP)
    return client


@pytest.fixture
def now(account):
    """Milliseconds since the epoch, as the service counts them."""
    clock = account.fake.clock if account.fake else SystemClock()
    return int(clock.wall() * 1000)


def put(logs, stream, *events):
    return logs.put_log_events(
        **GROUP,
        logStreamName=stream,
        logEvents=[{"timestamp": at, "message": message} for at, message in events],
    )


def messages(logs, **params):
    pages = logs.get_paginator("filter_log_events").paginate(**GROUP, **params)
    return [each["message"] for page in pages for each in page["events"]]


def code(call, **params):
    with pytest.raises(ClientError) as found:
        call(**params)
    return found.value.response["Error"]["Code"]


def test_streams_are_chosen_by_name(logs, now):
    for stream in ("a/1", "a/2", "b/1"):
        logs.create_log_stream(**GROUP, logStreamName=stream)
    put(logs, "a/1", (now, "one"), (now + 20, "three"))
    put(logs, "a/2", (now + 10, "two"))
    put(logs, "b/1", (now + 15, "other"))

    assert sorted(messages(logs)) == ["one", "other", "three", "two"]
    assert messages(logs, logStreamNames=["b/1"]) == ["other"]


def test_times_of_a_query_are_both_included(logs, now):
    logs.create_log_stream(**GROUP, logStreamName="s")
    put(logs, "s", *((now + n, f"{n}") for n in range(5)))

    assert messages(logs, startTime=now + 1, endTime=now + 3) == ["1", "2", "3"]


def test_a_quoted_word_is_looked_for_as_it_is(logs, now):
    logs.create_log_stream(**GROUP, logStreamName="s")
    put(logs, "s", (now, '{"call":"fc-1"}'), (now, '{"call":"fc-2"}'), (now, "FC-1"))

    assert messages(logs, filterPattern='"fc-1"') == ['{"call":"fc-1"}']


def test_what_is_there_is_not_made_again(logs):
    logs.create_log_stream(**GROUP, logStreamName="s")

    assert code(logs.create_log_group, **GROUP) == "ResourceAlreadyExistsException"
    made = code(logs.create_log_stream, **GROUP, logStreamName="s")
    assert made == "ResourceAlreadyExistsException"


def test_what_is_not_there_is_not_found(logs, now):
    event = [{"timestamp": now, "message": "x"}]
    elsewhere = {"logGroupName": "/nowhere", "logStreamName": "s"}

    assert code(logs.create_log_stream, **elsewhere) == "ResourceNotFoundException"
    missing = "ResourceNotFoundException"
    assert code(logs.put_log_events, **GROUP, logStreamName="s", logEvents=event) == missing
    assert code(logs.filter_log_events, logGroupName="/nowhere") == missing


def test_events_too_old_are_left_out(logs, now):
    logs.create_log_stream(**GROUP, logStreamName="s")

    told = put(logs, "s", (now - 15 * 86_400_000, "old"), (now, "good"))

    assert "tooOldLogEventEndIndex" in told["rejectedLogEventsInfo"]
    assert messages(logs) == ["good"]


def test_events_out_of_order_are_refused(logs, now):
    logs.create_log_stream(**GROUP, logStreamName="s")

    with pytest.raises(logs.exceptions.InvalidParameterException):
        put(logs, "s", (now, "x"), (now - 1, "x"))
