"""Doorbells on SQS: what queues are made like, what is dropped, and what AWS may do meanwhile."""

import json
import logging
from base64 import b64encode
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn import errors
from cloudfn.errors import (
    AuthError,
    ExecutionError,
    InvalidError,
    PermissionDeniedError,
    ResourceExhaustedError,
)
from cloudfn.providers.aws.doorbells import ENCLOSED, SqsDoorbells
from cloudfn.providers.aws.sqs import BATCH_BYTES, batches, with_policy
from cloudfn.providers.doorbells import Ring
from cloudfn.testing.aws import FakeAws, Knobs, SqsKnobs

ARN = "arn:aws:sqs:eu-central-1:123456789012:cloudfn-main-"
ATTRIBUTES = {
    "MessageRetentionPeriod": "604800",
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": f"{ARN}dead", "maxReceiveCount": 1000}),
    "VisibilityTimeout": "30",
}
POLICY = json.dumps({"Statement": [{"Effect": "Deny", "Resource": "%s"}]})
RINGS = [Ring("fu-f", "fu-f@1", f"page {number}") for number in range(25)]


def account(attempts=8, **nasty):
    """Return an account with one doorbell, and the port."""
    knobs = Knobs(sqs=replace(SqsKnobs.calm(), **nasty))
    aws = FakeAws(knobs=knobs, seed=9)
    aws.client("sqs").create_queue(QueueName="cloudfn-main-dead")
    bells = made(aws, attempts)
    bells.open("fu-f")
    return aws, bells


def made(aws, attempts=8, **changed):
    return SqsDoorbells(
        aws.clients(attempts),
        "cloudfn-main-",
        {**ATTRIBUTES, **changed},
        POLICY,
        tags={"cloudfn:environment": "main"},
        clock=aws.clock,
        random=Random(1),
    )


def attributes_of(aws, name):
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def hear(bells, count):
    heard = set()
    while len(heard) < count:
        found = bells.listen("fu-f", 5, 10)
        assert found, f"only {len(heard)} of {count} rings were heard"
        bells.answer(found)
        heard |= {each.ring for each in found}
    return heard


# ----------------------------------------------------------------------------------------- queues


def test_a_queue_has_the_environment_s_attributes_its_own_policy_and_tags():
    aws, _ = account()

    found = attributes_of(aws, "cloudfn-main-fu-f")

    assert ATTRIBUTES.items() <= found.items()
    assert json.loads(found["Policy"])["Statement"][0]["Resource"] == f"{ARN}fu-f"
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName="cloudfn-main-fu-f")["QueueUrl"]
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"cloudfn:environment": "main"}


def test_opening_it_again_brings_its_attributes_up_to_date():
    aws, bells = account()
    bells.ring(RINGS)

    made(aws, VisibilityTimeout="60").open("fu-f")

    assert attributes_of(aws, "cloudfn-main-fu-f")["VisibilityTimeout"] == "60"
    assert hear(bells, 25) == set(RINGS)


def test_a_policy_without_a_place_for_it_is_an_error_of_the_outputs():
    with pytest.raises(InvalidError, match="no dead-letter queue"):
        with_policy({}, POLICY, "cloudfn-main-fu-f")
    assert with_policy({}, "", "cloudfn-main-fu-f") == {}


def test_a_name_that_is_taken_for_a_minute_is_waited_for():
    aws, bells = account()
    bells.remove("fu-f")
    before = aws.clock.wall()

    bells.open("fu-f")

    assert 60 <= aws.clock.wall() - before <= 75
    assert bells.functions() == ["fu-f"]


def test_a_name_that_stays_taken_is_said_to_be():
    aws, bells = account()
    aws.faults.fail("sqs", "CreateQueue", "AWS.SimpleQueueService.QueueDeletedRecently", times=None)

    with pytest.raises(ExecutionError, match="queue cloudfn-main-fu-f was deleted a moment ago"):
        bells.open("fu-f")


def test_all_functions_are_found_and_no_other_queues():
    aws, bells = account()
    sqs = aws.client("sqs")
    for number in range(1_003):
        sqs.create_queue(QueueName=f"cloudfn-main-fu-{number}")
    for name in ("cloudfn-main-reply-1", "cloudfn-mainz-fu-1", "cloudfn-main-fu_x"):
        sqs.create_queue(QueueName=name)

    assert sorted(bells.functions()) == sorted(["fu-f", *(f"fu-{n}" for n in range(1_003))])


# --------------------------------------------------------------------------------------- messages


def test_what_nobody_of_ours_wrote_is_dropped_with_one_warning(caplog):
    aws, bells = account()
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName="cloudfn-main-fu-f")["QueueUrl"]
    good = b64encode(b"\x01\0\x04\0\x01\0\x01fu-fPp").decode()
    forged = [
        "nonsense",
        "schön",
        b64encode(b"\x01").decode(),
        b64encode(b"\x02\0\x04\0\x01\0\x01fu-fPp").decode(),
        b64encode(b"\x01\0\x04\0\x01\0\x09fu-fPp").decode(),
        b64encode(b"\x01\0\x04\0\x01\0\x01\xff\xff\xff\xffPp").decode(),
        b64encode(b"\x01\0\x04\0\x01\0\x01deadPp").decode(),
        b64encode(b"\x01\0\x04\0\x01\0\x01fu-gPp").decode(),
    ]
    for body in [*forged, good]:
        sqs.send_message(QueueUrl=url, MessageBody=body)

    with caplog.at_level(logging.WARNING):
        assert hear(bells, 1) == {Ring("fu-f", "P", "p")}
    assert aws.sqs.truth("cloudfn-main-fu-f") == []
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "cloudfn-main-fu-f" in caplog.text


