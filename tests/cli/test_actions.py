"""Commands that change something: what they ask of the engine, and what they say of it."""

import pytest

from cloudfn import errors
from tests.cli.conftest import NOW


def test_stop_asks_first_and_does_nothing_without_a_yes(cli):
    refused = cli("app", "stop", "primes")

    assert refused.code == 2
    assert "--yes" in refused.err
    assert cli.client.asked == []


def test_stop_with_yes_stops(cli):
    cli.client.answers["app_stop"] = {}

    shown = cli("app", "stop", "primes", "--yes")

    assert shown.code == 0
    assert cli.client.asked == [("app_stop", {"name": "primes"})]
    assert shown.out == ""
    assert "primes stopped" in shown.err


def test_rollback_goes_to_the_revision_before_unless_one_is_named(cli):
    cli.client.answers["app_rollback"] = {"revision": 4}

    assert cli("app", "rollback", "primes").code == 0
    shown = cli("app", "rollback", "primes", "v2", "--strategy", "recreate")

    assert "v4" in shown.err
    index = {"environ": {"PIP_INDEX_URL": "https://packages"}}  # its image may have to be built
    assert cli.client.asked == [
        ("app_rollback", {"name": "primes", "number": None, "strategy": "rolling", **index}),
        ("app_rollback", {"name": "primes", "number": 2, "strategy": "recreate", **index}),
    ]


@pytest.mark.parametrize(
    "words", [("2",), ("v",), ("vx",), ("v2", "--strategy", "slow")], ids=" ".join
)
def test_rollback_refuses_what_is_no_revision_or_strategy(cli, words):
    assert cli("app", "rollback", "primes", *words).code == 2
    assert cli.client.asked == []


def test_update_autoscaler_sends_only_what_was_named_and_shows_the_merged_settings(cli):
    merged = {
        "min_containers": 0,
        "max_containers": 10,
        "buffer_containers": 2,
        "scaledown_window": 60,
    }
    cli.client.answers |= {
        "function_lookup": {"function_id": "fu-1"},
        "settings_update": {"settings": merged},
    }

    shown = cli(
        "update-autoscaler", "primes", "count", "--max-containers", "10",
        "--buffer-containers", "2", "--json",
    )  # fmt: skip

    assert shown.document == merged
    assert cli.client.asked[-1] == (
        "settings_update",
        {"function_id": "fu-1", "changes": {"buffer_containers": 2, "max_containers": 10}},
    )


def test_update_autoscaler_can_lift_the_limit(cli):
    cli.client.answers |= {
        "function_lookup": {"function_id": "fu-1"},
        "settings_update": {"settings": {"max_containers": None}},
    }

    shown = cli("update-autoscaler", "primes", "count", "--max-containers", "none")

    assert cli.client.asked[-1][1]["changes"] == {"max_containers": None}
    assert "max_containers     none" in shown.out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--max-containers", "0"),
        ("--max-containers", "many"),
        ("--min-containers", "-1"),
        ("--scaledown-window", "1"),
        ("--scaledown-window", "3601"),
    ],
    ids=" ".join,
)
def test_update_autoscaler_refuses_what_makes_no_sense(cli, words):
    assert cli("update-autoscaler", "primes", "count", *words).code == 2
    assert cli.client.asked == []


def test_stats_show_the_figures(cli):
    figures = {
        "backlog": 1200,
        "num_running_inputs": 8,
        "num_total_runners": 8,
        "input_headroom": 0,
        "num_gpus": 4,
    }
    cli.client.answers |= {"function_lookup": {"function_id": "fu-1"}, "stats": figures}

    assert cli("stats", "primes", "count", "--json").document == figures
    assert cli("stats", "primes", "count").out.split("\n")[1].split() == [
        "1200",
        "8",
        "8",
        "0",
        "4",
    ]


def test_stats_watch_asks_again_until_ctrl_c(cli):
    cli.client.answers |= {"function_lookup": {"function_id": "fu-1"}, "stats": {"backlog": 3}}

    def interrupt_the_third_time():
        if len(cli.clock.slept) == 3:
            raise KeyboardInterrupt

    cli.clock.on_sleep = interrupt_the_third_time
    shown = cli("stats", "primes", "count", "--watch", "--interval", "2")

    assert shown.code == 130
    assert cli.clock.slept == [2.0, 2.0, 2.0]
    assert len(shown.out.splitlines()) == 3
    assert "\x1b" not in shown.out


def test_container_stop_and_call_cancel_name_what_they_end(cli):
    cli.client.answers |= {"container_stop": {}, "call_cancel": {}}

    assert cli("container", "stop", "ct-1").code == 0
    assert cli("call", "cancel", "fc-1", "--terminate").code == 0

    assert cli.client.asked == [
        ("container_stop", {"container_id": "ct-1", "graceful": False}),
        ("call_cancel", {"call": "fc-1", "terminate": True}),
    ]


