"""Conformance 1.1, 1.6, 1.8, 1.10, 2.6: images, GPUs, where the program runs, handles, logs."""
# ruff: noqa: TID251 - this is user code as well

import asyncio
import os
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

import cloudfn
from cloudfn.exception import (
    ExecutionError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    UnimplementedError,
)
from tests.integration.conformance_world import World, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

# Without a base, so that containers have the packages of this interpreter.
app = cloudfn.App("surface", image=cloudfn.Image().env({"FROM_IMAGE": "1", "BOTH": "1"}))


@app.function(env={"BOTH": "2"})
def variables(*names):
    return [os.environ.get(name) for name in names]


@app.function(retries=cloudfn.Retries(max_retries=3, initial_delay=0, backoff_coefficient=1.0))
def fail_until(attempt):
    if cloudfn.current_attempt() < attempt:
        raise RuntimeError("once more")
    return cloudfn.current_attempt()


@app.function()
def where():
    return cloudfn.is_local(), cloudfn.current_input_id(), cloudfn.current_function_call_id()


@app.function()
def square(x):
    return x * x


@app.function()
def use_function(function, x):
    return function.remote(x), function


@app.function()
def use_call(call):
    return call.get(), call


@app.function()
def use_app(handle):
    return handle.registered_functions["square"].remote(7), handle.info().name, handle


@app.function()
def say(text):
    print(text)
    print(f"{text} of stderr", file=sys.stderr)


@app.function()
def preempted_once(marker):
    if not os.path.exists(marker):
        open(marker, "w").close()
        cloudfn.exception.simulate_preemption(0.05)
        threading.Event().wait(30)
        return "nobody came"
    return "again"


@app.function()
def read_logs():
    return cloudfn.App.lookup("surface").logs.tail()


@pytest.fixture(autouse=True, scope="module")
def deployed(world: World):
    app.deploy()
    return world


# ---------------------------------------------------------------------------- where am I, images


def test_variables_of_the_image_are_there_and_those_of_the_function_win():
    assert variables.remote("FROM_IMAGE", "BOTH") == ["1", "2"]


def test_variables_are_there_while_the_program_is_imported(world: World):
    source = """
    import os, cloudfn
    image = cloudfn.Image.debian_slim().env({"SEEN": "the image's"})
    app = cloudfn.App("seen-early", image=image)
    SEEN = os.environ.get("SEEN")

    @app.function()
    def plain():
        return SEEN

    @app.function(env={"SEEN": "the function's"})
    def own():
        return SEEN

    @app.local_entrypoint()
    def main():
        print(SEEN, plain.remote(), own.remote(), sep=", ")
    """
    done = world.cli("run", "-q", world.write(source))
    assert done.stdout == "None, the image's, the function's\n"


def test_modals_names_of_variables_are_aliases_of_ours():
    ours = variables.remote("CLOUDFN_CONTAINER_ID", "CLOUDFN_ENVIRONMENT")
    theirs = variables.remote("MODAL_TASK_ID", "MODAL_ENVIRONMENT", "MODAL_IS_REMOTE")

    assert theirs[1:] == ["main", "1"]
    assert ours[1] == "main"
    assert theirs[0].startswith("ta-")


def test_attempts_are_counted_from_one():
    assert fail_until.remote(1) == 1
    assert fail_until.remote(3) == 3
    assert cloudfn.current_attempt() is None


def test_a_program_knows_where_it_runs():
    """C130."""
    assert (cloudfn.is_local(), cloudfn.current_input_id()) == (True, None)
    assert cloudfn.current_function_call_id() is None

    call = where.spawn()
    here, input_id, call_id = call.get()

    assert (here, call_id) == (False, call.object_id)
    assert input_id.startswith("in-")


