"""`cloudfn function …`, `app info|stats|rollover`: what is asked, and what is shown."""

import pytest

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
    wanted = {"limit": 5, "app": "ap-1", "function": "count"}
    assert cli.client.asked[-1] == ("call_list", wanted)
    assert cli("function", "calls", "primes/count", "-n", "1001").code == 2


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
    assert cli.client.asked == [("app_rollover", {"name": "primes", "strategy": "recreate"})]
    assert cli("app", "rollover", "primes", "--strategy", "slow").code == 2


@pytest.mark.parametrize("other", ["--quiet", "--detach"])
def test_an_interactive_run_is_neither_quiet_nor_detached(cli, other):
    shown = cli("run", "-i", other, "file.py")

    assert shown.code == 2
    assert "--interactive" in shown.err
