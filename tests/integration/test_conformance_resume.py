"""Maps that go on where an earlier one ended: over real containers, in this and other processes."""

import asyncio
from pathlib import Path

import pytest

import cloudfn
from cloudfn.exception import ConflictError, InvalidError
from tests.integration.conformance_world import World, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("resume")


@app.function(max_containers=2)
def work(path, x):
    with Path(path).open("a") as file:
        file.write(f"{x}\n")
    if x < 0:
        raise ValueError(x)
    return x * x


@app.function()
def size(data):
    return len(data)


@app.function()
def other(path, x):
    return work.local(path, x)


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "runs")


def runs(path):
    file = Path(path)
    return sorted(map(int, file.read_text().split())) if file.exists() else []


def squares(path, numbers, name, **how):
    return list(work.map([path] * len(numbers), numbers, resume=name, **how))


def test_a_second_complete_run_returns_what_the_first_did(path):
    numbers = list(range(300))

    assert squares(path, numbers, "whole") == [n * n for n in numbers]
    assert squares(path, numbers, "whole") == [n * n for n in numbers]
    assert sorted(squares(path, numbers, "whole", order_outputs=False)) == [n * n for n in numbers]
    assert runs(path) == numbers


def test_a_map_that_was_left_early_goes_on(path):
    numbers = list(range(40))
    results = iter(work.map([path] * 40, numbers, resume="early", window=5))
    assert [next(results) for _ in range(7)] == [n * n for n in range(7)]
    results.close()

    assert squares(path, numbers, "early") == [n * n for n in numbers]
    assert runs(path) == numbers


def test_it_is_the_same_for_starmap_for_each_and_asyncio(path):
    pairs = [(path, n) for n in range(10)]
    work.for_each([path] * 10, range(10), resume="forms")

    assert list(work.starmap(pairs, resume="forms")) == [n * n for n in range(10)]

    async def again():
        return [x async for x in work.starmap.aio(pairs, resume="forms")]

    assert asyncio.run(again()) == [n * n for n in range(10)]
    assert runs(path) == list(range(10))


def test_failures_are_told_again_and_not_run_again(path):
    numbers = [1, -2, 3]
    for _ in range(2):
        one, two, three = squares(path, numbers, "failing", return_exceptions=True)
        assert (one, three) == (1, 9)
        assert isinstance(two, ValueError)
        with pytest.raises(ValueError, match="-2"):
            squares(path, numbers, "failing")
    assert runs(path) == [-2, 1, 3]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        pytest.param([1, 2, 9, 4], "input 2 is another one", id="another input"),
        pytest.param([1, 2, 3], "only 3", id="fewer"),
        pytest.param([1, 2, 3, 4, 5], "there were 4", id="more"),
    ],
)
def test_other_inputs_are_refused_with_what_to_do(path, request, numbers, text):
    name = f"changed-{len(numbers)}"
    squares(path, [1, 2, 3, 4], name)

    with pytest.raises(ConflictError, match=text) as caught:
        squares(path, numbers, name)
    assert "another name" in caught.value.hint
    assert f"cloudfn call drop {name}" in caught.value.hint
    assert runs(path) == [1, 2, 3, 4]


def test_a_name_belongs_to_one_function(path):
    assert squares(path, [2], "same") == [4]
    assert list(other.map([path], [3], resume="same")) == [9]


def test_two_clients_cannot_have_one_map_at_once(path):
    results = iter(work.map([path] * 50, range(50), resume="shared", window=2))
    next(results)

    with pytest.raises(ConflictError, match="Another client runs the map 'shared'"):
        squares(path, range(50), "shared")
    results.close()
    assert len(squares(path, range(50), "shared")) == 50


def test_big_inputs_and_results_are_compared_and_kept(path):
    inputs = [b"a" * 100_000, b"b" * 200_000]
    for _ in range(2):
        assert list(size.map(inputs, resume="big")) == [100_000, 200_000]
    with pytest.raises(ConflictError, match="input 1"):
        list(size.map([inputs[0], b"c" * 200_000], resume="big"))


def test_the_command_line_shows_the_name_and_forgets_the_call(world: World, path):
    squares(path, [1, 2], "listed")
    assert "resume/work/listed" in world.cli("call", "list").stdout

    assert "is forgotten" in world.cli("call", "drop", "listed").stderr
    assert squares(path, [5], "listed") == [25]
    assert world.cli("call", "drop", "nothing", code=1).stderr
    assert runs(path) == [1, 2, 5]


@pytest.mark.parametrize("name", ["", "a/b", "x" * 65, 3], ids=repr)
def test_a_name_has_to_be_one(path, name):
    with pytest.raises(InvalidError):
        work.map([path], [1], resume=name)


SCRIPT = """
import sys
from pathlib import Path

import cloudfn

app = cloudfn.App("script")


@app.function(max_containers=2)
def step(here, x):
    with Path(here, "runs").open("a") as file:
        file.write(f"{x}\\n")
    if x == 10:
        import time

        while not Path(here, "gate").exists():
            time.sleep(0.01)
    return x * x


if __name__ == "__main__":
    here, count = sys.argv[1], int(sys.argv[2])
    with app.run():
        for result in step.map([here] * count, range(count), resume="steps", window=8):
            print(result, flush=True)
"""


def test_a_script_that_is_killed_goes_on_when_it_is_run_again(world: World, tmp_path):
    script = world.write(SCRIPT)
    child = world.start("python", script, tmp_path, 40)
    assert child.stdout is not None
    seen = [int(child.stdout.readline()) for _ in range(10)]
    child.kill()
    child.wait()
    (tmp_path / "gate").touch()

    again = world.run("python", script, tmp_path, 40)
    assert seen == [n * n for n in range(10)]
    assert list(map(int, again.stdout.split())) == [n * n for n in range(40)]
    begun = runs(tmp_path / "runs")
    assert sorted(set(begun)) == list(range(40))
    # What had been told was finished, and is not run again; a few ran when the client died.
    assert all(begun.count(n) == 1 for n in range(10))
