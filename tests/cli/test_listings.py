"""Listings: one JSON document with stable keys, or a table that fits where it is shown."""

import pytest

from tests.cli.conftest import NOW

APP = {
    "app_id": "ap-1",
    "name": "primes",
    "state": "deployed",
    "revision": 3,
    "created": NOW - 7200,
    "stopped": None,
    "containers": 2,
    "functions": ["count_primes"],
    "urls": {},
    "tags": {},
}
CONTAINER = {
    "container_id": "ct-1",
    "app_id": "ap-1",
    "app_name": "primes",
    "function_name": "count_primes",
    "revision": 3,
    "pid": 4711,
    "state": "idle",
    "started": NOW - 90,
    "inputs_done": 12,
    "idle_since": NOW - 5,
    "gpus": [],
    "gpu_memory": None,
    "machine_id": None,
}
CALL = {
    "call": "fc-1",
    "kind": "map",
    "name": "primes/count_primes/nightly",
    "app_name": "primes",
    "function_name": "count_primes",
    "function_id": "fu-1",
    "created": NOW - 1,
    "known": 10,
    "sealed": True,
    "finished": 10,
    "failed": 1,
    "cancelled": False,
}
REVISION = {
    "number": 2,
    "created": NOW - 60,
    "live": True,
    "rollback_of": 1,
    "labels": {"tag": "v1.2", "commit": "def456*"},
}
LISTINGS = [
    (("app", "list"), "app_list", "apps", APP),
    (("app", "history", "primes"), "app_history", "revisions", REVISION),
    (("container", "list"), "container_list", "containers", CONTAINER),
    (("call", "list"), "call_list", "calls", CALL),
]


@pytest.mark.parametrize(
    ("words", "op", "key", "item"), LISTINGS, ids=lambda value: str(value)[:20]
)
def test_json_is_one_document_with_exactly_the_promised_keys(cli, words, op, key, item):
    cli.client.answers[op] = {key: [{**item, "added_later": 1}]}

    shown = cli(*words, "--json")

    assert shown.document == [item]
    assert shown.err == ""


@pytest.mark.parametrize(
    ("words", "op", "key", "item"), LISTINGS, ids=lambda value: str(value)[:20]
)
def test_an_empty_listing_is_an_empty_document_or_a_message_beside_stdout(
    cli, words, op, key, item
):
    cli.client.answers[op] = {key: []}

    assert cli(*words, "--json").document == []
    plain = cli(*words)
    assert plain.out == ""
    assert plain.err != ""


def test_a_table_in_a_pipe_is_aligned_and_never_cut(cli):
    long_name = "a-very-long-name-" * 8
    cli.client.answers["app_list"] = {"apps": [APP, {**APP, "name": long_name, "app_id": "ap-2"}]}

    lines = cli("app", "list").out.splitlines()

    assert len(lines) == 3
    assert lines[1].startswith("primes ")
    assert lines[2].startswith(long_name)
    assert (
        len({line.index(word) for line, word in zip(lines, ("ID", "ap-1", "ap-2"), strict=True)})
        == 1
    )
    assert "2h 00m ago" in lines[1]


def test_a_table_on_a_narrow_terminal_keeps_to_its_width_and_has_no_colours(cli, on_screen):
    cli.client.answers["app_list"] = {"apps": [APP]}

    shown = on_screen("app", "list")

    assert max(map(len, shown.splitlines())) <= 40
    assert "\x1b" not in shown


def test_a_name_with_escapes_cannot_write_on_the_terminal(cli, on_screen):
    cli.client.answers["app_list"] = {"apps": [{**APP, "name": "x\x1b[2J\x1b]0;t\x07\ry"}]}

    shown = on_screen("app", "list")

    assert "\x1b" not in shown
    assert "\r" not in shown


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "failed"),
        ({"failed": 0}, "done"),
        ({"finished": 9}, "running"),
        ({"sealed": False}, "running"),
        ({"cancelled": True}, "cancelled"),
    ],
)
def test_the_list_of_calls_says_how_each_one_is(cli, changes, state):
    cli.client.answers["call_list"] = {"calls": [{**CALL, **changes}]}

    assert f" {state} " in cli("call", "list").out


def test_filters_reach_the_engine(cli):
    cli.client.answers |= {
        "call_list": {"calls": []},
        "container_list": {"containers": []},
        "app_list": {"apps": []},
    }

    cli("call", "list", "--app", "primes", "--function", "count_primes", "-n", "5")
    cli("container", "list", "--app", "primes")
    cli("app", "list", "--all")

    assert cli.client.asked == [
        ("call_list", {"limit": 5, "app": "primes", "function": "count_primes"}),
        ("container_list", {"app": "primes"}),
        ("app_list", {"all": True}),
    ]


def test_a_list_of_apps_can_be_limited_to_the_newest(cli):
    apps = [{**APP, "app_id": f"ap-{n}"} for n in (3, 2, 1)]
    cli.client.answers["app_list"] = {"apps": apps}

    assert cli("app", "list", "--limit", "2", "--json").document == apps[:2]
    assert len(cli("app", "list", "--limit", "1").out.splitlines()) == 2
    assert cli("app", "list", "--limit", "0").code == 2


def test_calls_of_a_function_need_its_app(cli):
    assert cli("call", "list", "--function", "f").code == 2
    assert cli.client.asked == []


@pytest.mark.parametrize(
    ("gpus", "memory", "shown"),
    [([], None, "5 s ago"), ([0, 2], None, "0, 2"), ([1], 4096, "1 (4096 MiB)")],
    ids=["none", "two", "a part of one"],
)
def test_the_gpus_of_containers_are_listed_by_number(cli, gpus, memory, shown):
    container = {**CONTAINER, "gpus": gpus, "gpu_memory": memory}
    cli.client.answers["container_list"] = {"containers": [container]}

    table = cli("container", "list").out

    assert (shown or "5s ago") in table.splitlines()[1]
    assert cli("container", "list", "--json").document[0]["gpus"] == gpus
