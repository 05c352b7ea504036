"""Conformance 3.7: parameter sets and other options, each with a pool of its own."""
# ruff: noqa: TID251 - this is user code as well

import json
import os
import pickle
import signal
import threading

import pytest

import cloudfn
from cloudfn.exception import ExecutionError, InvalidError, NotFoundError
from tests.integration.conformance_world import World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("variants")

PROGRAM = """
    import os
    import cloudfn

    app = cloudfn.App("deployed-variants")

    @app.cls(max_containers=3, scaledown_window=120)
    class Model:
        size: str = cloudfn.parameter()
        depth: int = cloudfn.parameter(default=3)

        @cloudfn.method()
        def who(self):
            return self.size, self.depth, os.getpid(), os.environ.get("KIND", "{kind}")

        @cloudfn.method()
        def wait_for(self, path):
            while not os.path.exists(path):
                pass
            return self.size

    @app.cls()
    class Plain:
        @cloudfn.method()
        def pid(self):
            return os.getpid()

    @app.function(max_containers=2)
    def kind():
        return os.environ.get("KIND")
"""


class Sized:
    size: str = cloudfn.parameter()


@app.cls()
class Model(Sized):
    depth: int = cloudfn.parameter(default=3)
    raw: bytes = cloudfn.parameter(default=b"\x00\xff")
    label: str = cloudfn.parameter(init=False, default="none")

    @cloudfn.enter()
    def load(self):
        self.loads = getattr(self, "loads", 0) + 1
        self.calls = 0

    @cloudfn.method()
    def who(self):
        self.calls += 1
        return self.size, self.depth, self.raw, self.label, self.calls

    @cloudfn.method()
    def pid(self):
        return os.getpid()

    @cloudfn.method()
    def size_of(self):
        return self.size

    @cloudfn.method()
    async def slow(self, x):
        return self.size * x

    @cloudfn.method()
    def through(self, function, instance):
        return function.remote(), instance.who.remote()[0], Model(size="s").who.remote()[0]

    def shown(self):
        return f"{self.size}/{self.depth}"


@app.function()
def kind():
    return os.environ.get("KIND")


@app.function(max_containers=1)
def await_file(path):
    while not os.path.exists(path):
        pass


@app.function(max_containers=1)
def touch(path):
    open(path, "x").close()


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield


@pytest.fixture(scope="module")
def deployed(world: World):
    """The program, deployed; a function that deploys another version of it."""
    path = world.write(PROGRAM.replace("{kind}", "first"), "deployed_variants.py")

    def deploy(kind):
        path.write_text(path.read_text().replace('"first"', f'"{kind}"'))
        world.cli("deploy", path)

    world.cli("deploy", path)
    return deploy


def test_each_parameter_set_has_containers_and_state_of_its_own():
    """C106."""
    small, large = Model(size="s"), Model(size="l", depth=4)

    assert small.who.remote() == ("s", 3, b"\x00\xff", "none", 1)
    assert large.who.remote() == ("l", 4, b"\x00\xff", "none", 1)
    assert Model(depth=3, size="s").who.remote()[4] == 2
    assert small.pid.remote() != large.pid.remote()


