"""What a rehearsal notes of requests."""

from __future__ import annotations

import pytest

from cloudfn.rehearsal.requests import (
    Caller,
    Request,
    RequestLog,
    about,
    action_of,
    caller_of,
    recorded,
    summary,
    told,
    waits,
)

JSON = {"x-amz-target": "AmazonSQS.ReceiveMessage"}


def a_request(at: float = 100.0, **more: object) -> Request:
    told = {"seconds": 0.5, "emulator": 0.25, "caller": Caller.CLIENT, "service": "sqs"}
    of = {"action": "SendMessage", "about": "queue", "status": 200, "answer": 2, "waits": False}
    return Request(at, **{**told, **of, **more})  # type: ignore[arg-type] - as said above


@pytest.mark.parametrize(
    ("peer", "agent", "caller"),
    [
        ("10.212.1.2", "Boto3/1.43 cloudfn/0.1", Caller.AGENT),
        ("10.212.1.2", "docker/26", Caller.AGENT),
        ("127.0.0.1", "Boto3/1.43 exec-env/AWS_Lambda_python3.12", Caller.PLANNER),
        ("127.0.0.1", "Boto3/1.43", Caller.CLIENT),
    ],
)
def test_who_asks_is_told_by_address_and_by_what_lambda_adds(peer, agent, caller):
    assert caller_of(peer, {"user-agent": agent}) is caller


@pytest.mark.parametrize(
    ("target", "headers", "body", "action", "what"),
    [
        ("/", JSON, b'{"QueueUrl": "http://h/0/a-queue"}', "ReceiveMessage", "a-queue"),
        (
            "/",
            {"x-amz-target": "DynamoDB_20120810.Query"},
            b'{"TableName": "t", "ExpressionAttributeValues": {":pk": {"S": "L#OPEN0"}}}',
            "Query",
            "L#OPEN0",
        ),
        (
            "/",
            {},
            b"Action=LaunchInstances&Version=2011-01-01&AutoScalingGroupName=cloudfn-main-cpu",
            "LaunchInstances",
            "cloudfn-main-cpu",
        ),
        ("/2015/functions/planner?x=1", {}, b"{}", "POST", "2015/functions/planner"),
        ("/", JSON, b"", "ReceiveMessage", ""),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_found_in_headers_or_at_the_start_of_the_body(
    target, headers, body, action, what
):
    assert action_of("POST", headers, body) == action
    assert about(target, headers, body) == what


def test_a_question_for_messages_waits_unless_it_says_that_it_does_not():
    assert waits("ReceiveMessage", b'{"QueueUrl": "q", "WaitTimeSeconds": 20}')
    assert waits("ReceiveMessage", b'{"QueueUrl": "q"}')
    assert not waits("ReceiveMessage", b'{"QueueUrl": "q", "WaitTimeSeconds": 0}')
    assert not waits("SendMessage", b"")


def test_what_is_noted_is_read_again_and_half_a_line_is_none(tmp_path):
    file, noted = tmp_path / "requests.jsonl", [a_request(1.0), a_request(2.0, waits=True)]
    log = RequestLog(file)
    for each in noted:
        log.add(each)
    with file.open("a") as more:
        more.write('{"at": 3.0')

    assert recorded(file) == noted
    assert recorded(file, since=2.0) == noted[1:]
    assert recorded(tmp_path / "nothing.jsonl") == []


def test_a_file_that_is_full_makes_way_and_the_one_before_it_is_forgotten(tmp_path):
    file = tmp_path / "requests.jsonl"
    log = RequestLog(file, full=1_000)
    for number in range(50):
        log.add(a_request(float(number)))

    kept = [each.at for each in recorded(file)]

    assert kept == [float(number) for number in range(int(kept[0]), 50)]
    assert 0 < kept[0] < 46
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 3_000


def test_a_sum_says_how_many_failed_and_how_long_emulators_took():
    (most, least) = summary(
        [a_request(), a_request(status=500), a_request(status=0), a_request(caller=Caller.AGENT)]
    )

    assert (most.caller, most.number, most.failed, most.emulator) == (Caller.CLIENT, 3, 2, 0.75)
    assert least.caller is Caller.AGENT


def test_each_request_is_told_or_how_many_there_are_of_a_kind(tmp_path):
    file = tmp_path / "requests.jsonl"
    RequestLog(file).add(a_request())

    assert told(file, 0.0, each=True)["requests"][0]["about"] == "queue"
    (kind,) = told(file, 0.0, each=False)["kinds"]
    assert (kind["caller"], kind["number"]) == ("client", 1)
    assert told(file, 101.0, each=True) == {"requests": []}
