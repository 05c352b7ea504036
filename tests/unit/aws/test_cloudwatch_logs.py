"""Logs on CloudWatch Logs: batches, what is refused or lost, and who reads how far back."""

import json
from dataclasses import replace

import pytest

from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.providers.aws.logs import BOUND, CloudWatchLogs
from cloudfn.testing.aws import FakeAws
from cloudfn.testing.clock import FakeClock

NOW = 1_700_000_000.0
GROUP = "/cloudfn/main"
DAY = 86_400.0


@pytest.fixture
def aws():
    account = FakeAws(FakeClock(NOW, sleepless=True))
    account.client("logs").create_log_group(logGroupName=GROUP)
    return account


@pytest.fixture
def logs(aws):
    return CloudWatchLogs(aws.clients(), GROUP, aws.clock)


def entry(seconds=0.0, text="hello\n", **changes):
    base = LogEntry(NOW + seconds, "ap-1", "jobs", "f", "co-1", "fc-1", "in-1-0", "stdout", text)
    return replace(base, **changes)


def sent(aws):
    return {
        stream: [json.loads(each)["text"] for each in messages]
        for stream, messages in aws.logs.truth(GROUP).items()
    }


def test_each_container_has_a_stream_and_an_app_one_for_the_rest(aws, logs):
    logs.write(entry())
    logs.write(entry(container_id="co-2"))
    logs.write(entry(container_id="", source="system"))
    logs.flush()

    assert set(aws.logs.truth(GROUP)) == {"ap-1/co-1", "ap-1/co-2", "ap-1/_app"}


def test_a_line_says_to_people_and_queries_what_it_belongs_to(aws, logs):
    logs.write(entry())
    logs.flush()

    [[line]] = aws.logs.truth(GROUP).values()
    said = json.loads(line)
    assert said["app"] == "jobs"
    assert said["function"] == "f"
    assert said["call"] == "fc-1"
    assert said["input"] == "in-1-0"
    assert said["source"] == "stdout"


@pytest.mark.parametrize(
    ("count", "text", "batches"),
    [(10_001, "x", 2), (150, "x" * 16_000, 3), (1, "x" * 3_000_000, 3), (3, "x", 1)],
)
def test_batches_are_as_large_as_aws_takes_and_nothing_is_lost(aws, logs, count, text, batches):
    for _ in range(count):
        logs.write(entry(text=text))
    logs.flush()

    assert logs.trouble is None
    assert aws.faults.calls["logs", "PutLogEvents"] == batches
    assert "".join(sent(aws)["ap-1/co-1"]) == text * count


def test_a_batch_spans_a_day_at_most_and_is_in_the_order_of_time(aws, logs):
    for days in (0.0, -3.0, -1.0, -2.5):
        logs.write(entry(days * DAY, f"{days}"))
    logs.flush()

    assert logs.trouble is None
    assert sent(aws)["ap-1/co-1"] == ["-3.0", "-2.5", "-1.0", "0.0"]


@pytest.mark.parametrize("days", [-400.0, -14.0, 1.0, -NOW / DAY])
def test_an_entry_of_a_time_that_aws_refuses_is_kept_with_its_own_time(aws, logs, days):
    logs.write(entry(days * DAY))
    logs.flush()
    aws.clock.advance(60.0)

    assert logs.lost == 0
    assert logs.read(LogQuery()) == [entry(days * DAY)]


def test_what_expires_at_once_is_counted(aws, logs):
    aws.client("logs").put_retention_policy(logGroupName=GROUP, retentionInDays=1)
    logs.write(entry(-2 * DAY))
    logs.write(entry())
    logs.flush()

    assert logs.lost == 1
    assert sent(aws) == {"ap-1/co-1": ["hello\n"]}


def test_what_aws_cannot_take_now_is_sent_by_the_next_flush_in_order(aws, logs):
    aws.faults.cut("logs", times=8)
    logs.write(entry(0.0, "a"))
    logs.write(entry(0.0, "b", container_id="co-2"))
    logs.flush()
    assert logs.trouble is not None
    assert aws.faults.calls["logs", "CreateLogStream"] == 8
    logs.write(entry(1.0, "c"))

    logs.flush()

    assert logs.trouble is None
    assert logs.lost == 0
    assert sent(aws) == {"ap-1/co-1": ["a", "c"], "ap-1/co-2": ["b"]}


