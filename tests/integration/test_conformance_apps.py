"""Conformance 2.14, 3.9: apps that run and apps that are deployed; names, lookups, revisions."""
# ruff: noqa: TID251 - this is user code as well

import asyncio
import os
import time

import pytest

import cloudfn
from cloudfn.exception import (
    ExecutionError,
    InvalidError,
    NotFoundError,
    RemoteError,
)
from tests.integration.conformance_world import World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("plain-app")
included = cloudfn.App("included")
nameless = cloudfn.App()


@app.function()
def square(x):
    return x * x


@app.function()
def say(text):
    print(text)


@app.function()
def wait_for_file(path):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise RuntimeError("nobody made the file")
        time.sleep(0.005)
    return "there"


@included.function(name="cube")
def make_cube(x):
    return x**3


@nameless.function()
def nothing():
    """Do nothing."""


@pytest.fixture(autouse=True)
def engine(world: World):
    return world


def plain(x):
    return x


def test_functions_can_be_called_while_the_app_runs_and_not_after():
    """C005."""
    with app.run() as opened:
        assert opened is app
        assert app.app_id.startswith("ap-")
        assert square.object_id.startswith("fu-")
        assert square.is_hydrated
        assert square.remote(3) == 9
    assert app.app_id is None
    assert not square.is_hydrated
    with pytest.raises(ExecutionError, match="has not been hydrated"):
        square.remote(3)
    with pytest.raises(ExecutionError, match="has not been hydrated"):
        _ = square.object_id


def test_an_app_can_run_again():
    ids = set()
    for _ in range(2):
        with app.run():
            ids.add(app.app_id)
            assert square.remote(2) == 4
    assert len(ids) == 2


def test_an_app_that_runs_cannot_be_started_again():
    with app.run():
        with (
            pytest.raises(InvalidError, match="already running and can't be started again"),
            app.run(),
        ):
            pass
        assert square.remote(2) == 4


def test_an_app_runs_in_event_loops_as_well():
    async def program():
        async with app.run():
            assert await square.remote.aio(3) == 9
        async with app.run.aio() as opened:
            assert opened is app
            assert await square.remote.aio(4) == 16

    asyncio.run(program())


def test_what_is_raised_inside_goes_through_and_the_app_ends(engine: World):
    with pytest.raises(KeyError, match="mine"), app.run():
        raise KeyError("mine")
    assert not any(each["name"] == "plain-app" for each in engine.ask("app_list")["apps"])


def test_nothing_is_printed_unless_output_is_enabled(capfd):
    """C154."""
    with app.run():
        say.remote("unheard")
    assert capfd.readouterr() == ("", "")
    with cloudfn.enable_output(), app.run():
        say.remote("heard")
    assert capfd.readouterr().out == "heard\n"


def test_what_was_spawned_ends_with_an_app_that_is_not_detached(tmp_path):
    with app.run():
        call = wait_for_file.spawn(str(tmp_path / "gate"))
    with pytest.raises((RemoteError, NotFoundError)):
        call.get(timeout=20)


def test_a_detached_app_finishes_what_was_spawned(tmp_path):
    gate = tmp_path / "gate"
    with app.run(detach=True):
        call = wait_for_file.spawn(str(gate))
    gate.touch()
    assert call.get(timeout=30) == "there"


def test_included_functions_can_be_called_in_the_app():
    """C157."""
    whole = cloudfn.App("whole")
    whole.function()(plain)
    assert whole.include(included) is whole
    assert set(whole.registered_functions) == {"plain", "cube"}
    with whole.run():
        assert make_cube.remote(3) == 27
        assert whole.registered_functions["plain"].remote(1) == 1


def test_a_second_function_of_a_name_warns_and_wins():
    twice = cloudfn.App("twice")
    twice.function()(plain)
    with pytest.warns(
        cloudfn.exception.UserWarning, match="function name 'plain' collision! Overriding"
    ):
        second = twice.function(name="plain")(square.get_raw_f())
    assert twice.registered_functions == {"plain": second}


def test_a_second_entry_point_of_a_name_is_refused():
    twice = cloudfn.App("twice")
    twice.local_entrypoint()(plain)
    with pytest.raises(InvalidError, match=r"(?i)duplicate"):
        twice.local_entrypoint()(plain)


def test_a_name_has_to_be_a_string():
    with pytest.raises(InvalidError, match=r"(?i)invalid.*name.*string"):
        cloudfn.App(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["a b", "x" * 65, "a/b"])
def test_the_characters_of_a_name_are_looked_at_in_deploy(wrong):
    spaced = cloudfn.App(wrong)
    with pytest.raises(InvalidError, match=r"(?i)name"):
        spaced.deploy()


