"""Dead letters: seen, run once more, forgotten, from the command line."""

import json
from pathlib import Path

import pytest

import cloudfn
from tests.integration.conformance_world import PATIENCE, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

PROGRAM = """
from pathlib import Path

import cloudfn

app = cloudfn.App("dead")


@app.function()
def fragile(gate, x, ballast=b""):
    if x % 2 and not Path(gate).exists():
        raise ValueError(f"{x} is odd\\nand more")
    return x, len(ballast)


@app.function(timeout=1, retries=0)
def slow():
    import time

    time.sleep(30)
"""


@pytest.fixture(scope="module", autouse=True)
def deployed(world: World):
    world.cli("deploy", world.write(PROGRAM, "dead.py"))
    yield
    world.cli("app", "stop", "dead", "--yes")


@pytest.fixture
def fragile():
    return cloudfn.Function.from_name("dead", "fragile")


def listed(world, *words):
    return json.loads(world.cli("call", "dead", "--json", *words).stdout)


def of(world, call):
    return [each for each in listed(world, "-n", "1000") if each["call"] == call.object_id]


def finished(call):
    wait_for("the call is done", call.done)
    return call


def test_what_failed_for_good_is_listed_with_its_reason(world: World, fragile, tmp_path):
    call = finished(fragile.spawn_map([str(tmp_path / "gate")] * 4, range(4)))
    slow = finished(cloudfn.Function.from_name("dead", "slow").spawn())

    letters = of(world, call)
    assert [(each["index"], each["error"]) for each in letters] == [
        (1, "ValueError: 1 is odd"),
        (3, "ValueError: 3 is odd"),
    ]
    (late,) = of(world, slow)
    assert late["status"] == "TIMED_OUT"
    assert late["error"].startswith("FunctionTimeoutError: slow, input 0")
    assert {each["function_name"] for each in listed(world, "--function", "slow")} == {"slow"}
    assert listed(world, "--app", "other") == []
    assert "ValueError: 3 is odd" in world.cli("call", "dead").stdout


@pytest.mark.parametrize("size", [10, 100_000])
def test_one_that_is_run_again_is_a_new_call_that_names_its_origin(
    world: World, fragile, tmp_path, size
):
    gate = tmp_path / "gate"
    ballast = [b"x" * size] * 4
    call = finished(fragile.spawn_map([str(gate)] * 4, range(4), ballast))
    gate.touch()
    new = cloudfn.FunctionCall.from_id(
        world.cli("call", "retry", call.object_id, "--input", "3").stdout.strip()
    )

    assert new.get(PATIENCE) == (3, size)
    assert [each["index"] for each in of(world, call)] == [1]
    assert world.ask("call_info", call=new.object_id)["origin"] == call.object_id
    with pytest.raises(ValueError, match="3 is odd"):
        call.get(index=3)


def test_one_that_fails_again_is_a_dead_letter_of_the_new_call(world: World, fragile, tmp_path):
    call = finished(fragile.spawn_map([str(tmp_path / "gate")] * 4, range(4)))
    told = world.cli("call", "retry", call.object_id, "--all")
    new = finished(cloudfn.FunctionCall.from_id(told.stdout.strip()))

    assert of(world, call) == []
    assert [each["index"] for each in of(world, new)] == [0, 1]
    Path(tmp_path / "gate").touch()
    last = world.cli("call", "retry", new.object_id, "--all").stdout.strip()
    results = list(cloudfn.FunctionCall.from_id(last).iter())
    assert results == [(1, 0), (3, 0)]


def test_one_can_be_forgotten(world: World, fragile, tmp_path):
    call = finished(fragile.spawn(str(tmp_path / "gate"), 1))
    (letter,) = of(world, call)
    assert "is forgotten" in world.cli("call", "drop", letter["input"]).stderr

    assert of(world, call) == []
    with pytest.raises(ValueError, match="odd"):
        call.get()
    world.cli("call", "drop", letter["input"], code=1)


def test_a_call_without_any_is_told_so(world: World, fragile, tmp_path):
    call = finished(fragile.spawn(str(tmp_path), 2))

    assert "no dead letters" in world.cli("call", "retry", call.object_id, "--all", code=1).stderr
    assert (
        "no dead letter"
        in world.cli("call", "retry", call.object_id, "--input", "0", code=1).stderr
    )
    assert "--all" in world.cli("call", "retry", call.object_id, code=2).stderr