def test_plain_attributes_and_local_calls_need_no_container():
    """C104."""
    model = Model(size="x")

    assert (model.depth, model.shown()) == (3, "x/3")
    assert not hasattr(model, "calls")
    assert model.who.local() == ("x", 3, b"\x00\xff", "none", 1)
    assert model.who.local()[4] == 2
    assert model.loads == 1


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({}, InvalidError, "Missing required parameter: size"),
        ({"size": "s", "width": 1}, InvalidError, "Unknown parameter"),
        ({"size": 3}, TypeError, "Expected str, got int"),
        ({"size": threading.Lock()}, ValueError, "Only pickle-able types are allowed.*lock"),
        ({"size": "s" * 20_000}, InvalidError, "at most 16384"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_when_a_method_is_called(values, error, text):
    """C107."""
    model = Model(**values)

    with pytest.raises(error, match=text):
        model.who.remote()


def test_without_a_container_missing_parameters_are_type_errors():
    with pytest.raises(TypeError, match="missing a required argument: 'size'"):
        Model().shown()
    with pytest.raises(TypeError):
        Model("s")


def test_a_method_of_the_class_itself_cannot_be_called():
    with pytest.raises(AttributeError, match="Did you forget to instantiate the class first"):
        Model.who.remote()
    with pytest.raises(AttributeError, match="nothing"):
        Model.nothing.remote()


def test_handles_travel_and_come_back_usable():
    small = Model(size="s")

    assert small.through.remote(kind, small) == (None, "s", "s")
    assert small.through.remote(small.size_of, small) == ("s", "s", "s")
    copied = pickle.loads(pickle.dumps(small))
    assert copied.pid.object_id == small.pid.object_id
    assert copied.size_of.remote() == "s"


def test_an_update_affects_one_parameter_set_alone(world: World):
    """C094."""
    one, other = Model(size="u"), Model(size="v")

    assert one.update_autoscaler(max_containers=7, buffer_containers=1).max_containers == 7
    assert one.update_autoscaler(scaledown_window=30).buffer_containers == 1
    assert other.update_autoscaler().max_containers is None
    base = world.ask("function_lookup", app=app.app_id, name="Model.*")["function_id"]
    assert world.ask("settings_get", function_id=base)["overrides"] == {}
    assert Model.with_options(timeout=99)(size="u").update_autoscaler().max_containers is None


@pytest.fixture
def asked(monkeypatch, world: World):
    """The operations that this process asks the daemon for."""
    asked = []
    client = type(world.client)
    original = client.ask

    def ask(self, op, **fields):
        asked.append(op)
        return original(self, op, **fields)

    monkeypatch.setattr(client, "ask", ask)
    return asked


def test_instances_of_the_same_parameters_are_bound_once(asked):
    """C106."""
    again = Model(depth=3, size="bound")

    assert Model(size="bound").pid.remote() == again.pid.remote()
    assert asked.count("function_bind") == 1
    with_options = [Model.with_options(timeout=50)(size="bound") for _ in range(2)]
    assert with_options[0].pid.remote() == with_options[1].pid.remote() != again.pid.remote()
    assert asked.count("function_bind") == 2
    assert Model(size="another").pid.remote() != again.pid.remote()
    assert asked.count("function_bind") == 3


def test_a_second_update_of_an_instance_does_not_bind_it_again(asked):
    """C097."""
    model = Model(size="twice")

    model.update_autoscaler(max_containers=4)
    model.update_autoscaler(scaledown_window=9)

    assert asked.count("function_bind") == 1
    assert asked.count("settings_update") == 2


def test_methods_cannot_be_updated_by_themselves():
    """C095."""
    model = Model(size="u")

    for update in (model.who.update_autoscaler, model.who.autoscaler.update):
        with pytest.raises(InvalidError, match="Call it on the class instance instead"):
            update(min_containers=1)
    with pytest.raises(InvalidError):
        model.who.with_options(timeout=5)


def test_options_make_pools_of_their_own_and_add_up():
    """C110."""
    variant = kind.with_options(env={"KIND": "one"})
    both = variant.with_options(max_containers=5, timeout=20)

    assert (kind.remote(), variant.remote(), both.remote()) == (None, "one", "one")
    assert both.update_autoscaler().max_containers == 5
    assert variant.update_autoscaler().max_containers is None
    assert list(both.starmap([(), ()])) == ["one", "one"]
    assert variant.spawn().get() == "one"
    assert len({each.object_id for each in (kind, variant, both)}) == 3


def test_a_variant_has_the_most_containers_for_itself(tmp_path):
    """C112."""
    path = str(tmp_path / "go")
    waits = await_file.spawn(path)
    variant = await_file.with_options(env={"KIND": "one"})
    waits_as_well = variant.spawn(path)

    for function in (await_file, variant):
        wait_for("it runs", lambda each=function: each.get_current_stats().num_running_inputs)
    touch.remote(path)

    assert (waits.get(timeout=60), waits_as_well.get(timeout=60)) == (None, None)
    assert variant.update_autoscaler().max_containers == 1


def test_options_of_a_class_keep_its_parameters():
    other = Model.with_options(env={"KIND": "one"}).with_concurrency(max_inputs=3)

    assert other(size="s").who.remote()[:2] == ("s", 3)
    assert other(size="s").pid.remote() != Model(size="s").pid.remote()
    assert list(other(size="a").slow.map([1, 2, 3])) == ["a", "aa", "aaa"]


def test_variants_are_named_where_containers_are_listed(world: World):
    Model(size="listed").pid.remote()

    assert world.containers("Model(size='listed', depth=3, raw=b'\\x00\\xff')")


def test_nothing_can_be_called_once_the_app_ended():
    other = cloudfn.App("short")
    cls = other.cls(serialized=True)(type("Short", (), {"m": cloudfn.method()(lambda self: 5)}))
    one = cls()
    with other.run():
        assert one.m.remote() == 5
        assert one.m.is_hydrated

    with pytest.raises(ExecutionError, match="has not been hydrated"):
        one.m.remote()
    with pytest.raises(ExecutionError, match="has not been hydrated"):
        one.m.map([1])


def test_a_deployed_class_is_used_by_its_name(deployed, world: World):
    handle = cloudfn.Cls.from_name("deployed-variants", "Model")
    small = handle(size="s")

    size, depth, pid, _ = small.who.remote()
    assert (size, depth) == ("s", 3)
    told = world.python(
        "-c",
        "import cloudfn; M = cloudfn.Cls.from_name('deployed-variants', 'Model'); "
        "print(M(depth=3, size='s').who.remote()[2])",
    )
    assert int(told.stdout) == pid
    assert cloudfn.Cls.from_name("deployed-variants", "Plain")().pid.remote() != pid


def test_names_that_do_not_fit_are_refused(deployed):
    """C113."""
    handle = cloudfn.Cls.from_name("deployed-variants", "Model")

    with pytest.raises(NotFoundError, match="has no method 'nothing'"):
        handle(size="s").nothing.remote()
    with pytest.raises(NotFoundError, match="Lookup failed for Cls 'Nobody'"):
        cloudfn.Cls.from_name("deployed-variants", "Nobody")().x.remote()
    with pytest.raises(InvalidError, match="method of a class") as caught:
        cloudfn.Function.from_name("deployed-variants", "Model.who")
    assert "Cls.from_name" in f"{caught.value} {caught.value.hint}"
    with pytest.raises(NotFoundError, match="is a class"):
        cloudfn.Function.from_name("deployed-variants", "Model").remote()
    with pytest.raises(InvalidError, match="Missing required parameter: size"):
        handle().who.remote()
    with pytest.raises(ExecutionError, match="definition"):
        handle(size="s").who.local()
    assert handle.hydrate() is handle


def test_overrides_of_a_parameter_set_end_with_the_next_deploy(deployed):
    small = cloudfn.Cls.from_name("deployed-variants", "Model")(size="redeployed")
    assert small.who.remote()[3] == "first"
    assert small.update_autoscaler(max_containers=9).max_containers == 9

    deployed("second")

    assert small.who.remote()[3] == "second"
    assert small.update_autoscaler().max_containers == 3


def test_parameter_sets_survive_the_death_of_the_daemon(deployed, world: World, tmp_path):
    small = cloudfn.Cls.from_name("deployed-variants", "Model")(size="survivor")
    call = small.wait_for.spawn(str(tmp_path / "go"))
    small.update_autoscaler(max_containers=8)
    wait_for("the call", lambda: small.get_current_stats().num_running_inputs)

    os.kill(world.ask("status")["pid"], signal.SIGKILL)
    (tmp_path / "go").touch()

    assert call.get(timeout=60) == "survivor"
    assert small.update_autoscaler().max_containers == 8


def test_secrets_of_options_replace_those_of_the_declaration():
    first = kind.with_options(secrets=[cloudfn.Secret.from_dict({"KIND": "secret"})])

    assert first.remote() == "secret"
    assert first.with_options(timeout=77).remote() == "secret"
    assert first.with_options(secrets=[]).remote() is None


def test_classes_are_run_and_looked_after_from_the_command_line(deployed, world: World):
    path = world.folder / "deployed_variants.py"

    told = world.cli("run", "-q", f"{path}::Model.who", "--size", "cli", "--depth", "5")
    assert "('cli', 5, " in told.stdout
    assert world.cli("run", "-q", f"{path}::Plain").stdout.strip().isdigit()
    refused = world.cli("run", f"{path}::Model", code=2)
    assert "Please specify a specific method of Model" in refused.stderr
    refused = world.cli("run", f"{path}::Model.who", code=2)
    assert "--size" in refused.stderr

    cloudfn.Cls.from_name("deployed-variants", "Model")(size="counted").who.remote()
    figures = world.cli("stats", "deployed-variants", "Model", "--json").stdout
    assert json.loads(figures)["num_total_runners"] >= 1
    updated = world.cli(
        "update-autoscaler", "deployed-variants", "Plain", "--max-containers", "4", "--json"
    )
    assert json.loads(updated.stdout)["max_containers"] == 4
    refused = world.cli(
        "update-autoscaler", "deployed-variants", "Model", "--max-containers", "4", code=1
    )
    assert "Missing required parameter: size" in refused.stderr
    assert "Model, Plain" in world.cli("app", "info", "deployed-variants").stdout