def test_classes_methods_and_forgotten_parentheses_are_refused():
    with pytest.raises(TypeError, match=r"cannot be used on a class.*@app\.cls"):

        @cloudfn.App("x").function()
        class Wrong:
            """No function."""

    with pytest.raises(InvalidError, match=r"@app\.cls"):

        class Outer:
            @cloudfn.App("x").function()
            def method(self):
                """Belong to a class."""

    with pytest.raises(InvalidError, match=r"(?i)parentheses"):
        cloudfn.App("x").function(plain)
    with pytest.raises(InvalidError, match=r"(?i)parentheses"):
        cloudfn.App("x").local_entrypoint(plain)


def test_deploy_needs_a_name():
    """C131."""
    with pytest.raises(InvalidError, match=r"(?s)name.*App\("):
        nameless.deploy()


def test_a_deployed_function_is_found_by_its_name_from_anywhere(engine: World):
    """C133."""
    assert app.deploy() is app
    assert cloudfn.Function.from_name("plain-app", "square").remote(3) == 9
    source = """
    import cloudfn
    f = cloudfn.Function.from_name("plain-app", "square")
    print(f.remote(4), f.spawn(5).get(), list(f.map([1, 2])))
    """
    assert engine.python(engine.write(source)).stdout == "16 25 [1, 4]\n"
    assert square.remote(5) == 25
    engine.cli("app", "stop", "plain-app", "--yes")
    with pytest.raises(NotFoundError, match="plain-app"):
        cloudfn.Function.from_name("plain-app", "square").remote(3)


def test_the_name_in_deploy_wins():
    """C133."""
    app.deploy(name="another-name")
    assert cloudfn.Function.from_name("another-name", "square").remote(3) == 9
    with pytest.raises(NotFoundError):
        cloudfn.Function.from_name("plain-app", "square").remote(3)


def test_a_nameless_app_can_be_deployed_under_a_name():
    nameless.deploy(name="named-later")
    assert cloudfn.Function.from_name("named-later", "nothing").remote() is None


def test_functions_of_an_app_that_only_runs_are_not_found():
    """C134."""
    with app.run():
        missing = cloudfn.Function.from_name("plain-app", "square")
        with pytest.raises(
            NotFoundError, match="Lookup failed for Function 'square' from the 'plain-app' app"
        ):
            missing.remote(1)


def test_failed_lookups_say_what_is_missing_and_come_late():
    app.deploy(name="lookups")
    unknown = cloudfn.Function.from_name("no-such-app", "f")
    for use in (lambda: unknown.remote(1), lambda: unknown.spawn(1), unknown.hydrate):
        with pytest.raises(NotFoundError, match=r"Lookup failed for Function 'f'.*'no-such-app'"):
            use()
    with pytest.raises(NotFoundError, match="Lookup failed for Function 'sqare'"):
        cloudfn.Function.from_name("lookups", "sqare").remote(1)
    with pytest.raises(InvalidError, match=r"Cls.from_name"):
        cloudfn.Function.from_name("lookups", "Some.method")
    with pytest.raises(ExecutionError, match="definition for this Function is missing"):
        cloudfn.Function.from_name("lookups", "square").local(1)


def test_a_deployed_app_is_looked_up():
    app.deploy(name="looked-up")
    found = cloudfn.App.lookup("looked-up")
    assert found.app_id == app.app_id
    assert found.registered_functions["square"].remote(6) == 36
    assert cloudfn.App.lookup(found.app_id).name == "looked-up"
    with pytest.raises(NotFoundError, match="nowhere"):
        cloudfn.App.lookup("nowhere")


def test_environments_are_separate_worlds(engine: World):
    app.deploy(name="only-in-main")
    source = """
    import cloudfn
    f = cloudfn.Function.from_name("only-in-main", "square", environment_name="elsewhere")
    try:
        f.remote(1)
    except cloudfn.exception.NotFoundError as error:
        print("missing", "elsewhere" in str(error))
    print(cloudfn.Function.from_name("only-in-main", "square", environment_name="main").remote(2))
    """
    path = engine.write(source)
    assert engine.python(path).stdout == "missing True\n4\n"


def test_redeploys_make_revisions_and_an_unchanged_one_none(engine: World):
    """C136, C137, and 2.14."""
    program = """
    import cloudfn
    app = cloudfn.App("versions")

    @app.function(scaledown_window=2)
    def f():
        return {value!r}

    @app.function()
    def g{value}():
        return 0
    """
    handle = cloudfn.Function.from_name("versions", "f")
    path = engine.write(program.format(value=1), "versions.py")
    engine.cli("deploy", path)
    assert handle.remote() == 1
    again = engine.cli("deploy", path)
    assert "skipped" in again.stdout + again.stderr
    assert "v1" in again.stdout + again.stderr
    engine.write(program.format(value=2), "versions.py")
    engine.cli("deploy", path)
    assert handle.remote() == 2
    cloudfn.Function.from_name("versions", "g2").remote()
    with pytest.raises(NotFoundError, match="g1"):
        cloudfn.Function.from_name("versions", "g1").remote()
    engine.cli("app", "rollback", "versions")
    assert handle.remote() == 1
    engine.cli("app", "rollback", "versions", "v2")
    assert handle.remote() == 2
    engine.cli("app", "rollback", "versions", "2", code=2)
    engine.cli("app", "rollback", "versions", "v99", code=1)


