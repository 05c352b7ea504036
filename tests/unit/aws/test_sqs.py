"""What SQS does to its users, one nastiness at a time."""

import json
from dataclasses import replace
from threading import Thread

import pytest
from botocore.exceptions import ClientError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloudfn.testing import FakeClock
from cloudfn.testing.aws import FakeAws, Knobs, SqsKnobs


def queue(clock=None, attributes=None, **nasty):
    """Return (account, client, URL) of a queue that has these knobs alone."""
    knobs = Knobs(sqs=replace(SqsKnobs.calm(), **nasty))
    aws = FakeAws(clock, knobs=knobs)
    sqs = aws.client("sqs")
    return aws, sqs, sqs.create_queue(QueueName="q", Attributes=attributes or {})["QueueUrl"]


def receive(sqs, url, **params):
    return sqs.receive_message(QueueUrl=url, **params).get("Messages", [])


def send(sqs, url, *bodies):
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)


def test_a_message_may_come_twice_within_its_visibility_timeout():
    aws, sqs, url = queue(doubled=1.0)
    send(sqs, url, "a")

    assert len(receive(sqs, url, VisibilityTimeout=3600)) == 1
    aws.clock.advance(11)
    assert len(receive(sqs, url)) == 1


def test_a_deleted_message_may_come_back():
    aws, sqs, url = queue(resurrected=1.0)
    send(sqs, url, "a")
    [message] = receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    aws.clock.advance(11)

    assert [each["Body"] for each in receive(sqs, url)] == ["a"]


def test_messages_come_in_any_order():
    _, sqs, url = queue(shuffled=20)
    send(sqs, url, *map(str, range(10)))
    order = [each["Body"] for each in receive(sqs, url, MaxNumberOfMessages=10)]

    assert sorted(order) == list(map(str, range(10)))
    assert order != sorted(order)


def test_a_short_poll_may_find_nothing_and_a_long_poll_finds_something():
    _, sqs, url = queue(sampled=1.0)
    send(sqs, url, *map(str, range(10)))

    short = {len(receive(sqs, url, MaxNumberOfMessages=2, VisibilityTimeout=0)) for _ in range(50)}
    long = {
        len(receive(sqs, url, MaxNumberOfMessages=2, VisibilityTimeout=0, WaitTimeSeconds=1))
        for _ in range(50)
    }
    assert (short, long) == ({0, 1, 2}, {1, 2})


def test_a_message_may_need_time_until_it_can_be_received():
    aws, sqs, url = queue(sending_takes=5.0)
    send(sqs, url, "a")

    assert receive(sqs, url) == []
    aws.clock.advance(5)
    assert len(receive(sqs, url)) == 1


def test_counts_may_be_a_minute_old_and_are_right_then():
    aws, sqs, url = queue(counts_lag=60.0)

    def count():
        asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(asked["ApproximateNumberOfMessages"])

    assert count() == 0
    send(sqs, url, "a")
    assert count() == 0
    aws.clock.advance(60)
    assert count() == 1


def test_a_message_that_nobody_deletes_comes_back_after_its_timeout():
    aws, sqs, url = queue(attributes={"VisibilityTimeout": "40"})
    send(sqs, url, "a")
    receive(sqs, url)
    aws.clock.advance(39.9)
    assert receive(sqs, url) == []
    aws.clock.advance(0.1)
    assert len(receive(sqs, url)) == 1


@pytest.mark.parametrize(("deletes", "left"), [(0.0, ["a"]), (1.0, [])])
def test_deleting_with_an_old_handle_succeeds_and_may_do_nothing(deletes, left):
    aws, sqs, url = queue(stale_deletes=deletes)
    send(sqs, url, "a")
    [old] = receive(sqs, url, VisibilityTimeout=0)
    receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=old["ReceiptHandle"])

    assert aws.sqs.truth("q") == left


def test_an_old_handle_extends_nothing():
    _, sqs, url = queue()
    send(sqs, url, "a")
    [old] = receive(sqs, url, VisibilityTimeout=0)
    receive(sqs, url)

    with pytest.raises(ClientError, match="not available for visibility timeout change"):
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=old["ReceiptHandle"], VisibilityTimeout=60
        )


def test_a_message_that_is_back_cannot_be_extended():
    aws, sqs, url = queue()
    send(sqs, url, "a")
    [message] = receive(sqs, url, VisibilityTimeout=1)
    aws.clock.advance(1)

    with pytest.raises(sqs.exceptions.MessageNotInflight):
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=60
        )


def test_the_twelve_hours_are_counted_from_the_receive():
    aws, sqs, url = queue()
    send(sqs, url, "a")
    [message] = receive(sqs, url, VisibilityTimeout=43_200)
    handle = message["ReceiptHandle"]
    aws.clock.advance(43_000)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=200)

    with pytest.raises(ClientError, match="beyond the limit"):
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=201)


def test_characters_that_xml_does_not_know_are_refused():
    _, sqs, url = queue()

    with pytest.raises(sqs.exceptions.InvalidMessageContents):
        sqs.send_message(QueueUrl=url, MessageBody="\x01")


def test_more_in_flight_than_allowed_is_over_the_limit():
    _, sqs, url = queue(in_flight=2)
    send(sqs, url, "a", "b", "c")
    receive(sqs, url, MaxNumberOfMessages=10, VisibilityTimeout=60)

    with pytest.raises(sqs.exceptions.OverLimit):
        receive(sqs, url)


def test_an_entry_of_a_batch_may_fail_while_the_answer_is_good():
    _, sqs, url = queue(entry_fails=0.5)
    entries = [{"Id": f"e{n}", "MessageBody": str(n)} for n in range(10)]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)

    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert 0 < len(answer["Failed"]) < 10
    assert len(answer["Failed"]) + len(answer["Successful"]) == 10
    assert len(receive(sqs, url, MaxNumberOfMessages=10)) == len(answer["Successful"])


