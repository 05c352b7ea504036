"""Wakeups on SQS: who may write notes, what they cost, and how mailboxes of the dead are found."""

import json
import logging
from base64 import b64encode
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn import errors
from cloudfn.errors import AuthError, ResourceExhaustedError
from cloudfn.model.call import Status
from cloudfn.providers.aws.notes import MESSAGE, messages_of, notes_in
from cloudfn.providers.aws.wakeups import HEARTBEAT, SqsWakeups
from cloudfn.providers.wakeups import Note, Printed
from cloudfn.testing.aws import FakeAws, Knobs, SqsKnobs
from cloudfn.wire.seals import input_seals, result_seals

KEY = bytes(range(32))
ARN = "arn:aws:sqs:eu-central-1:123456789012:cloudfn-main-"
ATTRIBUTES = {
    "MessageRetentionPeriod": "604800",
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": f"{ARN}dead", "maxReceiveCount": 1000}),
    "KmsMasterKeyId": "alias/ours",
}
POLICY = json.dumps({"Statement": [{"Effect": "Deny", "Resource": "%s"}]})
NOTE = Note("fc-1", (3,), (Status.RETURNED,), (b"result",))


def account(**nasty):
    return FakeAws(knobs=Knobs(sqs=replace(SqsKnobs.calm(), **nasty)), seed=9)


def made(aws, attempts=8, key=KEY):
    return SqsWakeups(
        aws.clients(attempts),
        "cloudfn-main-",
        ATTRIBUTES,
        POLICY,
        tags={"cloudfn:environment": "main"},
        key=key if callable(key) else lambda: key,
        clock=aws.clock,
        random=Random(1),
    )


def url_of(aws, name):
    return aws.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]


# -------------------------------------------------------------------------------------- mailboxes


def test_a_mailbox_is_encrypted_like_all_queues_keeps_notes_shortly_and_buries_none():
    aws = account()
    address = made(aws).open()

    found = aws.client("sqs").get_queue_attributes(
        QueueUrl=url_of(aws, address), AttributeNames=["All"]
    )["Attributes"]

    assert address.startswith("cloudfn-main-reply-")
    assert found["KmsMasterKeyId"] == "alias/ours"
    assert found["MessageRetentionPeriod"] == "3600"
    assert "RedrivePolicy" not in found
    assert json.loads(found["Policy"])["Statement"][0]["Resource"] == ARN + address.removeprefix(
        "cloudfn-main-"
    )


def test_who_listens_says_so_now_and_then_and_not_each_time():
    aws = account()
    client = made(aws)
    client.open()
    for _ in range(60):
        client.listen(20)

    assert aws.faults.calls["sqs", "ReceiveMessage"] == 60
    assert aws.faults.calls["sqs", "TagQueue"] == pytest.approx(60 * 20 / HEARTBEAT, abs=1)
    assert aws.faults.calls["sqs", "DeleteMessageBatch"] == 0


def test_a_mailbox_that_was_never_listened_to_goes_by_its_birth_and_others_are_let_alone():
    aws = account()
    sqs = aws.client("sqs")
    old, young = (f"cloudfn-main-reply-{digit * 24}" for digit in "ab")
    # The last is of a function of the environment main-reply.
    others = ["cloudfn-main-fu-f", f"cloudfn-prod-reply-{'a' * 24}", "cloudfn-main-reply-fu-f"]
    for name in (old, *others):
        sqs.create_queue(QueueName=name)
    aws.clock.advance(3_600)
    sqs.create_queue(QueueName=young)

    assert made(aws).sweep(aws.clock.wall(), 1_800) == 1
    left = [url.rpartition("/")[2] for url in sqs.list_queues()["QueueUrls"]]
    assert left == sorted([young, *others])