def test_a_ring_encloses_no_more_than_fits():
    _, bells = account()
    fits = Ring("fu-f", "fu-f@1", "p", b"x" * ENCLOSED)

    bells.ring([fits, fits._replace(page="q", enclosed=fits.enclosed + b"x")])

    assert hear(bells, 2) == {fits, Ring("fu-f", "fu-f@1", "q")}


def test_bodies_are_ascii_whatever_is_in_them():
    aws, bells = account()
    bells.ring([Ring("fu-f", "\x00\x01", "\ufffe\U0001f514", bytes(range(256)))])

    [body] = aws.sqs.truth("cloudfn-main-fu-f")
    assert body.isascii()
    assert body.isprintable()


@given(st.lists(st.integers(1, BATCH_BYTES), max_size=40))
def test_batches_hold_all_messages_in_order_and_are_never_too_large(sizes):
    bodies = [str(number % 10) * size for number, size in enumerate(sizes)]

    found = list(batches(bodies))

    assert [body for batch in found for body in batch] == bodies
    assert all(1 <= len(batch) <= 10 for batch in found)
    assert all(sum(map(len, batch)) <= BATCH_BYTES for batch in found)


def test_a_ring_costs_a_tenth_of_a_request_and_a_url_is_asked_for_once():
    aws, _ = account()
    bells = made(aws)
    for _ in range(4):
        bells.ring(RINGS[:10])

    assert aws.faults.calls["sqs", "SendMessageBatch"] == 4
    assert aws.faults.calls["sqs", "GetQueueUrl"] == 1


# ----------------------------------------------------------------------------------------- trouble


def test_entries_that_fail_are_sent_and_deleted_again_alone():
    aws, bells = account(entry_fails=0.5)

    assert bells.ring(RINGS) == 25
    assert hear(bells, 25) == set(RINGS)
    assert len(aws.sqs.truth("cloudfn-main-fu-f")) == 0


def test_entries_that_go_on_failing_are_an_error():
    _, bells = account(entry_fails=1)

    with pytest.raises(ResourceExhaustedError, match="SendMessageBatch of queue cloudfn-main-fu-f"):
        bells.ring(RINGS)


def test_the_trouble_of_one_queue_keeps_no_other_s_rings_back():
    aws, bells = account(attempts=1)
    bells.open("fu-g")
    aws.faults.fail("sqs", "SendMessageBatch", "AccessDenied")

    with pytest.raises(PermissionDeniedError, match="sqs:SendMessage"):
        bells.ring([Ring("fu-g", "fu-g@1", "p"), *RINGS])

    assert hear(bells, 25) == set(RINGS)


def test_a_minute_of_throttling_loses_nothing():
    aws, bells = account()
    until = aws.clock.wall() + 60
    aws.faults.fail("sqs", "*", "RequestThrottled", times=None, until=until)
    refused = 0
    while True:
        try:
            taken = bells.ring(RINGS)
        except ResourceExhaustedError:
            refused += 1
            continue
        break

    assert taken == 25
    assert aws.clock.wall() >= until
    assert hear(bells, 25) == set(RINGS)


def test_credentials_that_expire_are_said_to_have_and_renewed_ones_work():
    aws, bells = account()
    aws.faults.fail("sqs", "*", "ExpiredToken", times=3)

    with pytest.raises(AuthError, match="have expired"):
        bells.ring(RINGS[:1])
    with pytest.raises(AuthError, match="have expired"):
        bells.listen("fu-f", 0, 10)
    with pytest.raises(AuthError, match="have expired"):
        bells.functions()

    bells.ring(RINGS)
    assert hear(bells, 25) == set(RINGS)


def test_a_lost_answer_at_most_doubles_rings():
    aws, bells = account()
    aws.faults.lose_answer("sqs", "SendMessageBatch", times=2)
    aws.faults.lose_answer("sqs", "DeleteMessageBatch", times=2)
    aws.faults.lose_answer("sqs", "ReceiveMessage", times=1)
    bells.ring(RINGS)
    aws.clock.advance(31)

    assert hear(bells, 25) == set(RINGS)


def test_a_lost_answer_that_nobody_repeats_is_an_error_and_the_rings_are_there():
    aws, bells = account(attempts=1)
    aws.faults.lose_answer("sqs", "SendMessageBatch")

    with pytest.raises(errors.ConnectionError, match="may have been carried out"):
        bells.ring(RINGS[:10])

    assert hear(bells, 10) == set(RINGS[:10])


def test_a_queue_that_somebody_removed_by_hand_is_found_again():
    aws, bells = account()
    aws.client("sqs").delete_queue(
        QueueUrl=aws.client("sqs").get_queue_url(QueueName="cloudfn-main-fu-f")["QueueUrl"]
    )
    assert bells.ring(RINGS) == 0
    assert bells.listen("fu-f", 20, 10) == []

    bells.open("fu-f")
    assert bells.ring(RINGS) == 25
    assert hear(bells, 25) == set(RINGS)


def test_who_listens_for_nothing_does_not_ask_all_the_time():
    aws, bells = account()
    before = aws.clock.wall()
    for _ in range(10):
        bells.listen("fu-x", 20, 10)

    assert aws.clock.wall() - before == 50
    assert aws.faults.calls["sqs", "GetQueueUrl"] == 10
