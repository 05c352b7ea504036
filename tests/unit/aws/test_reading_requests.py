"""What the requests of a rehearsal say: arithmetic on a log that is made up."""

import pytest

from benchmarks.aws.reading import (
    Block,
    Reaction,
    by_caller,
    called,
    emulated,
    in_sequence,
    is_background,
    launched,
    per_million,
    updated,
    within,
    woken,
    work,
)
from benchmarks.aws.rehearsed import Found
from benchmarks.aws.report import tables
from cloudfn.providers.aws.costs import Load, Prices, cost
from cloudfn.rehearsal.requests import Caller, Request

CLIENT, AGENT, PLANNER = Caller.CLIENT, Caller.AGENT, Caller.PLANNER


def asked(at, caller, service, action, about="", *, seconds=0.01, answer=200):
    waits = action == "ReceiveMessage"
    return Request(
        at, seconds, seconds, caller, service, action, about, 200, answer, waits
    )  # fmt: skip


#: a `.remote`, from its submission at 10.0 to its result at 10.4
REMOTE = [
    asked(9.0, AGENT, "sqs", "ReceiveMessage", "bell", seconds=1.15),
    asked(9.5, CLIENT, "sqs", "ReceiveMessage", "reply", seconds=0.9),
    asked(10.0, CLIENT, "dynamodb", "TransactWriteItems", "C#fc-1"),
    asked(10.01, CLIENT, "dynamodb", "GetItem", "LEADER"),
    asked(10.02, CLIENT, "sqs", "SendMessageBatch", "bell"),
    asked(10.16, AGENT, "sqs", "DeleteMessageBatch", "bell", seconds=0.005),
    asked(10.17, AGENT, "dynamodb", "UpdateItem", "P#1"),
    asked(10.20, AGENT, "dynamodb", "UpdateItem", "P#1"),
    asked(10.22, AGENT, "sqs", "SendMessageBatch", "reply"),
    asked(10.30, PLANNER, "dynamodb", "Query", "L#OPEN0"),
    asked(10.41, CLIENT, "dynamodb", "TransactWriteItems", "C#fc-1"),
]
BLOCK = Block("warm", 9.99, 10.405, 11.0, 1)


@pytest.mark.parametrize(
    ("request_", "background"),
    [
        (asked(0, PLANNER, "dynamodb", "UpdateItem", "P#1"), True),
        (asked(0, AGENT, "dynamodb", "UpdateItem", "M#3"), True),
        (asked(0, AGENT, "logs", "PutLogEvents", "/cloudfn/main"), True),
        (asked(0, CLIENT, "dynamodb", "GetItem", "LEADER"), True),
        (asked(0, AGENT, "sqs", "ReceiveMessage", "bell", answer=2), True),
        (asked(0, AGENT, "sqs", "ReceiveMessage", "bell", answer=600), False),
        (asked(0, AGENT, "dynamodb", "UpdateItem", "P#1"), False),
        (asked(0, CLIENT, "sqs", "SendMessageBatch", "bell", answer=2), False),
    ],
)
def test_what_is_asked_whatever_is_called_is_background(request_, background):
    assert is_background(request_) is background
    assert work([request_]) == ([] if background else [request_])


def test_of_a_remote_call_five_requests_wait_for_each_other():
    assert in_sequence(called(REMOTE, BLOCK)) == 5

    # A look for more after the claim delays nobody; one before it does.
    after = asked(10.181, AGENT, "dynamodb", "Query", "L#OPEN0", seconds=0.005)
    before = asked(10.15, AGENT, "dynamodb", "Query", "L#OPEN0", seconds=0.005)
    assert in_sequence(called([*REMOTE, after], BLOCK)) == 5
    assert in_sequence(called([*REMOTE, before], BLOCK)) == 6


def test_requests_at_the_same_time_do_not_wait_for_each_other():
    both = [asked(1.0, CLIENT, "s3", "PUT"), asked(1.005, CLIENT, "s3", "PUT")]

    assert in_sequence(both) == 1
    assert in_sequence([]) == 0


def test_emulators_take_the_time_of_their_answers_once_and_that_of_messages_they_hold_back():
    # Five answers of 10 ms and one of 5 ms; the doorbell 0.12 s after it rang, the reply 0.17 s.
    alone = [each for each in called(REMOTE, BLOCK) + REMOTE[:2] if not is_background(each)]

    assert emulated(alone, (10.0, 10.4)) == pytest.approx(0.055 + 0.12 + 0.17)
    assert emulated([*alone, *alone], (10.0, 10.4)) == emulated(alone, (10.0, 10.4))
    assert emulated(alone, (20.0, 21.0)) == 0.0