def test_a_mailbox_that_was_swept_a_moment_ago_keeps_nobody_waiting_for_its_name():
    aws = account()
    client, machine = made(aws), made(aws)
    address = client.open()
    aws.clock.advance(3_600)
    machine.sweep(aws.clock.wall(), 1_800)
    before = aws.clock.wall()

    assert client.listen(20) == []
    assert aws.clock.wall() - before <= 20

    while aws.clock.wall() - before < 70:
        client.listen(20)
    machine.tell(address, [NOTE])
    assert client.listen(20) == [NOTE]


def test_who_only_sweeps_needs_no_key():
    aws = account()
    made(aws).open()
    aws.clock.advance(3_600)

    def none():
        raise AssertionError("nobody gives the planner the key")

    assert made(aws, key=none).sweep(aws.clock.wall(), 1_800) == 1


# ------------------------------------------------------------------------------------------ notes


def test_notes_of_whoever_lacks_the_key_are_dropped_with_one_warning(caplog):
    aws = account()
    client, other = made(aws), made(aws)
    address = client.open()
    # Under another key, under that of inputs, and moved from another mailbox.
    made(aws, key=bytes(32)).tell(address, [NOTE])
    of_inputs = input_seals(KEY).seal(next(messages_of([NOTE])), "notes", address)
    made(aws).tell(other.open(), [NOTE])
    sqs = aws.client("sqs")
    moved = aws.sqs.truth(other.open())
    unversioned = b64encode(result_seals(KEY).seal(b"\x09" * 40, "notes", address)).decode()
    cut = b64encode(result_seals(KEY).seal(b"\x01", "notes", address)).decode()
    for body in [*moved, b64encode(of_inputs).decode(), "nonsense", "schön", unversioned, cut]:
        sqs.send_message(QueueUrl=url_of(aws, address), MessageBody=body)

    with caplog.at_level(logging.WARNING):
        assert client.listen(0) == []
        aws.clock.advance(10)
        assert client.listen(0) == []
    assert aws.sqs.truth(address) == []
    assert [each.levelname for each in caplog.records] == ["WARNING"]


def test_nothing_but_mailboxes_is_written_to():
    aws = account()
    aws.client("sqs").create_queue(QueueName="cloudfn-main-fu-f")
    made(aws).tell("cloudfn-main-fu-f", [NOTE])
    made(aws).tell("cloudfn-main-reply-../fu-f", [NOTE])

    assert aws.sqs.truth("cloudfn-main-fu-f") == []
    assert aws.faults.calls["sqs", "GetQueueUrl"] == 0


def test_payloads_that_are_too_many_are_left_to_the_ledger():
    aws = account()
    client = made(aws)
    large = Note("fc-1", (1, 2), (Status.RETURNED, Status.RAISED), (b"x" * MESSAGE, b"y"))
    made(aws).tell(client.open(), [large, NOTE])

    assert set(client.listen(0)) == {large._replace(payloads=()), NOTE}


def test_a_call_of_a_hundred_thousand_inputs_is_told_in_several_notes():
    aws = account()
    client = made(aws)
    indices = tuple(range(100_000))
    made(aws).tell(client.open(), [Note("fc-1", indices, (Status.CANCELLED,) * 100_000)])

    told = [note for _ in range(3) for note in client.listen(0)]
    assert {each.call_id for each in told} == {"fc-1"}
    assert sorted(index for note in told for index in note.indices) == list(indices)


notes = st.lists(
    st.builds(
        lambda call_id, inputs, items, has_payloads, printed: Note(
            call_id,
            tuple(index for index, _, _ in inputs),
            tuple(status for _, status, _ in inputs),
            tuple(payload for _, _, payload in inputs) if has_payloads else (),
            items,
            printed,
        ),
        st.text(max_size=20),
        st.lists(
            st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(Status), st.binary(max_size=50))
        ),
        st.integers(0, 2**63),
        st.booleans(),
        st.none()
        | st.builds(
            Printed,
            st.text(min_size=1, max_size=20),
            st.text(max_size=20),
            st.integers(-1, 2**63 - 1),
        ),
    )
)


