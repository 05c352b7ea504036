"""What a Function may declare: autoscaler settings, resources, times, and their plain form."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import InvalidError
from cloudfn.model.function import (
    AutoscalerSettings,
    FunctionSpec,
    Resources,
    declared_autoscaler,
    declared_resources,
)
from cloudfn.model.retry import Retries

SPEC = FunctionSpec(name="price", module="shop", qualname="Shop.price")


# ------------------------------------------------------------------------------------- autoscaler


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        pytest.param(
            (None, None, None, None), AutoscalerSettings(0, None, 0, 60), id="nothing is required"
        ),
        pytest.param((1, 2, 3, 4), AutoscalerSettings(1, 2, 3, 4), id="all is taken as given"),
        pytest.param((5, 0, 0, 60), AutoscalerSettings(5, None, 0, 60), id="max 0 means no limit"),
        pytest.param((2, 2, 0, 60), AutoscalerSettings(2, 2, 0, 60), id="min may equal max"),
        pytest.param((0, 1, 9, 60), AutoscalerSettings(0, 1, 9, 60), id="a buffer may exceed max"),
        pytest.param((0, 1, 0, 2), AutoscalerSettings(0, 1, 0, 2), id="the shortest window"),
        pytest.param((0, 1, 0, 3600), AutoscalerSettings(0, 1, 0, 3600), id="the longest window"),
    ],
)
def test_what_a_decorator_may_say_about_containers(arguments, settings):
    assert declared_autoscaler(*arguments) == settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            (3, 2, None, None),
            r"`min_containers` \(3\) cannot be greater than `max_containers` \(2\)",
            id="min above max names both",
        ),
        pytest.param(
            ("2", None, None, None), "`min_containers` must be an int, not str", id="text"
        ),
        pytest.param(
            (2.5, None, None, None), "`min_containers` must be an int, not float", id="2.5"
        ),
        pytest.param((True, None, None, None), "`min_containers` must be an int", id="a boolean"),
        pytest.param((-1, None, None, None), "`min_containers` must be at least 0", id="min -1"),
        pytest.param((None, -1, None, None), "`max_containers` must be at least 0", id="max -1"),
        pytest.param((None, False, None, None), "`max_containers` must be an int", id="max False"),
        pytest.param((None, "", None, None), "`max_containers` must be an int", id="max empty"),
        pytest.param(
            (None, None, -1, None), "`buffer_containers` must be at least", id="buffer -1"
        ),
        pytest.param((None, None, None, 0), r"between 2 and 3600 \(inclusive\)", id="no window"),
        pytest.param(
            (None, None, None, 1), r"between 2 and 3600 \(inclusive\)", id="a window of 1"
        ),
        pytest.param((None, None, None, 3601), r"between 2 and 3600", id="a window of 3601"),
        pytest.param((None, None, None, 9.0), "`scaledown_window` must be an int", id="9.0"),
    ],
)
def test_what_a_decorator_may_not_say_about_containers(arguments, message):
    with pytest.raises(InvalidError, match=message):
        declared_autoscaler(*arguments)


def test_an_update_merges_onto_what_was_there():
    first = AutoscalerSettings().merged({"min_containers": 2, "max_containers": 10})

    assert first.merged({"min_containers": 4}) == AutoscalerSettings(4, 10)


def test_an_update_without_changes_changes_nothing():
    assert AutoscalerSettings(1, 2, 3, 4).merged({}) == AutoscalerSettings(1, 2, 3, 4)


def test_an_update_may_lift_the_limit():
    assert AutoscalerSettings(1, 2).merged({"max_containers": None}) == AutoscalerSettings(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"max_containers": 1}, r"\(2\) cannot be greater than", id="a max below min"),
        pytest.param({"max_containers": 0}, "`max_containers` must be at least 1", id="max 0"),
        pytest.param({"min_containers": 11}, r"\(11\) cannot be greater", id="a min above max"),
        pytest.param({"min_containers": None}, "must be an int, not NoneType", id="no min at all"),
        pytest.param({"scaledown_window": 1}, "between 2 and 3600", id="a window of 1"),
        pytest.param({"colour": 1}, "no autoscaler setting `colour`", id="an unknown name"),
    ],
)
def test_an_update_that_makes_no_sense_as_a_whole_is_refused(changes, message):
    present = AutoscalerSettings(2, 10)

    with pytest.raises(InvalidError, match=message):
        present.merged(changes)


# -------------------------------------------------------------------------------------- resources


@pytest.mark.parametrize(
    ("cpu", "memory", "resources"),
    [
        pytest.param(None, None, Resources(0.125, None, 128, None), id="the defaults"),
        pytest.param(2, 1024, Resources(2, None, 1024, None), id="requests without limits"),
        pytest.param((1, 2), (512, 1024), Resources(1, 2, 512, 1024), id="requests and limits"),
        pytest.param(
            (1.5, 1.5), (16, 16), Resources(1.5, 1.5, 16, 16), id="limits at the requests"
        ),
        pytest.param((1, None), (64, None), Resources(1, None, 64, None), id="no limits in pairs"),
        pytest.param(0.01, 512.0, Resources(0.01, None, 512, None), id="a float of whole MiB"),
    ],
)
def test_what_a_decorator_may_ask_for(cpu, memory, resources):
    assert declared_resources(cpu, memory) == resources


@pytest.mark.parametrize(
    ("cpu", "memory", "message"),
    [
        pytest.param((2, 1), None, r"limit of `cpu` \(1\) is below the request", id="a low limit"),
        pytest.param(None, (1024, 512), r"limit of `memory` \(512\) is below", id="little memory"),
        pytest.param(0, None, "`cpu` must be a positive", id="no core"),
        pytest.param(-1, None, "`cpu` must be a positive", id="a negative core"),
        pytest.param(math.nan, None, "`cpu` must be a positive", id="nan cores"),
        pytest.param(math.inf, None, "`cpu` must be a positive", id="endless cores"),
        pytest.param((1, math.nan), None, "limit of `cpu`", id="a limit of nan cores"),
        pytest.param(True, None, "`cpu` must be a number or a", id="a boolean core"),
        pytest.param("2", None, "`cpu` must be a number or a", id="cores in text"),
        pytest.param((1, 2, 3), None, "`cpu` must be a number or a", id="three numbers"),
        pytest.param((None, 2), None, "`cpu` must have a request", id="a limit alone"),
        pytest.param(None, 15, "at least 16 MiB", id="too little memory"),
        pytest.param(None, 128.5, "whole number of MiB", id="half a MiB"),
        pytest.param(None, (128, 256.5), "whole number of MiB", id="a limit of half a MiB"),
        pytest.param(None, math.inf, "whole number of MiB", id="endless memory"),
        pytest.param(None, math.nan, "whole number of MiB", id="nan memory"),
        pytest.param(None, "1Gi", "`memory` must be a number or a", id="memory in text"),
    ],
)
def test_what_a_decorator_may_not_ask_for(cpu, memory, message):
    with pytest.raises(InvalidError, match=message):
        declared_resources(cpu, memory)


# ------------------------------------------------------------------------------------------- spec


@pytest.mark.parametrize("name", ["timeout", "startup_timeout"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(0, "between 1 and 86400 seconds", id="of nothing is refused"),
        pytest.param(86_401, "between 1 and 86400 seconds", id="over a day is refused"),
        pytest.param(1.5, "must be an int, not float", id="of a fraction is refused"),
        pytest.param(None, "must be an int, not NoneType", id="that is missing is refused"),
    ],
)
def test_a_time_limit(name, value, message):
    with pytest.raises(InvalidError, match=f"`{name}` .*{message}"):
        replace(SPEC, **{name: value})


@pytest.mark.parametrize("seconds", [1, 86_400])
def test_a_time_limit_at_its_bounds_is_accepted(seconds):
    spec = replace(SPEC, timeout=seconds, startup_timeout=seconds)

    assert (spec.timeout, spec.startup_timeout) == (seconds, seconds)


whole = st.integers(0, 50)
specs = st.builds(
    FunctionSpec,
    name=st.text(min_size=1, max_size=5),
    module=st.just("shop"),
    qualname=st.just("Shop.price"),
    is_async=st.booleans(),
    is_generator=st.booleans(),
    serialized=st.none() | st.text(max_size=5),
    autoscaler=st.builds(
        AutoscalerSettings, whole, st.none() | st.integers(50, 99), whole, st.integers(2, 3600)
    ),
    resources=st.builds(
        Resources,
        st.floats(0.01, 64),
        st.none() | st.floats(64, 99),
        st.integers(16, 999),
        st.none() | st.integers(999, 2_000),
    ),
    retries=st.none() | st.builds(Retries, max_retries=whole, max_delay=st.floats(1, 60)),
    timeout=st.integers(1, 86_400),
    startup_timeout=st.integers(1, 86_400),
    single_use=st.booleans(),
    fork=st.booleans(),
    env=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


@given(specs)
def test_a_spec_survives_as_json(spec):
    stored = json.dumps(spec.to_json(), allow_nan=False)

    assert FunctionSpec.from_json(json.loads(stored)) == spec


def test_what_a_newer_writer_added_is_ignored():
    data: dict[str, Any] = replace(SPEC, retries=Retries(max_retries=2)).to_json()
    data["mood"] = "good"
    for part in ("autoscaler", "resources", "retries"):
        data[part] = {**data[part], "mood": "good"}

    assert FunctionSpec.from_json(data) == replace(SPEC, retries=Retries(max_retries=2))


def test_a_spec_from_outside_is_checked_like_any_other():
    data = SPEC.to_json()
    data["timeout"] = 0

    with pytest.raises(InvalidError, match="`timeout`"):
        FunctionSpec.from_json(data)