def test_messages_older_than_the_retention_are_gone_in_the_dead_letters_too():
    aws, sqs, _ = queue()
    dead = sqs.create_queue(QueueName="dead", Attributes={"MessageRetentionPeriod": "100"})
    policy = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:r:a:dead", "maxReceiveCount": "1"})
    url = sqs.create_queue(QueueName="s", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    send(sqs, url, "a")
    receive(sqs, url, VisibilityTimeout=0)
    aws.clock.advance(60)
    send(sqs, dead["QueueUrl"], "younger")
    receive(sqs, url)
    assert aws.sqs.truth("dead") == ["younger", "a"]
    aws.clock.advance(40)

    assert aws.sqs.truth("dead") == ["younger"]
    assert [each["Body"] for each in receive(sqs, dead["QueueUrl"])] == ["younger"]


def test_a_deleted_queue_keeps_its_name_for_a_minute_and_swallows_what_is_sent():
    aws, sqs, url = queue()
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.QueueDeletedRecently):
        sqs.create_queue(QueueName="q")
    accepted = 0
    for _ in range(20):
        try:
            send(sqs, url, "lost")
        except sqs.exceptions.QueueDoesNotExist:
            continue
        accepted += 1
    aws.clock.advance(60)
    sqs.create_queue(QueueName="q")

    assert 0 < accepted < 20
    assert aws.sqs.truth("q") == []


def test_a_queue_is_purged_once_a_minute():
    _, sqs, url = queue()
    send(sqs, url, "a")
    sqs.purge_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.PurgeQueueInProgress):
        sqs.purge_queue(QueueUrl=url)

    assert receive(sqs, url) == []


def test_changed_attributes_hold_after_a_minute_though_they_are_shown_at_once():
    aws, sqs, url = queue(attributes_lag=60.0)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    send(sqs, url, "a")
    receive(sqs, url)
    assert receive(sqs, url) == []
    aws.clock.advance(60)
    receive(sqs, url)

    assert len(receive(sqs, url)) == 1


def test_a_long_poll_moves_a_sleepless_clock_to_the_message_or_to_its_end():
    aws, sqs, url = queue()
    sqs.send_message(QueueUrl=url, MessageBody="a", DelaySeconds=7)
    begin = aws.clock.wall()

    assert len(receive(sqs, url, WaitTimeSeconds=20)) == 1
    assert aws.clock.wall() == pytest.approx(begin + 7)
    assert receive(sqs, url, WaitTimeSeconds=10) == []
    assert aws.clock.wall() == pytest.approx(begin + 17)


def test_a_long_poll_that_waits_is_woken_by_a_message_and_by_time():
    clock = FakeClock()
    _, sqs, url = queue(clock)
    found = []
    for arrive in (lambda: send(sqs, url, "a"), lambda: clock.advance(20)):
        poll = Thread(target=lambda: found.append(receive(sqs, url, WaitTimeSeconds=20)))
        poll.start()
        clock.wait_for_waiters()
        arrive()
        poll.join(10)
        assert not poll.is_alive()

    assert [len(each) for each in found] == [1, 0]


class NothingIsLost(RuleBasedStateMachine):
    """Whatever consumers do, a message stays until somebody deletes it."""

    @initialize(seed=st.integers(0, 10_000))
    def open(self, seed):
        self.aws = FakeAws(seed=seed)
        self.sqs = self.aws.client("sqs")
        self.url = self.sqs.create_queue(QueueName="q")["QueueUrl"]
        self.sent, self.deleted, self.handles = set(), set(), []

    @rule()
    def send(self):
        self.sent.add(body := str(len(self.sent)))
        send(self.sqs, self.url, body)

    @rule(count=st.integers(1, 10))
    def send_batch(self, count):
        entries = [{"Id": str(n), "MessageBody": f"{len(self.sent)}.{n}"} for n in range(count)]
        answer = self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)
        self.sent |= {
            entries[int(each["Id"])]["MessageBody"] for each in answer.get("Successful", [])
        }

    @rule(limit=st.integers(1, 10), wait=st.sampled_from([0, 5]), hidden=st.integers(0, 60))
    def receive(self, limit, wait, hidden):
        found = receive(
            self.sqs,
            self.url,
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=wait,
            VisibilityTimeout=hidden,
        )
        assert len(found) <= limit
        self.handles += [(each["Body"], each["ReceiptHandle"]) for each in found]

    @rule(data=st.data())
    def delete(self, data):
        if self.handles:
            body, handle = data.draw(st.sampled_from(self.handles))
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=handle)
            self.deleted.add(body)

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds):
        self.aws.clock.advance(seconds)

    @invariant()
    def what_nobody_deleted_is_there(self):
        if hasattr(self, "aws"):
            there = self.aws.sqs.truth("q")
            assert len(there) == len(set(there))
            assert self.sent - self.deleted <= set(there) <= self.sent

    def teardown(self):
        if not hasattr(self, "aws"):
            return
        seen = set()
        self.aws.clock.advance(100)
        for _ in range(2000):
            for each in receive(self.sqs, self.url, MaxNumberOfMessages=10, WaitTimeSeconds=20):
                seen.add(each["Body"])
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=each["ReceiptHandle"])
            if not self.aws.sqs.truth("q"):
                break
        assert self.sent - self.deleted <= seen


TestNothingIsLost = NothingIsLost.TestCase
TestNothingIsLost.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_a_queue_that_loses_messages_would_be_found():
    aws, sqs, url = queue(lost=1.0)
    send(sqs, url, "a")

    assert aws.sqs.truth("q") == []