def test_trouble_is_said_once_for_as_long_as_it_lasts(aws, logs, caplog):
    aws.faults.cut("logs")
    for _ in range(3):
        logs.write(entry())
        logs.flush()
    aws.faults.heal()
    logs.flush()

    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "logs:CreateLogStream" in caplog.text
    assert len(sent(aws)["ap-1/co-1"]) == 3


def test_a_lost_answer_makes_two_lines_and_one_entry(aws, logs):
    aws.faults.lose_answer("logs", "PutLogEvents")
    logs.write(entry())
    logs.flush()
    aws.clock.advance(60.0)

    assert sent(aws) == {"ap-1/co-1": ["hello\n", "hello\n"]}
    assert logs.read(LogQuery()) == [entry()]


def test_a_batch_that_is_refused_for_good_is_given_up_and_others_are_sent(aws, logs):
    aws.faults.fail("logs", "PutLogEvents", "InvalidParameterException")
    logs.write(entry())
    logs.write(entry(container_id="co-2"))
    logs.flush()

    assert isinstance(logs.trouble, InvalidError)
    assert logs.lost == 1
    assert sent(aws)["ap-1/co-2"] == ["hello\n"]


def test_a_stream_that_somebody_removed_is_made_again(aws, logs):
    logs.write(entry(0.0, "a"))
    logs.flush()
    aws.client("logs").delete_log_stream(logGroupName=GROUP, logStreamName="ap-1/co-1")
    logs.write(entry(1.0, "b"))

    logs.flush()

    assert sent(aws) == {"ap-1/co-1": ["b"]}


def test_a_group_that_is_missing_costs_no_work_and_is_named(aws):
    logs = CloudWatchLogs(aws.clients(), "/cloudfn/other", aws.clock)
    logs.write(entry())
    logs.flush()

    assert isinstance(logs.trouble, NotFoundError)
    assert logs.lost == 0
    with pytest.raises(NotFoundError, match="log group /cloudfn/other") as caught:
        logs.read(LogQuery())
    assert caught.value.hint is not None


def test_what_nobody_flushes_is_bounded(aws, logs):
    for _ in range(3 * BOUND // 16_000):
        logs.write(entry(text="x" * 16_000))
    lost = logs.lost
    assert lost > BOUND // 16_000

    logs.flush()

    assert len(sent(aws)["ap-1/co-1"]) + lost == 3 * BOUND // 16_000


@pytest.mark.parametrize("name", ["../etc", "a/b", ".", "", "_app", "a:b", "x" * 200])
def test_ids_that_are_no_names_are_refused(logs, name):
    with pytest.raises(InvalidError):
        logs.write(entry(app_id=name))
    if name:
        with pytest.raises(InvalidError):
            logs.write(entry(container_id=name))


def test_the_last_entries_are_found_without_reading_all_that_is_older(aws, logs):
    for hours in range(240):
        logs.write(entry(-3600.0 * hours, f"{hours}"))
    logs.flush()
    aws.clock.advance(60.0)

    assert [one.text for one in logs.read(LogQuery(tail=2))] == ["1", "0"]
    assert [one.text for one in logs.read(LogQuery(tail=1, until=NOW - 7000.0))] == ["2"]
    assert len(logs.read(LogQuery(tail=None))) == 240


def test_lines_of_others_in_the_group_are_left_out(aws, logs):
    logs.write(entry())
    logs.flush()
    for message in ("plain", "[1]", "7", '{"at":1.0}'):
        aws.client("logs").put_log_events(
            logGroupName=GROUP,
            logStreamName="ap-1/co-1",
            logEvents=[{"timestamp": int(NOW * 1000), "message": message}],
        )
    aws.clock.advance(60.0)

    assert logs.read(LogQuery()) == [entry()]
