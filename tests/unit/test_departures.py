"""Who is told when the last container of a closed app says nothing more."""

import pytest

from cloudfn.agent.departures import Departures


@pytest.fixture
def departures():
    departures = Departures()
    departures.add("ta-1", "ap-1")
    departures.add("ta-2", "ap-1")
    departures.add("ta-3", "ap-2")
    return departures


def test_the_end_of_the_last_container_of_an_app_is_told_once(departures):
    told: list[str] = []
    departures.when_quiet("ap-1", lambda: told.append("ap-1"))
    departures.when_quiet("ap-2", lambda: told.append("ap-2"))

    departures.ended("ta-1")
    assert told == []
    departures.ended("ta-2")
    departures.ended("ta-2")

    assert told == ["ap-1"]


def test_an_app_without_user_code_that_runs_is_quiet_at_once(departures):
    told: list[str] = []

    departures.when_quiet("ap-3", lambda: told.append("ap-3"))

    assert told == ["ap-3"]