def test_a_module_that_the_image_names_is_in_the_container(world: World):
    world.write("VALUE = 42", "plugins/late.py")
    world.write("", "plugins/__init__.py")
    source = """
    import cloudfn
    image = cloudfn.Image.debian_slim().add_local_python_source("plugins")
    app = cloudfn.App("with-plugins", image=image)
    with image.imports():
        import there_is_no_such_package

    @app.function(image=image)
    def late(name):
        return __import__(name, fromlist=["VALUE"]).VALUE
    """
    broken = world.cli("run", f"{world.write(source)}::late", "--name", "plugins.late", code=1)
    assert "there_is_no_such_package" in broken.stderr  # swallowed here, not in the container

    sound = source.replace("there_is_no_such_package", "json")
    done = world.cli("run", "-q", f"{world.write(sound)}::late", "--name", "plugins.late")
    assert done.stdout == "42\n"


def test_what_an_image_asks_for_in_vain_is_refused_or_said_once_where_that_is_allowed(world: World):
    program = world.write("""
    import cloudfn
    image = cloudfn.Image.debian_slim().apt_install("git").apt_install("curl")
    app = cloudfn.App("in-vain", image=image)

    @app.function()
    def first():
        return 9

    @app.function()
    def second():
        pass
    """)

    refused = world.cli("run", f"{program}::first", code=1)
    assert "The image of first, second cannot have all that it asks for" in refused.stderr
    assert "`apt_install`" in refused.stderr
    assert "--runtime docker" in refused.stderr

    allowed = world.cli("run", "--allow-unmet", f"{program}::first")
    assert allowed.stdout == "9\n"
    assert allowed.stderr.count("goes without what this runtime cannot give it") == 1


def test_a_gpu_that_the_machine_does_not_have_is_an_error_that_says_so():
    """C158."""
    greedy = cloudfn.App("greedy-for-gpus")
    function = greedy.function(gpu=["h100:2", "a100"])(square.get_raw_f())
    assert function.spec.gpu == ("H100:2", "A100")

    with pytest.raises(InvalidError, match=r"'square' asks for a GPU \(H100:2 or A100\)"):
        greedy.deploy()
    with pytest.raises(InvalidError, match="this machine has none"), greedy.run():
        pass


# ------------------------------------------------------------------------------------- handles


def test_a_function_a_call_and_an_app_travel_and_come_back_usable():
    """C016."""
    result, function = use_function.remote(square, 3)
    assert (result, function.remote(4)) == (9, 16)
    assert use_function.remote(cloudfn.Function.from_name("surface", "square"), 3)[0] == 9

    spawned = square.spawn(5)
    result, call = use_call.remote(spawned)
    assert (result, call.get(), call) == (25, 25, spawned)

    result, name, handle = use_app.remote(app)
    assert (result, name, handle.app_id) == (49, "surface", app.app_id)
    assert handle.registered_functions["square"].remote(2) == 4


def test_a_function_is_found_by_its_id_from_anywhere(world: World):
    source = """
    import sys
    import cloudfn
    f = cloudfn.Function.from_id(sys.argv[1])
    print(f.remote(4), list(f.map([1, 2])), f.info().name, f.get_current_stats().backlog)
    """
    done = world.python(world.write(source), square.object_id)
    assert done.stdout == "16 [1, 4] square 0\n"
    with pytest.raises(NotFoundError, match="fu-nowhere"):
        cloudfn.Function.from_id("fu-nowhere").remote(1)


def test_a_function_tells_what_it_is():
    info = square.info()

    assert (info.name, info.app_name, info.app_id) == ("square", "surface", app.app_id)
    assert info.version == app.deployment.revision
    assert info.definition["timeout"] == 300
    assert square.stats() == square.get_current_stats()
    with pytest.raises(UnimplementedError, match="past"):
        square.stats(since=datetime.now(UTC))
    for use in (lambda: square.metrics, square.get_dashboard_url, app.get_dashboard_url):
        with pytest.raises(UnimplementedError):
            use()


def test_an_app_tells_what_it_is():
    info = app.info()

    assert (info.name, info.state, info.version) == ("surface", "deployed", 1)
    assert "square" in info.functions
    assert info.created_at <= datetime.now(UTC)
    assert app.stats().backlog == 0
    with pytest.raises(UnimplementedError, match="past"):
        app.stats(since=datetime.now(UTC))
    for use in (cloudfn.App("idle").info, cloudfn.App("idle").stats, cloudfn.App("idle").stop):
        with pytest.raises(ExecutionError, match="not running"):
            use()


