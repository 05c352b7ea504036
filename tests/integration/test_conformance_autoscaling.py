"""Conformance 3.6: containers appear, stay and vanish as the settings say."""
# ruff: noqa: TID251 - this is user code as well

import os
import time

import pytest

import cloudfn
from cloudfn.exception import InvalidError
from tests.integration.conformance_world import World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("autoscaling")
Settings = cloudfn.FunctionAutoscalerSettings


@app.function(scaledown_window=2)
def square(x):
    return x * x


@app.function(min_containers=2, scaledown_window=2)
def warm(x):
    return os.getpid()


@app.function(buffer_containers=2, scaledown_window=2)
def buffered(path):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise RuntimeError("nobody made the file")
        time.sleep(0.005)


@app.function(max_containers=2, scaledown_window=2)
def narrow(path):
    return buffered.local(path)


@app.function(single_use_containers=True)
def single_use(x):
    return os.getpid()


@app.function(max_inputs=1)
def single_use_of_old(x):
    return os.getpid()


@app.function(min_containers=1, max_containers=8, buffer_containers=1, scaledown_window=10)
def tunable(x):
    return x


@app.function()
def rescale_itself():
    return tunable.update_autoscaler(max_containers=6)


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield world


@pytest.fixture(autouse=True)
def same_settings_again():
    yield
    tunable.autoscaler.update(
        min_containers=1, max_containers=8, buffer_containers=1, scaledown_window=10
    )


def plain(x):
    return x


def test_from_zero_to_one_and_back_to_zero(running: World):
    """C088."""
    assert running.containers("square") == []
    assert square.remote(3) == 9
    assert len(running.containers("square")) == 1
    assert square.get_current_stats().num_total_runners == 1
    wait_for("no container", lambda: not running.containers("square"))
    assert square.remote(4) == 16


def test_min_containers_stay_without_any_work(running: World):
    """C089."""
    wait_for("two containers", lambda: len(running.containers("warm")) == 2)
    pids = {each["pid"] for each in running.containers("warm")}
    assert warm.remote(1) in pids
    square.remote(1)
    # When that one is gone, the window of the two is over as well.
    wait_for("no other container", lambda: not running.containers("square"))
    assert {each["pid"] for each in running.containers("warm")} == pids


def test_a_buffer_stands_by_while_the_function_is_active(running: World, tmp_path):
    """C091."""
    assert running.containers("buffered") == []
    gate = tmp_path / "gate"
    call = buffered.spawn(str(gate))
    wait_for("one busy, two by", lambda: len(running.containers("buffered")) == 3)
    gate.touch()
    call.get(timeout=30)
    wait_for("no container", lambda: not running.containers("buffered"))


def test_max_containers_is_never_exceeded_and_stats_tell_what_waits(running: World, tmp_path):
    """C101."""
    gate = tmp_path / "gate"
    call = narrow.spawn_map([str(gate)] * 6)
    wait_for("two running", lambda: narrow.get_current_stats().num_running_inputs == 2)
    stats = narrow.get_current_stats()
    assert stats.num_total_runners == 2
    assert stats.backlog == 4
    assert stats.input_headroom == 0
    assert len(running.containers("narrow")) == 2
    gate.touch()
    list(call.iter())
    wait_for("nothing waits", lambda: narrow.get_current_stats().backlog == 0)


def test_updates_merge_and_return_what_is_in_force():
    """C092, C098."""
    assert tunable.update_autoscaler(min_containers=2, max_containers=10) == Settings(2, 10, 10, 1)
    assert tunable.update_autoscaler(min_containers=4) == Settings(4, 10, 10, 1)
    assert tunable.update_autoscaler(scaledown_window=2) == Settings(4, 10, 2, 1)
    assert tunable.autoscaler.settings() == Settings(4, 10, 2, 1)
    assert tunable.update_autoscaler(min_containers=0, buffer_containers=0) == Settings(0, 10, 2, 0)


def test_the_newer_update_leaves_what_is_omitted_and_resets_what_is_none():
    assert tunable.autoscaler.update(max_containers=None) == Settings(1, None, 10, 1)
    assert tunable.autoscaler.update(min_containers=None) == Settings(0, None, 10, 1)
    assert tunable.autoscaler.update(buffer_containers=3) == Settings(0, None, 10, 3)
    assert tunable.autoscaler.update() == Settings(0, None, 10, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"min_containers": 9}, "9.*8"),
        ({"min_containers": 3, "max_containers": 2}, "3.*2"),
        ({"max_containers": 0}, "max_containers"),
        ({"min_containers": -2}, "min_containers"),
        ({"buffer_containers": -2}, "buffer_containers"),
        ({"scaledown_window": 1}, "scaledown_window"),
        ({"scaledown_window": 3601}, "scaledown_window"),
        ({"min_containers": "2"}, "min_containers"),
        ({"min_containers": 2.5}, "min_containers"),
    ],
)
def test_an_update_that_makes_no_sense_is_refused_whole(wrong, words):
    """C085, C086, and 2.9: what is validated is the merged whole."""
    before = tunable.autoscaler.settings()
    with pytest.raises(InvalidError, match=words):
        tunable.update_autoscaler(buffer_containers=wrong.pop("buffer_containers", 5), **wrong)
    assert tunable.autoscaler.settings() == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"min_containers": 3, "max_containers": 2}, r"\(3\).*\(2\)"),
        ({"min_containers": "2"}, "must be an int, not str"),
        ({"min_containers": 2.5}, "must be an int, not float"),
        ({"min_containers": -1}, "min_containers"),
        ({"buffer_containers": -1}, "buffer_containers"),
        ({"scaledown_window": 0}, "between 2 and 3600"),
        ({"scaledown_window": 1}, "between 2 and 3600"),
        ({"scaledown_window": 3601}, "between 2 and 3600"),
        ({"timeout": None}, "timeout"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_the_decorator(wrong, words):
    """C085, C086."""
    with pytest.raises(InvalidError, match=words):
        cloudfn.App("wrong").function(**wrong)(plain)


@pytest.mark.parametrize(
    "right",
    [
        {"min_containers": 2, "max_containers": 2},
        {"max_containers": 0},
        {"max_containers": 2, "buffer_containers": 9},
        {"scaledown_window": 2},
        {"scaledown_window": 3600},
    ],
)
def test_settings_at_their_limits_are_accepted(right):
    """C085, C086."""
    assert cloudfn.App("right").function(**right)(plain).name == "plain"


def test_an_update_takes_effect_at_once(running: World):
    tunable.update_autoscaler(min_containers=3)
    wait_for("three containers", lambda: len(running.containers("tunable")) >= 3)
    tunable.autoscaler.update(min_containers=0, buffer_containers=0, scaledown_window=2)
    wait_for("no container", lambda: not running.containers("tunable"))


def test_an_update_may_come_from_inside_of_a_container():
    assert rescale_itself.remote().max_containers == 6
    assert tunable.autoscaler.settings().max_containers == 6


@pytest.mark.parametrize("function", [single_use, single_use_of_old])
def test_single_use_containers_run_one_input_each(function):
    """C100."""
    assert len(set(function.map(range(3)))) == 3
    assert len({function.remote(x) for x in range(3)}) == 3
