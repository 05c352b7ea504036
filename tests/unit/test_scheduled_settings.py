"""Settings that schedules of a provider write, and what they come to with all others."""

import pytest

from cloudfn.model.function import AutoscalerSettings
from cloudfn.providers.catalog import Override
from cloudfn.providers.scheduled import InForce, Scheduled, in_force, scheduled

DECLARED = AutoscalerSettings(min_containers=1, max_containers=4, buffer_containers=2)


def settings(least, most, buffer=2):
    return AutoscalerSettings(least, most, buffer)


def override(updated=5.0, **changes):
    return Override(tuple(changes.items()), 1, updated, "ada")


def wanted(written=5.0, **changes):
    return Scheduled(changes, "mornings", written)


@pytest.mark.parametrize(
    ("text", "changes", "by"),
    [
        ('{"min_containers": 3}', {"min_containers": 3}, ""),
        ('{"max_containers": null, "by": "nightly"}', {"max_containers": None}, "nightly"),
        ("{}", {}, ""),
    ],
)
def test_settings_that_a_schedule_wrote_are_read(text, changes, by):
    assert scheduled(text, 5.0) == Scheduled(changes, by, 5.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 8_000, "no JSON"),
        ("[3]", "no JSON object"),
        ("null", "no JSON object"),
        ('{"min_containers": "3"}', "must be an int, not str"),
        ('{"min_containers": true}', "must be an int, not bool"),
        ('{"min_containers": NaN}', "must be an int, not float"),
        ('{"minimum": 3}', "no autoscaler setting `minimum`"),
        ('{"min_containers": 3, "max_containers": 2}', "cannot be greater"),
        ('{"scaledown_window": 1}', "between 2 and 3600"),
        ('{"by": {"min_containers": 3}, "max_containers": [1]}', "must be an int"),
    ],
)
def test_what_makes_no_sense_changes_nothing_and_says_why(text, said):
    found = scheduled(text, 5.0)

    assert found.changes == {}
    assert said in found.trouble


@pytest.mark.parametrize(
    ("changed", "written", "expected"),
    [
        (None, None, settings(1, 4)),
        (override(min_containers=3), None, settings(3, 4)),
        (None, wanted(min_containers=3), settings(3, 4)),
        (override(max_containers=9), wanted(min_containers=7), settings(7, 9)),
        (override(6.0, min_containers=3), wanted(5.0, min_containers=2), settings(3, 4)),
        (override(5.0, min_containers=3), wanted(6.0, min_containers=2), settings(2, 4)),
        (override(6.0, min_containers=3), wanted(5.0, buffer_containers=0), settings(3, 4, 0)),
        (None, wanted(max_containers=None, min_containers=50), settings(50, None)),
    ],
)
def test_of_what_people_and_schedules_changed_the_later_counts(changed, written, expected):
    assert in_force(DECLARED, changed, written) == InForce(expected)


@pytest.mark.parametrize(
    ("changed", "written", "expected", "said"),
    [
        (None, wanted(min_containers=9), settings(4, 4), "would be 9; 4"),
        (None, wanted(max_containers=1, min_containers=1), settings(1, 1), ""),
        (override(min_containers=3), wanted(max_containers=2), settings(2, 2), "would be 3; 2"),
        (
            override(min_containers=3),
            scheduled("nonsense", 9.0),
            settings(3, 4),
            "ignored: it is no JSON",
        ),
    ],
)
def test_what_does_not_fit_is_clamped_or_ignored_and_said(changed, written, expected, said):
    found = in_force(DECLARED, changed, written)

    assert found.settings == expected
    assert said in found.remark
    assert bool(said) == bool(found.remark)