def test_tags_are_seen_by_others_and_end_with_the_next_deploy(world: World):
    tagged = cloudfn.App("tagged-app", tags={"team": "a"})
    tagged.function()(square.get_raw_f())
    tagged.deploy()
    found = cloudfn.App.lookup("tagged-app")
    assert found.get_tags() == found.info().tags == {"team": "a"}

    found.set_tags({"team": "b"})

    assert tagged.get_tags() == {"team": "b"}
    assert "team" in world.cli("app", "info", "tagged-app").stdout
    cloudfn.App("tagged-app", tags={"team": "c"}).include(tagged, inherit_tags=False).deploy()
    assert found.get_tags() == {"team": "c"}
    for wrong in ({"team": 1}, {"x" * 64: "y"}):
        with pytest.raises(InvalidError, match="63"):
            found.set_tags(wrong)


def test_a_missing_app_is_made_where_that_is_wanted():
    with pytest.raises(NotFoundError, match="made-here"):
        cloudfn.App.lookup("made-here")

    made = cloudfn.App.lookup("made-here", create_if_missing=True)

    assert made.name == "made-here"
    assert made.app_id == cloudfn.App.lookup("made-here", create_if_missing=True).app_id
    assert made.registered_functions == {}
    made.stop()
    with pytest.raises(InvalidError, match="name"):
        cloudfn.App.lookup("a b", create_if_missing=True)


# ---------------------------------------------------------------------------------------- logs


def test_logs_are_fetched_by_app_function_and_call():
    began = datetime.now(UTC) - timedelta(minutes=1)
    call = say.spawn("one")
    call.get()
    say.remote("two")

    entries = call.logs.fetch()

    assert {entry.message for entry in entries} == {"one\n", "one of stderr\n"}
    first = next(entry for entry in entries if entry.source == "stdout")
    assert first.object_id.startswith("ta-")
    assert first.timestamp > began
    assert first.context_ids["call"] == call.object_id
    assert first.context_ids["function"] == "say"
    assert [entry.message for entry in say.logs.fetch(began, source="stdout")][-2:] == [
        "one\n",
        "two\n",
    ]
    assert app.logs.fetch(search="nobody said that") == []
    assert app.logs.fetch(until=began) == []
    assert [entry.message for entry in app.logs.tail(1, source="stderr")] == ["two of stderr\n"]
    with pytest.raises(InvalidError, match="source"):
        app.logs.tail(source="stdin")
    with pytest.raises(InvalidError, match="at least 1"):
        app.logs.tail(0)


def test_logs_are_streamed_as_they_come():
    stream = say.logs.stream(source="stdout")

    async def first():
        async for entry in stream:
            return entry.message
        return None

    async def program():
        reading = asyncio.ensure_future(first())
        # The stream begins some time after it is asked for: say it until it is heard.
        while not reading.done():
            await say.remote.aio("heard")
            await asyncio.wait([reading], timeout=0.05)
        return await reading

    assert asyncio.run(program()) == "heard\n"
    stream.close()
    assert list(stream) == []


def test_containers_cannot_read_logs():
    with pytest.raises(PermissionDeniedError, match="container"):
        read_logs.remote()


def test_an_input_that_is_preempted_runs_again(tmp_path):
    assert preempted_once.remote(str(tmp_path / "marker")) == "again"
    with pytest.raises(InvalidError):
        cloudfn.exception.simulate_preemption(0)


# ------------------------------------------------------------------------------- re-entrancy


def test_an_app_cannot_be_run_by_a_program_that_containers_import(world: World):
    source = """
    import cloudfn
    app = cloudfn.App("reentrant")

    @app.function()
    def f():
        return 1

    if not cloudfn.is_local():
        with app.run():
            pass
    """
    done = world.cli("run", f"{world.write(source)}::f", code=1)
    assert "cannot be used inside a container" in done.stderr


def test_an_entry_point_cannot_run_its_app_again(world: World):
    source = """
    import cloudfn
    app = cloudfn.App("twice")

    @app.local_entrypoint()
    def main():
        with app.run():
            pass
    """
    done = world.cli("run", world.write(source), code=1)
    assert "already running and can't be started again" in done.stderr
