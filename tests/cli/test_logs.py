"""`app logs` and `container logs`: which entries are asked for, and how they are shown."""

import pytest

from tests.cli.conftest import NOW


def entry(text: str, source: str = "stdout", at: float = NOW) -> dict[str, object]:
    return {
        "at": at,
        "container": "ct-1",
        "app": "primes",
        "function": "f",
        "call": "fc-1",
        "input": "in-1-0",
        "source": source,
        "text": text,
    }


@pytest.fixture
def logs(cli):
    cli.client.answers["logs"] = {}
    cli.client.messages = [
        {"entries": [entry("one\n"), entry("oops\n", "stderr")], "end": False},
        {"entries": [entry("two\n")], "end": True},
    ]
    return cli


def asked(cli) -> dict[str, object]:
    op, fields = cli.client.asked[-1]
    assert op == "logs"
    return {name: value for name, value in fields.items() if value not in (None, False)}


def test_entries_go_to_the_stream_that_they_came_from(logs):
    shown = logs("app", "logs", "primes")

    assert shown.out == "one\ntwo\n"
    assert shown.err == "oops\n"


def test_the_last_100_entries_are_the_default(logs):
    logs("app", "logs", "primes")

    assert asked(logs) == {"app": "primes", "tail": 100}


def test_a_range_of_time_takes_the_place_of_the_tail(logs):
    logs("app", "logs", "primes", "--since", "2h", "--until", "30m")

    assert asked(logs) == {"app": "primes", "since": NOW - 7200, "until": NOW - 1800}


def test_every_filter_reaches_the_engine(logs):
    logs(
        "app", "logs", "primes", "-f", "-n", "5", "--search", "x", "--function", "f",
        "--call", "fc-1", "--container", "ct-1", "-s", "stderr",
    )  # fmt: skip

    assert asked(logs) == {
        "app": "primes",
        "follow": True,
        "tail": 5,
        "search": "x",
        "function": "f",
        "call": "fc-1",
        "container": "ct-1",
        "source": "stderr",
    }


def test_container_logs_name_the_container(logs):
    assert logs("container", "logs", "ct-1").out == "one\ntwo\n"
    assert asked(logs) == {"container": "ct-1", "tail": 100}


def test_all_entries_of_a_container_are_not_only_the_last(logs):
    logs("container", "logs", "ct-1", "--all")

    assert asked(logs) == {"container": "ct-1"}
    assert logs("container", "logs", "ct-1", "--all", "--tail", "5").code == 2


def test_ids_stand_before_every_line_where_they_are_wanted(logs):
    listed = {"app_id": "ap-1", "name": "primes", "state": "deployed", "function_ids": ["fu-1"],
              "functions": ["f"]}  # fmt: skip
    logs.client.answers["app_list"] = {"apps": [listed]}
    removed = {**entry("b\n"), "function": "g", "call": ""}
    logs.client.messages = [{"entries": [entry("a\n"), removed], "end": True}]

    def lines(*words):
        return logs("app", "logs", "primes", *words).out.splitlines()

    assert lines("--show-function-id") == ["fu-1  a", "g  b"]
    assert lines("--show-function-call-id") == ["fc-1  a", "-  b"]
    assert lines("--show-container-id") == ["ct-1  a", "ct-1  b"]
    told = logs("app", "logs", "primes", "--show-function-id", "--json").document
    assert [each["function_id"] for each in told] == ["fu-1", None]
    every = lines("--show-container-id", "--show-function-id", "--show-function-call-id", "-t")
    assert [line.split("  ")[1:] for line in every] == [
        ["fu-1", "fc-1", "ct-1", "a"],
        ["g", "-", "ct-1", "b"],
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("--follow", "--since", "1h"),
        ("--follow", "--json"),
        ("--since", "yesterday"),
        ("--since", "1h", "--until", "2h"),
        ("--source", "stdin"),
        ("--tail", "0"),
    ],
    ids=" ".join,
)
def test_options_that_contradict_each_other_are_usage_errors(logs, words):
    assert logs("app", "logs", "primes", *words).code == 2
    assert logs.client.asked == []


def test_json_is_one_document_of_all_entries(logs):
    shown = logs("app", "logs", "primes", "--json")

    assert shown.document == [entry("one\n"), entry("oops\n", "stderr"), entry("two\n")]
    assert shown.err == ""


def test_timestamps_stand_before_every_line(logs):
    logs.client.messages = [{"entries": [entry("a\nb\n")], "end": True}]

    lines = logs("app", "logs", "primes", "--timestamps").out.splitlines()

    assert [line.split("  ")[1] for line in lines] == ["a", "b"]
    assert all(line.startswith("2027-01-") for line in lines)


def test_what_a_container_prints_cannot_take_over_the_terminal(logs, on_screen):
    text = "ok\x1b[2J\x1b]8;;http://x\x07link\x1b]8;;\x07\x08\x07\u202e \x1b[31mred\x1b[0m\n"
    logs.client.messages = [{"entries": [entry(text)], "end": True}]

    assert on_screen("app", "logs", "primes") == "oklink \x1b[31mred\x1b[0m\x1b[0m\n"


def test_a_pipe_gets_the_bytes_as_they_were_printed(logs):
    logs.client.messages = [{"entries": [entry("a\x1b[31mb\rc\n")], "end": True}]

    assert logs("app", "logs", "primes").out == "a\x1b[31mb\rc\n"