def test_overrides_end_with_a_deploy_that_changes_something_unless_they_are_kept(engine: World):
    program = """
    import cloudfn
    app = cloudfn.App("overridden")

    @app.function(max_containers=3)
    def f():
        return {value!r}
    """
    path = engine.write(program.format(value=1), "overridden.py")
    engine.cli("deploy", path)
    handle = cloudfn.Function.from_name("overridden", "f")
    handle.update_autoscaler(max_containers=7)
    engine.cli("deploy", path)
    assert handle.autoscaler.settings().max_containers == 7
    engine.write(program.format(value=2), "overridden.py")
    engine.cli("deploy", path, "--keep-overrides")
    assert handle.autoscaler.settings().max_containers == 7
    engine.write(program.format(value=3), "overridden.py")
    engine.cli("deploy", path)
    assert handle.autoscaler.settings().max_containers == 3


@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
def test_a_redeploy_loses_nothing_that_runs_or_waits(engine: World, tmp_path, strategy):
    program = """
    import os, time
    import cloudfn
    app = cloudfn.App("busy-{strategy}")

    @app.function(max_containers=1)
    def f(path):
        deadline = time.monotonic() + 60
        with open(path + ".began", "a") as file:
            file.write("x")
        while not os.path.exists(path):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return {value!r}
    """
    name = f"busy_{strategy}.py"
    path = engine.write(program.format(value=1, strategy=strategy), name)
    engine.cli("deploy", path)
    handle = cloudfn.Function.from_name(f"busy-{strategy}", "f")
    gate = tmp_path / "gate"
    calls = [handle.spawn(str(gate)) for _ in range(3)]
    wait_for("the first to begin", (tmp_path / "gate.began").exists)
    engine.write(program.format(value=2, strategy=strategy), name)
    engine.cli("deploy", path, "--strategy", strategy)
    new = handle.spawn(str(gate))
    gate.touch()
    # Inputs run on the revision that they were submitted to.
    assert [call.get(timeout=30) for call in calls] == [1, 1, 1]
    assert new.get(timeout=30) == 2


def test_stopping_an_app_cancels_what_waits(engine: World, tmp_path):
    app.deploy(name="to-stop")
    handle = cloudfn.Function.from_name("to-stop", "wait_for_file")
    call = handle.spawn(str(tmp_path / "gate"))
    cloudfn.App.lookup("to-stop").stop()
    with pytest.raises((RemoteError, NotFoundError)):
        call.get(timeout=20)
    wait_for(
        "no container", lambda: not [c for c in engine.containers() if c["app_name"] == "to-stop"]
    )
    # Its name is free again.
    app.deploy(name="to-stop")
    assert cloudfn.Function.from_name("to-stop", "square").remote(2) == 4


def test_an_app_that_runs_can_be_stopped_inside():
    with app.run():
        app.stop()
        with pytest.raises(ExecutionError, match="not running"):
            square.remote(1)


def test_tags_and_descriptions():
    tagged = cloudfn.App("tagged", tags={"team": "a"})
    assert tagged.get_tags() == {"team": "a"}
    tagged.set_tags({"team": "b"})
    assert tagged.get_tags() == {"team": "b"}
    assert tagged.description == "tagged"
    assert nameless.description == os.path.basename(__file__)


def test_more_than_the_machine_has_is_clipped_with_one_warning():
    greedy = cloudfn.App("greedy")
    f = greedy.function(cpu=100_000, memory=100_000_000)(square.get_raw_f())
    with pytest.warns(cloudfn.exception.UserWarning, match="cores") as caught, greedy.run():
        assert f.remote(3) == 9
    assert len(caught) == 1


def test_what_one_machine_does_not_have_is_refused_with_its_name():
    for option in ({"schedule": object()}, {"secrets": [object()]}, {"proxy": object()}):
        with pytest.raises((cloudfn.exception.UnimplementedError, InvalidError)) as caught:
            cloudfn.App("x").function(**option)(plain)
        assert next(iter(option)) in str(caught.value)
    with pytest.raises(TypeError, match="colour"):
        cloudfn.App("x").function(colour="red")(plain)
