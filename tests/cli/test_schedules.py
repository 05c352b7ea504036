"""`cloudfn schedule`: what it asks, prints and refuses."""

import pytest

from cloudfn.errors import NotFoundError
from tests.cli.conftest import NOW

HOUR = 3600.0
CALLED = {
    "schedule_id": "sc-1", "app_id": "ap-1", "app_name": "jobs", "function_name": "report",
    "kind": "cron", "when": "0 6 * * *", "timezone": "America/New_York", "overlap": True,
    "changes": {}, "paused": False, "dynamic": False, "next": NOW + 2 * HOUR,
    "last": {
        "schedule_id": "sc-1", "due": NOW - HOUR, "at": NOW - HOUR, "call_id": "fc-1",
        "late": True, "manual": False, "outcome": "returned",
    },
}  # fmt: skip
SCALED = {
    **CALLED, "schedule_id": "sc-2", "function_name": "serve", "kind": "scaleat",
    "changes": {"min_containers": 4}, "last": None,
}  # fmt: skip
PERIODIC = {
    **CALLED, "schedule_id": "sc-3", "kind": "period", "when": "every 10 seconds",
    "timezone": "UTC", "paused": True, "next": None, "last": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def schedules(cli):
    def listed(app=None, function=None):
        found = [
            each for each in (CALLED, SCALED, PERIODIC)
            if app in (None, each["app_name"]) and function in (None, each["function_name"])
        ]  # fmt: skip
        return {"schedules": found}

    cli.client.answers["schedule_list"] = listed


def test_the_list_says_when_and_what_and_what_came_of_it(cli):
    out = cli("schedule", "list").out.splitlines()

    assert out[0].split() == ["ID", "APP", "FUNCTION", "WHEN", "DOES", "NEXT", "LAST"]
    assert "0 6 * * * America/New_York" in out[1]
    assert "in 2h 00m" in out[1]
    assert "1h 00m ago, late: returned" in out[1]
    assert "min_containers=4" in out[2]
    assert "every 10 seconds" in out[3]
    assert "paused" in out[3]


def test_the_list_is_one_json_document(cli):
    assert cli("schedule", "list", "--json").document == [CALLED, SCALED, PERIODIC]
    cli.client.answers["schedule_list"] = {"schedules": []}
    assert "There are no schedules" in cli("schedule", "list").err


def test_schedules_are_named_by_app_and_function_or_by_id(cli):
    cli.client.answers["schedule_pause"] = {}

    by_name = cli("schedule", "pause", "jobs", "serve")
    by_id = cli("schedule", "resume", "sc-3")

    asked = [fields for op, fields in cli.client.asked if op == "schedule_pause"]
    assert asked == [
        {"schedules": ["sc-2"], "paused": True}, {"schedules": ["sc-3"], "paused": False},
    ]  # fmt: skip
    assert "✓ Schedule sc-2 of jobs/serve is paused." in by_name.err
    assert "✓ Schedule sc-3 of jobs/report is active." in by_id.err


@pytest.mark.parametrize("words", [("jobs", "nothing"), ("sc-9",)])
def test_what_does_not_exist_is_said(cli, words):
    done = cli("schedule", "pause", *words)

    assert done.code == 1
    assert words[-1] in done.err
    assert "cloudfn schedule list" in done.err


def test_a_function_with_several_schedules_has_to_be_named_by_id(cli):
    done = cli("schedule", "next", "jobs", "report")

    assert done.code == 1
    assert "sc-1, sc-3" in done.err


def test_running_now_tells_the_call(cli):
    fire = {**CALLED["last"], "manual": True}
    cli.client.answers["schedule_run"] = fire

    assert "Call fc-1 is made" in cli("schedule", "run-now", "sc-1").err
    assert cli("schedule", "run-now", "sc-1", "--json").document == fire

    cli.client.answers["schedule_run"] = {**fire, "call_id": ""}
    assert "✓ min_containers=4 is in force." in cli("schedule", "run-now", "jobs", "serve").err


def test_the_history_shows_what_was_late_skipped_or_by_hand(cli):
    fires = [
        {**CALLED["last"], "outcome": ""},
        CALLED["last"] | {"late": False, "manual": True},
        CALLED["last"] | {"call_id": "", "late": False, "outcome": "skipped: busy"},
    ]
    cli.client.answers["schedule_history"] = {"fires": fires}

    out = cli("schedule", "history", "sc-1", "-n", "3").out.splitlines()

    assert cli.client.asked[-1] == ("schedule_history", {"schedule": "sc-1", "limit": 3})
    assert "(late)" in out[1]
    assert out[1].split()[-1] == "running"
    assert "2027-01-15 02:00:00.000-05:00" in out[1]
    assert out[2].startswith("by hand")
    assert "skipped: busy" in out[3]
    assert cli("schedule", "history", "sc-1", "--json").document == fires


def test_the_next_times_are_shown_in_the_zone_of_the_schedule_and_here(cli):
    cli.client.answers["schedule_next"] = {"times": [NOW + HOUR, NOW + 25 * HOUR]}

    shown = cli("schedule", "next", "sc-1", "--count", "2").out.splitlines()
    document = cli("schedule", "next", "sc-1", "--json").document

    assert shown[0].split() == ["America/New_York", "LOCAL", "IN"]
    assert shown[1].startswith("2027-01-15 04:00:00.000-05:00")
    assert shown[1].endswith("1h 00m")
    assert [each["due"] for each in document] == [NOW + HOUR, NOW + 25 * HOUR]
    assert document[0]["in_zone"] == "2027-01-15 04:00:00.000-05:00"
    assert "paused" in cli("schedule", "next", "sc-3").err


def test_settings_are_scheduled_by_hand(cli):
    cli.client.answers["function_lookup"] = {"function_id": "fu-1"}
    cli.client.answers["schedule_scale"] = {**SCALED, "dynamic": True}

    done = cli(
        "schedule", "scale", "jobs", "serve", "--cron", "0 6 * * *", "--timezone",
        "America/New_York", "--min-containers", "4", "--max-containers", "8",
    )  # fmt: skip

    assert cli.client.asked[-1] == ("schedule_scale", {"function_id": "fu-1", "rule": {
        "cron_string": "0 6 * * *", "timezone": "America/New_York",
        "min_containers": 4, "max_containers": 8,
    }})  # fmt: skip
    assert "✓ Schedule sc-2: min_containers=4 for jobs/serve, next at 2027-01-15 05:" in done.err
    nothing = cli("schedule", "scale", "jobs", "serve", "--cron", "0 6 * * *")
    assert nothing.code == 2
    assert "--min-containers 4" in nothing.err


def test_a_schedule_by_hand_is_removed_by_its_id(cli):
    cli.client.answers["schedule_remove"] = {}
    assert "✓ Schedule sc-2 is removed." in cli("schedule", "remove", "sc-2").err

    cli.client.answers["schedule_remove"] = NotFoundError("There is no schedule sc-2.")
    assert cli("schedule", "remove", "sc-2").code == 1