def test_a_message_that_lay_there_when_it_was_asked_for_was_held_back_from_then_on():
    late = [
        asked(1.0, CLIENT, "sqs", "SendMessageBatch", "bell"),
        asked(5.0, AGENT, "sqs", "ReceiveMessage", "bell", seconds=0.2),
    ]

    assert emulated(late, (0.0, 10.0)) == pytest.approx(0.01 + 0.2)


def test_a_machine_is_asked_for_after_the_first_input_of_a_call():
    log = [
        asked(1.0, CLIENT, "dynamodb", "TransactWriteItems", "C#fc-0"),
        asked(2.0, CLIENT, "dynamodb", "TransactWriteItems", "C#fc-1"),
        asked(2.1, CLIENT, "lambda", "POST", "functions/planner"),
        asked(3.0, PLANNER, "dynamodb", "UpdateItem", "LEADER"),
        asked(3.5, PLANNER, "autoscaling", "LaunchInstances", "cloudfn-main-cpu"),
        asked(4.5, PLANNER, "autoscaling", "LaunchInstances", "cloudfn-main-cpu"),
    ]

    assert launched(log, 1.5) == Reaction(2.01, 3.5, pytest.approx(0.02))
    assert woken(log, 1.5) == pytest.approx(0.9)
    assert launched(log, 2.5) is None
    assert launched(log[:4], 1.5) is None
    assert woken(log[:3], 1.5) is None


def test_an_update_is_acted_on_when_a_machine_is_told_something_else():
    log = [
        asked(1.0, CLIENT, "dynamodb", "UpdateItem", "APP#ap-1", seconds=0.5),
        asked(1.2, PLANNER, "dynamodb", "UpdateItem", "M#1"),
        asked(1.6, AGENT, "dynamodb", "UpdateItem", "M#1"),
        asked(2.5, PLANNER, "dynamodb", "UpdateItem", "M#1"),
    ]

    found = updated(log, 0.0)

    assert found is not None
    assert found.seconds == pytest.approx(1.0)


def test_a_million_cost_what_the_model_says_for_inputs_that_come_together_as_was_seen():
    log = [
        *(asked(n, CLIENT, "sqs", "SendMessageBatch", "bell") for n in range(20)),
        *(asked(n, AGENT, "dynamodb", "UpdateItem", "P#1") for n in range(250)),
        *(asked(n, AGENT, "sqs", "SendMessageBatch", "reply") for n in range(30)),
    ]
    free = Prices(message=0.0)
    modelled = cost(Load(lot=500, claimed=80, recorded=80), free).dollars

    assert per_million(log, 10_000, free) == pytest.approx(1e6 * modelled)
    # Fifty messages for ten thousand inputs.
    beside = per_million(log, 10_000, Prices(0.0, 0.0, message=1.0))
    assert beside == pytest.approx(1e6 * 50 / 10_000)


def test_requests_are_counted_by_who_made_them_and_when():
    assert by_caller(REMOTE) == {CLIENT: 5, AGENT: 5, PLANNER: 1}
    assert [each.at for each in within(REMOTE, 9.4, 10.0)] == [9.5, 10.0]


def test_tables_say_which_aims_hold_and_which_do_not():
    log = [*REMOTE, asked(30.0, AGENT, "dynamodb", "UpdateItem", "P#1")]
    blocks = [
        Block("first", 1.0, 2.0, 3.0, 1),
        BLOCK,
        Block("idle", 15.0, 16.0, 17.0, 1),
        Block("tiny", 20.0, 25.0, 40.0, 10),
        Block("slow", 20.0, 25.0, 40.0, 1),
    ]
    found = Found(
        requests=log,
        blocks=blocks,
        asleep=Reaction(1.0, 3.5, 0.5),
        awake=[Reaction(1.0, 1.5, 0.1), Reaction(1.0, 2.5, 0.2)],
        idle_updates=[Reaction(1.0, 2.0, 0.2), None],
        busy_updates=[Reaction(1.0, 2.0, 0.2)],
        most=3,
        left=0,
        gone_after=200.0,
        load=(0.5, 1.5),
    )

    aims, callers, kinds = tables(found)

    holds = {row[0]: row[3] for row in aims.rows}
    assert holds["asked for a machine, asleep"] == "yes"
    assert holds["asked for a machine, awake"] == "**no**"
    assert holds["acted on an update, nothing runs"] == "**no**"
    assert holds["requests for a tiny input"] == "yes"
    assert holds["machines left, of 3"] == "yes"
    times = {row[0]: row[2] for row in aims.rows}
    assert times["asked for a machine, awake"] == "1.50, 0.50 s"
    assert times["acted on an update, nothing runs"] == "not seen"
    assert [row[:4] for row in callers.rows][1] == ("warm", "1", "3", "4")
    assert kinds.rows == [("agent", "dynamodb:UpdateItem", "1", "10 ms")]
