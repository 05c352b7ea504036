"""Delays, priorities and deadlines: what a user may say, and what it means."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudfn.errors import InvalidError
from cloudfn.model.terms import Terms, terms_of

NOW = 1_000_000.0


def at(seconds):
    return datetime.fromtimestamp(NOW + seconds, UTC)


@pytest.mark.parametrize(
    ("given", "terms"),
    [
        pytest.param({}, Terms(), id="nothing"),
        pytest.param({"delay": 5}, Terms(not_before=NOW + 5), id="seconds"),
        pytest.param({"delay": timedelta(minutes=2)}, Terms(not_before=NOW + 120), id="timedelta"),
        pytest.param({"delay": at(30)}, Terms(not_before=NOW + 30), id="datetime"),
        pytest.param({"delay": 0}, Terms(), id="no delay at all"),
        pytest.param({"delay": at(-30)}, Terms(), id="a moment that is over means now"),
        pytest.param({"priority": -3}, Terms(priority=-3), id="priority"),
        pytest.param({"deadline": 5.5}, Terms(deadline=NOW + 5.5), id="deadline"),
        pytest.param(
            {"delay": at(5), "deadline": timedelta(seconds=6), "priority": 10},
            Terms(NOW + 5, NOW + 6, 10),
            id="all",
        ),
    ],
)
def test_what_can_be_said(given, terms):
    assert terms_of(NOW, **given) == terms
    assert Terms.from_json(terms.to_json()) == terms


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param({"delay": -1}, "`delay`", id="a negative delay"),
        pytest.param({"delay": "5"}, "`delay`", id="text"),
        pytest.param({"delay": True}, "`delay`", id="a flag"),
        pytest.param({"delay": float("nan")}, "`delay`", id="no number"),
        pytest.param({"deadline": float("inf")}, "`deadline`", id="no end"),
        pytest.param({"delay": timedelta(days=-1)}, "`delay`", id="a negative timedelta"),
        pytest.param({"delay": datetime(2030, 1, 1)}, "time zone", id="no zone"),  # noqa: DTZ001
        pytest.param({"priority": 11}, "`priority`", id="too high"),
        pytest.param({"priority": 1.0}, "`priority`", id="no whole number"),
        pytest.param({"priority": True}, "`priority`", id="a flag as priority"),
        pytest.param({"deadline": 0}, "over before", id="a deadline that is over"),
        pytest.param({"deadline": at(-1)}, "over before", id="one in the past"),
        pytest.param({"deadline": 5, "delay": 5}, "over before", id="one before the beginning"),
    ],
)
def test_what_makes_no_sense_is_refused(given, text):
    with pytest.raises(InvalidError, match=text):
        terms_of(NOW, **given)
