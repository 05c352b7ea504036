"""`cloudfn function …`, `app info|stats|rollover`: what is asked, and what is shown."""

import pytest

from tests.cli.conftest import NOW

SETTINGS = {
    "min_containers": 0,
    "max_containers": None,
    "buffer_containers": 0,
    "scaledown_window": 60,
}
FOUND = {
    "function_id": "fu-1",
    "name": "count",
    "app_id": "ap-1",
    "app_name": "primes",
    "revision": 3,
    "spec": {"name": "count", "timeout": 300, "serialized": "gASV", "gpu": []},
}
LISTED = {
    "app_id": "ap-1",
    "name": "primes",
    "state": "deployed",
    "revision": 3,
    "created": 1.0,
    "stopped": None,
    "containers": 2,
    "functions": ["count", "sum"],
    "urls": {},
    "tags": {"team": "a"},
}


@pytest.fixture(autouse=True)
def answers(cli):
    cli.client.answers |= {
        "function_lookup": FOUND,
        "app_list": {"apps": [{**LISTED, "function_ids": ["fu-1", "fu-2"]}]},
        "stats": {"backlog": 3, "num_running_inputs": 1},
        "settings_update": {"settings": {**SETTINGS, "min_containers": 2}},
    }


@pytest.mark.parametrize(
    ("ref", "asked"),
    [("primes/count", {"app": "primes", "name": "count"}), ("fu-1", {"function_id": "fu-1"})],
)
def test_a_function_is_named_by_app_and_name_or_by_its_id(cli, ref, asked):
    shown = cli("function", "info", ref, "--json")

    assert cli.client.asked == [("function_lookup", asked)]
    assert shown.document["app_name"] == "primes"
    assert shown.document["definition"] == {"timeout": 300, "gpu": []}
    assert "gASV" not in cli("function", "info", ref).out


@pytest.mark.parametrize("ref", ["primes", "primes/", "/count", ""])
def test_anything_else_is_a_wrong_command_line(cli, ref):
    assert cli("function", "info", ref).code == 2
    assert cli.client.asked == []


def test_stats_of_a_function_and_of_an_app(cli):
    one = cli("function", "stats", "primes/count", "--json").document
    both = cli("app", "stats", "primes", "--json").document

    assert (one["backlog"], both["backlog"]) == (3, 6)
    assert cli("app", "stats", "nowhere").code == 1


def test_calls_of_a_function(cli):
    cli.client.answers["call_list"] = {"calls": []}

    assert cli("function", "calls", "primes/count", "-n", "5", "--json").document == []
    wanted = {"limit": 5, "function_id": "fu-1", "variants": False, "since": None, "until": None}
    assert cli.client.asked[-1] == ("call_list", wanted)
    cli("function", "calls", "fu-1", "--all-variants", "--since", "2h", "--until", "1h")
    wanted |= {"limit": 10, "variants": True, "since": NOW - 7200, "until": NOW - 3600}
    assert cli.client.asked[-1] == ("call_list", wanted)


@pytest.mark.parametrize(
    "words",
    [("-n", "1001"), ("--since", "yesterday"), ("--since", "1h", "--until", "2h")],
    ids=" ".join,
)
def test_calls_of_a_range_that_makes_no_sense_are_not_asked_for(cli, words):
    assert cli("function", "calls", "primes/count", *words).code == 2
    assert cli.client.asked == []


def test_logs_of_a_function_are_those_of_its_app_with_its_name(cli):
    cli.client.answers |= {"logs": {}, "function_lookup": {**FOUND, "name": "Model.*"}}
    entry = {"source": "stdout", "text": "one\n", "call": "fc-1", "container": "ta-1"}
    cli.client.messages = [{"entries": [entry], "end": True}]

    shown = cli(
        "function", "logs", "primes/Model", "--call", "fc-1", "--container", "ta-1", "-n", "5",
        "--show-function-call-id", "--show-container-id",
    )  # fmt: skip

    assert shown.out == "fc-1  ta-1  one\n"
    op, fields = cli.client.asked[-1]
    assert (op, {name: value for name, value in fields.items() if value}) == (
        "logs",
        {"app": "ap-1", "function": "Model", "call": "fc-1", "container": "ta-1", "tail": 5},
    )


def test_variants_have_their_settings_and_containers(cli):
    figures = {"num_total_runners": 7, "backlog": 8, "num_running_inputs": 9, "input_headroom": 0}
    fitting = {
        "function_id": "fu-1+a",
        "name": "count[timeout=9]",
        "parameters": {},
        "options": {"timeout": 9},
        "settings": {**SETTINGS, "max_containers": 4},
        "stats": figures,
    }
    stale = {**fitting, "function_id": "fu-1+b", "settings": None}
    cli.client.answers["function_variants"] = {"variants": [{**fitting, "later": 1}, stale]}

    assert cli("function", "variants", "primes/count", "--json").document == [fitting, stale]
    lines = cli("function", "variants", "primes/count", "-n", "5").out.splitlines()

    assert lines[1].split() == ["count[timeout=9]", "fu-1+a", "0", "4", "0", "60", "7", "8", "9"]
    assert lines[2].split()[2:] == ["-", "-", "-", "-", "7", "8", "9"]
    wanted = {"function_id": "fu-1", "limit": 5}
    assert cli.client.asked[-1] == ("function_variants", wanted)


def test_a_function_without_variants_says_so_beside_stdout(cli):
    cli.client.answers["function_variants"] = {"variants": []}

    shown = cli("function", "variants", "primes/count")

    assert shown.out == ""
    assert "primes/count has no variants" in shown.err


def test_settings_say_what_was_changed_without_a_deploy(cli):
    told = {"settings": SETTINGS, "overrides": {"min_containers": 0}, "updated": 1.0,
            "updated_by": "pid 7"}  # fmt: skip
    cli.client.answers["settings_get"] = told

    shown = cli("function", "autoscaler", "settings", "primes/count")

    lines = {line.split()[0]: line for line in shown.out.splitlines()}
    assert "pid 7" in lines["min_containers"]
    assert "pid 7" not in lines["max_containers"]
    assert "none" in lines["max_containers"]
    assert cli("function", "autoscaler", "settings", "fu-1", "--json").document == told


def test_settings_are_updated(cli):
    shown = cli(
        "function", "autoscaler", "update", "primes/count", "--min-containers", "2", "--json"
    )

    assert shown.document["min_containers"] == 2
    changes = {"function_id": "fu-1", "changes": {"min_containers": 2}}
    assert cli.client.asked[-1] == ("settings_update", changes)
    assert cli("function", "autoscaler", "update", "primes/count").code == 2


def test_an_app_is_described(cli):
    assert cli("app", "info", "primes", "--json").document == LISTED
    assert "count, sum" in cli("app", "info", "ap-1").out
    assert cli("app", "info", "nowhere").code == 1


def test_rollover_says_which_revision_it_is_now(cli):
    cli.client.answers["app_rollover"] = {"revision": 4}

    shown = cli("app", "rollover", "primes", "--strategy", "recreate")

    assert "v4" in shown.err
    ((op, asked),) = cli.client.asked
    assert (op, asked["name"], asked["strategy"]) == ("app_rollover", "primes", "recreate")
    assert cli("app", "rollover", "primes", "--strategy", "slow").code == 2


@pytest.mark.parametrize("other", ["--quiet", "--detach"])
def test_an_interactive_run_is_neither_quiet_nor_detached(cli, other):
    shown = cli("run", "-i", other, "file.py")

    assert shown.code == 2
    assert "--interactive" in shown.err