def test_container_stop_takes_what_scripts_for_modal_pass(cli):
    cli.client.answers["container_stop"] = {}

    shown = cli("container", "stop", "ct-1", "--graceful", "--yes")

    assert "when it has finished" in shown.err
    wanted = {"container_id": "ct-1", "graceful": True}
    assert cli.client.asked == [("container_stop", wanted)]


def test_container_exec_becomes_the_program_in_the_containers_world(cli):
    cli.client.answers["container_exec"] = {"environ": {"PATH": "/bin", "A": "1"}, "cwd": "/b"}

    assert cli("container", "exec", "ct-1", "ls", "-la", "--env", "x").code == 0

    assert cli.executed == [(["ls", "-la", "--env", "x"], {"PATH": "/bin", "A": "1"}, "/b")]
    assert cli.client.closed


def test_call_get_prints_the_result(cli):
    cli.result = lambda: [1, 2]

    assert cli("call", "get", "fc-1").out == "[1, 2]\n"
    assert cli("call", "get", "fc-1", "--json").document == [1, 2]


def test_call_get_writes_bytes_to_a_file(cli, tmp_path):
    cli.result = lambda: b"\x00\xff"
    path = tmp_path / "out.bin"

    shown = cli("call", "get", "fc-1", "--write-result", str(path))

    assert path.read_bytes() == b"\x00\xff"
    assert shown.out == ""


def test_call_get_without_a_result_in_time_says_that_the_call_goes_on(cli):
    def late():
        raise TimeoutError

    cli.result = late
    shown = cli("call", "get", "fc-1", "--timeout", "0.5")

    assert shown.code == 1
    assert "error: Call fc-1 has no result after 0.5 s." in shown.err
    assert "It goes on" in shown.err


def test_call_get_shows_what_the_function_raised(cli):
    def failed():
        raise ValueError("bad slice")

    cli.result = failed
    shown = cli("call", "get", "fc-1")

    assert shown.code == 1
    assert "ValueError: bad slice" in shown.err
    assert "cloudfn/cli" not in shown.err


def test_call_get_of_an_expired_result_is_an_error_with_its_hint(cli):
    def expired():
        raise errors.OutputExpiredError("Results are kept for 7 days.", hint="Ask earlier.")

    cli.result = expired
    shown = cli("call", "get", "fc-1")

    assert shown.code == 1
    assert shown.err == "error: Results are kept for 7 days.\nhint: Ask earlier.\n"


def test_daemon_status_of_a_running_daemon(cli):
    cli.client.answers["status"] = {"pid": 7, "started": NOW - 60, "statuses": ["A"]}

    assert cli("daemon", "status", "--json").document == {
        "running": True,
        "pid": 7,
        "started": NOW - 60,
    }
    assert "1m 00s ago" in cli("daemon", "status").out


def test_daemon_status_where_none_runs_exits_with_1_and_starts_none(cli):
    cli.daemon_runs = False

    assert cli("daemon", "status", "--json").document == {"running": False}
    assert cli("daemon", "status").code == 1


def test_daemon_stop_waits_until_the_daemon_is_gone(cli):
    cli.client.answers["shutdown"] = {}

    def leave_the_second_time():
        cli.daemon_runs = len(cli.clock.slept) < 2

    cli.clock.on_sleep = leave_the_second_time
    shown = cli("daemon", "stop")

    assert shown.code == 0
    assert cli.client.asked == [("shutdown", {"mode": "drain"})]
    assert len(cli.clock.slept) == 2
    assert "stopped" in shown.err


def test_daemon_stop_gives_up_on_a_daemon_that_does_not_leave(cli):
    cli.client.answers["shutdown"] = {}

    shown = cli("daemon", "stop", "--now")

    assert shown.code == 1
    assert cli.client.asked == [("shutdown", {"mode": "now"})]
    assert "still runs after 60 s" in shown.err


def test_daemon_stop_where_none_runs_is_no_failure(cli):
    cli.daemon_runs = False

    assert cli("daemon", "stop").code == 0


def test_daemon_logs_show_the_end_of_the_log(cli, tmp_path):
    state = tmp_path / "state" / "main"
    state.mkdir(parents=True)
    (state / "daemon.log").write_text("one\ntwo\nthree\n")

    assert cli("daemon", "logs", "-n", "2").out == "two\nthree\n"
    assert cli("--env", "other", "daemon", "logs").out == ""


def test_daemon_install_writes_a_user_service_and_prints_how_to_enable_it(cli, tmp_path):
    shown = cli("daemon", "install", "--env", "blue")

    unit = tmp_path / ".config/systemd/user/cloudfn-blue.service"
    assert "-m cloudfn.daemon --env blue" in unit.read_text()
    assert shown.out == (
        "systemctl --user daemon-reload && systemctl --user enable --now cloudfn-blue.service\n"
    )


def test_daemon_install_print_writes_nothing(cli, tmp_path):
    shown = cli("daemon", "install", "--print")

    assert shown.out.startswith("[Unit]\n")
    assert list(tmp_path.iterdir()) == []
