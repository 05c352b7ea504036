"""Spawning with a delay, a priority, a deadline: over real containers."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import cloudfn
from cloudfn.exception import DeadlineExceededError, InvalidError
from tests.integration.conformance_world import CLOCK, PATIENCE, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("terms")


@app.function()
def begun(path):
    Path(path).touch()
    return CLOCK.wall()


@app.function(max_containers=1)
def in_line(path, word, gate=None):
    while gate and not Path(gate).exists():
        CLOCK.sleep(0.01)
    with Path(path).open("a") as file:
        file.write(f"{word}\n")
    return word


@app.function(max_containers=1, retries=cloudfn.Retries(max_retries=5, initial_delay=60))
def fail_slowly(seconds):
    CLOCK.sleep(seconds)
    raise KeyError("its own")


@app.function()
def own_names(delay, *, deadline):
    return delay, deadline


@app.function()
def any_names(**kwargs):
    return kwargs


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield


@pytest.mark.parametrize(
    "delay",
    [
        pytest.param(lambda: 0.7, id="seconds"),
        pytest.param(lambda: timedelta(seconds=0.7), id="timedelta"),
        pytest.param(lambda: datetime.now(UTC) + timedelta(seconds=0.7), id="datetime"),  # noqa: TID251
    ],
)
def test_a_delayed_input_begins_no_sooner(tmp_path, delay):
    before = CLOCK.wall()
    call = begun.spawn(str(tmp_path / "begun"), delay=delay())

    assert not (tmp_path / "begun").exists()
    assert begun.get_current_stats().backlog == 1
    assert call.get(PATIENCE) >= before + 0.7


def test_a_delayed_input_can_be_cancelled(tmp_path):
    call = begun.spawn(str(tmp_path / "begun"), delay=3600)
    call.cancel()

    with pytest.raises(cloudfn.Error, match="cancelled"):
        call.get(PATIENCE)
    assert not (tmp_path / "begun").exists()


def test_priorities_order_what_waits(tmp_path):
    path, gate = str(tmp_path / "order"), str(tmp_path / "gate")
    first = in_line.spawn(path, "first", gate)
    wait_for("the first one runs", lambda: in_line.get_current_stats().num_running_inputs)
    low = in_line.spawn(path, "low", priority=-1)
    usual = in_line.spawn(path, "usual")
    high = in_line.spawn_with(priority=2).spawn_map([path] * 2, ["high", "high"])

    Path(gate).touch()
    cloudfn.FunctionCall.gather(first, low, usual)
    assert list(high.iter()) == ["high", "high"]
    assert Path(path).read_text().split() == ["first", "high", "high", "usual", "low"]


def test_what_has_not_begun_at_its_deadline_never_begins(tmp_path):
    path, gate = str(tmp_path / "order"), str(tmp_path / "gate")
    first = in_line.spawn(path, "first", gate)
    wait_for("the first one runs", lambda: in_line.get_current_stats().num_running_inputs)
    late = in_line.spawn(path, "late", deadline=0.3)

    with pytest.raises(DeadlineExceededError, match="deadline") as caught:
        late.get(PATIENCE)
    assert isinstance(caught.value, cloudfn.exception.TimeoutError)
    Path(gate).touch()
    assert first.get(PATIENCE) == "first"
    assert in_line.spawn(path, "next").get(PATIENCE) == "next"
    assert Path(path).read_text().split() == ["first", "next"]


def test_what_runs_at_its_deadline_is_stopped():
    call = fail_slowly.spawn(60, deadline=1)

    with pytest.raises(DeadlineExceededError):
        call.get(PATIENCE)


def test_a_retry_that_would_come_too_late_is_none():
    call = fail_slowly.spawn(0, deadline=30)

    with pytest.raises(KeyError, match="its own"):
        call.get(PATIENCE)


def test_a_functions_own_parameters_are_its_own():
    assert own_names.spawn(delay=1, deadline=2).get(PATIENCE) == (1, 2)
    assert any_names.spawn(delay=1, priority=5).get(PATIENCE) == {"delay": 1, "priority": 5}


def test_with_parameters_of_those_names_there_is_another_way():
    before = CLOCK.monotonic()
    call = own_names.spawn_with(delay=0.5).spawn(delay=1, deadline=2)

    assert call.get(PATIENCE) == (1, 2)
    assert CLOCK.monotonic() - before >= 0.4


def test_a_handle_of_a_deployed_function_knows_its_parameters(world: World):
    program = world.write(
        """
        import cloudfn

        app = cloudfn.App("by-name")

        @app.function()
        def plain(x):
            return x

        @app.function()
        def own(x, priority=0):
            return x, priority
        """
    )
    world.cli("deploy", program)

    plain = cloudfn.Function.from_name("by-name", "plain")
    assert plain.spawn(4, delay=0.01, priority=3).get(PATIENCE) == 4
    own = cloudfn.Function.from_name("by-name", "own")
    assert own.spawn(4, priority=3).get(PATIENCE) == (4, 3)
    world.cli("app", "stop", "by-name", "--yes")


@pytest.mark.parametrize(
    "given", [{"delay": -1}, {"priority": 99}, {"deadline": 0}, {"delay": "soon"}], ids=repr
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(given):
    with pytest.raises(InvalidError, match=next(iter(given))):
        begun.spawn(os.devnull, **given)
    with pytest.raises(InvalidError, match=next(iter(given))):
        begun.spawn_with(**given)
