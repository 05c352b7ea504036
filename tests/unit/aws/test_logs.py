"""The fake CloudWatch Logs is as strict as the documentation, and as slow."""

import pytest
from botocore.exceptions import ClientError

from cloudfn.testing.aws import FakeAws, Knobs, LogsKnobs
from cloudfn.testing.clock import FakeClock

NAMES = {"logGroupName": "/g", "logStreamName": "s"}
NOW = 1_700_000_000
DAY = 86_400


def account(**changes):
    knobs = LogsKnobs(**{"short_pages": 0.0, **changes})
    aws = FakeAws(FakeClock(NOW, sleepless=True), knobs=Knobs(logs=knobs))
    logs = aws.client("logs", attempts=5)
    logs.create_log_group(logGroupName="/g")
    logs.create_log_stream(**NAMES)
    return aws, logs


def event(seconds, message="x"):
    return {"timestamp": int((NOW + seconds) * 1000), "message": message}


def put(logs, *events):
    return logs.put_log_events(**NAMES, logEvents=list(events))


def messages(logs, **params):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/g", **params)
    return [each["message"] for page in pages for each in page["events"]]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([event(1), event(0)], "chronological order"),
        ([event(-2 * DAY), event(0)], "24 hours"),
        ([event(0, "x" * (1_048_576 - 25))], "Log event too large"),
        ([event(0, "x" * 600_000)] * 2, "Upload too large"),
        ([event(0, "ä" * 524_288)], "Log event too large"),
    ],
)
def test_a_batch_against_the_rules_is_refused_as_a_whole(events, told):
    aws, logs = account()

    with pytest.raises(ClientError, match=told):
        put(logs, *events)

    assert aws.logs.truth("/g") == {"s": []}


def test_events_too_old_or_too_new_are_left_out_and_named():
    aws, logs = account()

    told = put(logs, event(-15 * DAY, "old"), event(0, "good"), event(3 * 3600, "new"))

    assert told["rejectedLogEventsInfo"] == {
        "tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2,
    }  # fmt: skip
    assert aws.logs.truth("/g") == {"s": ["good"]}


def test_events_beyond_the_retention_are_expired():
    _, logs = account(reads_lag=0)
    logs.put_retention_policy(logGroupName="/g", retentionInDays=1)

    assert put(logs, event(-2 * DAY), event(-1.5 * DAY))["rejectedLogEventsInfo"] == {
        "expiredLogEventEndIndex": 2
    }
    with pytest.raises(ClientError, match="no number of days"):
        logs.put_retention_policy(logGroupName="/g", retentionInDays=2)


def test_events_are_readable_a_little_later():
    aws, logs = account(reads_lag=5.0)
    put(logs, event(0))

    assert messages(logs) == []
    aws.clock.advance(5.0)
    assert messages(logs) == ["x"]


def test_pages_may_be_short_or_empty_and_the_token_leads_on():
    _, logs = account(short_pages=0.9, reads_lag=0)
    put(logs, *(event(n, f"{n}") for n in range(40)))

    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName="/g"))

    assert [each["message"] for page in pages for each in page["events"]] == [
        f"{n}" for n in range(40)
    ]
    assert any(not page["events"] for page in pages[:-1])


def test_a_group_that_is_asked_too_often_throttles():
    aws, _ = account(filters=10.0)
    logs = aws.client("logs")

    for _ in range(10):
        logs.filter_log_events(logGroupName="/g")

    with pytest.raises(ClientError, match="ThrottlingException"):
        logs.filter_log_events(logGroupName="/g")
    aws.clock.advance(1.0)
    logs.filter_log_events(logGroupName="/g")


def test_a_pattern_that_the_fake_does_not_know_says_so():
    _, logs = account()

    with pytest.raises(NotImplementedError):
        messages(logs, filterPattern='{ $.call = "fc-1" }')
