"""Programs as users of Modal write them, with `import cloudfn as modal` for their import."""

import asyncio

import pytest

import cloudfn as modal
from cloudfn.settings import Limits
from cloudfn.testing import offline

app = modal.App("scaling")
nameless = modal.App()

replicas: list[int] = []


@app.function(min_containers=1, max_containers=3, buffer_containers=1, scaledown_window=120)
def serve():
    return "served"


@app.function()
def warm_up():
    replicas.append(serve.update_autoscaler(min_containers=2).min_containers or 0)


@app.function()
def score(x):
    return x * 10


@app.function(name="cube", timeout=30, retries=modal.Retries(max_retries=1, initial_delay=0.0))
def powered(x):
    if x == 2:
        raise Exception("oh dear")  # noqa: TRY002 - as in the programs that we stand for
    return x**3


@app.function()
def joined(left, right, sep="-"):
    return f"{left}{sep}{right}"


@nameless.function()
def echo(x):
    return x


@app.local_entrypoint()
def main(n: int = 4):
    return list(score.map(list(range(n))))


@pytest.fixture
def world():
    with offline() as made, app.run():
        yield made


def test_an_app_needs_no_name_to_run():
    with offline(), nameless.run():
        assert echo.remote("hi") == "hi"


def test_settings_of_a_deployed_function_can_be_changed_step_by_step():
    with offline():
        app.deploy()
        function = modal.Function.from_name("scaling", "serve")

        function.update_autoscaler(max_containers=100)
        function.update_autoscaler(min_containers=2, max_containers=10)
        function.update_autoscaler(min_containers=4)

        settings = function.autoscaler.settings()
        assert (settings.min_containers, settings.max_containers) == (4, 10)
        assert (settings.buffer_containers, settings.scaledown_window) == (1, 120)


def test_settings_go_back_to_the_decorator_with_the_next_deploy_that_changes_something():
    with offline():
        app.deploy()
        modal.Function.from_name("scaling", "serve").update_autoscaler(max_containers=100)
        app.deploy(name="scaling")
        unchanged = modal.Function.from_name("scaling", "serve").autoscaler.settings()
        grown = modal.App("scaling").include(app)
        grown.include(nameless)
        grown.deploy()
        changed = modal.Function.from_name("scaling", "serve").autoscaler.settings()

    assert (unchanged.max_containers, changed.max_containers) == (100, 3)


def test_a_function_may_rescale_another_one(world):
    replicas.clear()
    warm_up.remote()

    assert replicas == [2]


def test_an_entry_point_maps_over_its_inputs(world):
    assert main() == [0, 10, 20, 30]


def test_the_first_failure_of_a_map_is_raised(world):
    with pytest.raises(Exception, match="oh dear"):
        list(powered.map(range(3)))
    assert world.count("cube", 2) == 2


def test_failures_can_be_results(world):
    how = {"return_exceptions": True, "wrap_returned_exceptions": False}
    results = list(powered.map(range(4), **how))

    assert results[:2] + results[3:] == [0, 1, 27]
    assert repr(results[2]) == "Exception('oh dear')"


def test_several_arguments_come_from_several_iterators_or_from_sequences(world):
    assert list(joined.starmap([("a", "b"), ("c", "d")])) == ["a-b", "c-d"]
    assert list(joined.map(["a", "c"], ["b", "d"], kwargs={"sep": "+"})) == ["a+b", "c+d"]


def test_a_function_is_not_called_by_itself(world):
    with pytest.raises(TypeError, match="not callable"):
        score([1, 2, 3]).map()
    with pytest.raises(TypeError, match="not callable"):
        list(map(score, [1, 2, 3]))


def test_both_variants_of_everything_give_the_same(world):
    async def program():
        call = await score.spawn.aio(3)
        mapped = [x async for x in score.map.aio([1, 2])]
        return await score.remote.aio(1), await call.get.aio(), mapped

    assert asyncio.run(program()) == (score.remote(1), score.spawn(3).get(), [10, 20])


def test_too_many_inputs_exhaust_the_resource():
    with offline(limits=Limits(spawn_pending=5)), app.run():
        for x in range(5):
            score.spawn(x)
        with pytest.raises(modal.exception.ResourceExhaustedError):
            score.spawn(5)


def test_exceptions_have_their_names_where_programs_look_for_them(world):
    assert issubclass(modal.exception.FunctionTimeoutError, modal.exception.TimeoutError)
    assert issubclass(modal.exception.Error, modal.Error)
    with pytest.raises(modal.exception.NotFoundError):
        modal.Function.from_name("scaling-not-there", "serve").remote()
