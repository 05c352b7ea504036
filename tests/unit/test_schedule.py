"""What may be written as a schedule, and what each mistake is answered with."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from cloudfn.errors import InvalidError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.schedule import (
    Cron,
    Period,
    ScaleAt,
    check_rule,
    rule_from_json,
    rule_to_json,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "*/5 * * * *",
        "0 6 * * *",
        "0,30 9-17 * * MON-FRI",
        "0 22-4 * * *",
        "0 0 1,15,L * *",
        "0 0 * jan-mar sun",
        "0 0 * * FRI#2",
        "0 0 * * L5,1#1",
        "0 0 ? * 7",
        "5/15 * * * *",
        "0 0 29 2 *",
        "0 0 30 2 MON",
        "  0   6 * * * ",
    ],
)
def test_what_cron_understands_is_accepted(text):
    assert Cron(text).cron_string == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bad", "1 field instead of 5"),
        ("", "0 fields instead of 5"),
        ("* * * *", "4 fields instead of 5"),
        ("* * * * * *", "6 fields instead of 5"),
        ("60 * * * *", "minute: 60 is out of range"),
        ("-5 * * * *", "minute: '-5' is not understood"),
        ("0 24 * * *", "hour: 24 is out of range"),
        ("0 0 0 * *", "day of the month: 0 is out of range"),
        ("0 0 * 13 *", "month: 13 is out of range"),
        ("0 0 * * 8", "day of the week: 8 is out of range"),
        ("0 0 * * MONDAY", "day of the week: 'MONDAY' is not understood"),
        ("0 0 * * FRI#6", "day of the week: 'FRI#6' is no day"),
        ("0 0 * * FRI#2,MON", "mixes plain days"),
        ("*/0 * * * *", "the step of '\\*/0'"),
        ("*/70 * * * *", "the step of '\\*/70'"),
        ("5-5 * * * *", "a range of one"),
        ("0 6 * * 7-0", "a range of one"),
        ("50-10/5 * * * *", "runs past the end with a step"),
        ("1,, * * * *", "minute: '' is not understood"),
        ("? * * * *", "minute: '\\?' is not understood"),
        ("0 0 31 2 *", "none of its months has such a day"),
        ("0 0 31 4,6 *", "none of its months has such a day"),
        ("@daily", "@daily is no cron expression here"),
    ],
)
def test_a_mistake_in_a_cron_expression_is_named_with_its_field(text, words):
    with pytest.raises(InvalidError, match=words) as caught:
        Cron(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("New York", "America/New_York"),
        ("america/new_york", "America/New_York"),
        ("Europe/Berlinn", "Europe/Berlin"),
        ("Q", "IANA"),
        ("", "IANA"),
        ("../etc/passwd", "IANA"),
        ("America", "Did you mean"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_a_suggestion(zone, hint):
    with pytest.raises(InvalidError, match="There is no time zone") as caught:
        Cron("0 6 * * *", timezone=zone)
    assert hint in caught.value.hint


def test_a_period_takes_names_and_whole_numbers_but_for_the_seconds():
    """C143."""
    with pytest.raises(TypeError):
        Period(5)
    for wrong in ({"minutes": 1.5}, {"days": "1"}, {"hours": True}, {"seconds": "1"}):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            Period(**wrong)
    assert Period(seconds=0.5).fixed.total_seconds() == 0.5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "empty"),
        ({"seconds": 0.0}, "empty"),
        ({"seconds": 0.01}, "shorter than 0.1 seconds"),
        ({"days": -1}, "`days` must be at least 0"),
        ({"days": 2, "hours": -1}, "`hours` must be at least 0"),
        ({"seconds": float("nan")}, "`seconds`"),
        ({"seconds": float("inf")}, "longer than 100 years"),
        ({"years": 101}, "longer than 100 years"),
        ({"years": 10**30}, "longer than 100 years"),
        ({"days": 10**30}, "longer than 100 years"),
        ({"seconds": 1e300}, "longer than 100 years"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused(values, words):
    with pytest.raises(InvalidError, match=words):
        Period(**values)


def test_wrong_types_are_told():
    for wrong in (5, None, ["0 6 * * *"]):
        with pytest.raises(TypeError, match="cron_string"):
            Cron(wrong)
    with pytest.raises(TypeError, match="timezone"):
        Cron("0 6 * * *", timezone=5)
    with pytest.raises(TypeError, match="overlap"):
        Cron("0 6 * * *", overlap="no")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "changes nothing"),
        ({"min_containers": -1}, "min_containers"),
        ({"min_containers": 1.5}, "min_containers"),
        ({"max_containers": 0}, "max_containers"),
        ({"min_containers": 4, "max_containers": 2}, "cannot be greater"),
        ({"scaledown_window": 1}, "scaledown_window"),
    ],
)
def test_scheduled_settings_that_make_no_sense_are_refused(values, words):
    with pytest.raises(InvalidError, match=words):
        ScaleAt("0 6 * * *", **values)


def test_scheduled_settings_have_to_fit_those_of_the_function():
    with pytest.raises(InvalidError, match="cannot be greater"):
        FunctionSpec.from_json({
            "name": "f", "module": "m", "qualname": "f", "autoscaler": {"max_containers": 2},
            "scaling": [rule_to_json(ScaleAt("0 6 * * *", min_containers=4))],
        })  # fmt: skip


@pytest.mark.parametrize(
    "rule",
    [
        Cron("0 6 * * *", "America/New_York", overlap=False),
        Period(months=1, seconds=0.5),
        ScaleAt("0 6 * * *", timezone="Asia/Tokyo", min_containers=4, scaledown_window=5),
    ],
)
def test_rules_survive_json_and_pickle(rule):
    data = json.loads(json.dumps(rule_to_json(rule)))

    assert rule_from_json({**data, "of a newer version": 1}) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert hash(rule) == hash(rule_from_json(data))


def test_a_function_keeps_its_schedule_in_json():
    spec = FunctionSpec(
        name="f", module="m", qualname="f", schedule=Period(hours=1),
        scaling=(ScaleAt("0 6 * * *", min_containers=4), ScaleAt("0 22 * * *", min_containers=0)),
    )  # fmt: skip

    assert FunctionSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_what_is_stored_can_be_read_where_its_time_zone_is_unknown():
    for data in (
        {"cron_string": "0 6 * * *", "timezone": "Gone/Away"},
        {"cron_string": "0 6 * * *", "timezone": "Gone/Away", "min_containers": 1},
    ):
        rule = rule_from_json(data)
        assert rule.timezone == "Gone/Away"
        with pytest.raises(InvalidError, match="no time zone 'Gone/Away'"):
            check_rule(rule)


def test_an_image_without_time_zones_takes_any_name():
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from cloudfn import Cron\n"
        "print(Cron('0 6 * * *', timezone='America/New_York'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONTZPATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.strip() == "0 6 * * * America/New_York"


def test_schedules_read_well():
    assert str(Cron("0 6 * * *", "America/New_York")) == "0 6 * * * America/New_York"
    assert str(Period(days=1, seconds=2.5)) == "every 1 day 2.5 seconds"