@given(notes)
def test_notes_are_read_as_they_were_written(given_notes):
    found = [note for message in messages_of(given_notes) for note in notes_in(message)]

    assert found == given_notes


@given(st.binary(max_size=60))
def test_no_bytes_are_read_as_anything_but_notes_or_an_error(data):
    try:
        found = notes_in(data)
    except ValueError:
        return
    assert [note for message in messages_of(found) for note in notes_in(message)] == found


def test_ten_small_outcomes_are_one_request_there_and_one_back_without_an_answer():
    aws = account()
    client, machine = made(aws), made(aws)
    address = client.open()
    machine.tell(address, [NOTE])
    client.listen(0)
    before = dict(aws.faults.calls)
    machine.tell(address, [NOTE._replace(indices=(number,)) for number in range(10)])
    assert len(client.listen(0)) == 10

    # Notes are forgotten later, ten at a time.
    cost = {each: n - before.get(each, 0) for each, n in aws.faults.calls.items()}
    assert {each: n for each, n in cost.items() if n} == {
        ("sqs", "SendMessageBatch"): 1,
        ("sqs", "ReceiveMessage"): 1,
    }


def test_notes_that_come_one_by_one_are_answered_together():
    aws = account()
    client, machine = made(aws), made(aws)
    address = client.open()
    for number in range(25):
        machine.tell(address, [NOTE._replace(indices=(number,))])
        assert len(client.listen(0)) == 1
    assert aws.faults.calls["sqs", "DeleteMessageBatch"] == 2
    aws.clock.advance(10)
    assert client.listen(0) == []
    assert aws.faults.calls["sqs", "DeleteMessageBatch"] == 3
    assert aws.sqs.truth(address) == []


# ---------------------------------------------------------------------------------------- trouble


def test_a_client_that_is_gone_is_not_asked_for_all_the_time():
    aws = account()
    client, machine = made(aws), made(aws)
    address = client.open()
    client.close()
    for _ in range(50):
        machine.tell(address, [NOTE])

    assert aws.faults.calls["sqs", "GetQueueUrl"] == 1
    aws.clock.advance(11)
    machine.tell(address, [NOTE])
    assert aws.faults.calls["sqs", "GetQueueUrl"] == 2


def test_a_minute_of_throttling_loses_no_note():
    aws = account()
    client, machine = made(aws), made(aws)
    address = client.open()
    until = aws.clock.wall() + 60
    aws.faults.fail("sqs", "*", "RequestThrottled", times=None, until=until)
    told = False
    while not told:
        try:
            machine.tell(address, [NOTE])
            told = True
        except ResourceExhaustedError:
            continue

    assert aws.clock.wall() >= until
    assert client.listen(5) == [NOTE]


def test_credentials_that_expire_are_said_to_have_and_the_mailbox_stays():
    aws = account()
    client, machine = made(aws), made(aws)
    address = client.open()
    aws.faults.fail("sqs", "ReceiveMessage", "ExpiredToken")

    with pytest.raises(AuthError, match="have expired"):
        client.listen(5)

    machine.tell(address, [NOTE])
    assert client.listen(5) == [NOTE]
    assert client.open() == address


def test_lost_answers_double_notes_at_most():
    aws = account()
    client, machine = made(aws), made(aws)
    aws.faults.lose_answer("sqs", "CreateQueue")
    address = client.open()
    for operation in ("SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch"):
        aws.faults.lose_answer("sqs", operation)
    machine.tell(address, [NOTE])

    assert {note for _ in range(8) for note in client.listen(5)} == {NOTE}


def test_a_lost_answer_that_nobody_repeats_is_an_error():
    aws = account()
    client, machine = made(aws, attempts=1), made(aws, attempts=1)
    address = client.open()
    aws.faults.lose_answer("sqs", "SendMessageBatch")

    with pytest.raises(
        errors.ConnectionError, match="SendMessageBatch of queue cloudfn-main-reply-"
    ):
        machine.tell(address, [NOTE])
    assert client.listen(5) == [NOTE]
