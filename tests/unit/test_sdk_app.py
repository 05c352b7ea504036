"""Declaring apps and functions: what is accepted, what is refused and in which words."""

import subprocess
import sys

import pytest

import cloudfn
from cloudfn import errors, exception


def plain(x):
    return x


def generator(x):
    yield x


async def asynchronous(x):
    return x


class Holder:
    def method(self):
        return 1


@pytest.fixture
def app():
    return cloudfn.App("test")


def test_a_decorated_function_cannot_be_called(app):
    function = app.function()(plain)

    with pytest.raises(TypeError, match="not callable"):
        function(2)


def test_it_runs_here_with_local(app):
    assert app.function()(plain).local(3) == 3


def test_an_async_function_gives_its_coroutine_with_local(app):
    coroutine = app.function()(asynchronous).local(1)

    assert hasattr(coroutine, "send")
    coroutine.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda f: f.remote(2),
        lambda f: f.spawn(2),
        lambda f: f.for_each([2]),
        lambda f: f.map([2]),
        lambda f: f.update_autoscaler(min_containers=1),
        lambda f: f.object_id,
    ],
    ids=["remote", "spawn", "for_each", "map", "update_autoscaler", "object_id"],
)
def test_a_function_whose_app_does_not_run_cannot_be_used(app, use):
    function = app.function()(plain)

    with pytest.raises(errors.ExecutionError, match=r"has not been hydrated(.|\n)*not running"):
        use(function)


def test_a_name_alone_has_no_definition():
    with pytest.raises(errors.ExecutionError, match="missing"):
        cloudfn.Function.from_name("a", "f").local(1)


def test_a_method_of_a_class_is_not_a_function():
    with pytest.raises(errors.InvalidError) as info:
        cloudfn.Function.from_name("a", "C.m")

    assert "Cls.from_name" in info.value.hint


@pytest.mark.parametrize("decorator", ["function", "local_entrypoint"])
def test_forgotten_parentheses_are_noticed(app, decorator):
    with pytest.raises(errors.InvalidError, match="forget parentheses"):
        getattr(app, decorator)(plain)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_containers": 3, "max_containers": 2}, r"`min_containers` \(3\).*ntainers` \(2\)"),
        ({"min_containers": "2"}, "must be an int, not str"),
        ({"min_containers": 2.5}, "must be an int, not float"),
        ({"min_containers": -1}, "min_containers"),
        ({"buffer_containers": -1}, "buffer_containers"),
        ({"scaledown_window": 1}, r"between 2 and 3600 \(inclusive\)"),
        ({"scaledown_window": 3601}, r"between 2 and 3600 \(inclusive\)"),
        ({"timeout": None}, "cannot be set to None"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"retries": True}, "retries"),
        ({"cpu": (2, 1)}, "cpu"),
        ({"memory": (1024, 512)}, "memory"),
        ({"schedule": "* * * * *"}, "Cron or a Period"),
        ({"name": 3}, "Must be string"),
        ({"max_inputs": 5}, "max_inputs"),
        ({"env": {"A": 1}}, "env"),
    ],
)
def test_values_that_make_no_sense_are_refused(app, options, words):
    with pytest.raises(errors.InvalidError, match=words):
        app.function(**options)(plain)


@pytest.mark.parametrize(
    "options",
    [
        {"min_containers": 2, "max_containers": 2},
        {"max_containers": 0},
        {"buffer_containers": 9, "max_containers": 2},
        {"scaledown_window": 2},
        {"scaledown_window": 3600},
        {"retries": 11},
        {"retries": cloudfn.Retries(max_retries=2)},
        {"image": None, "secrets": [], "volumes": {}, "gpu": None, "network_file_systems": {}},
        {"region": ["eu", "us"], "cloud": "aws", "routing_region": "eu", "ephemeral_disk": 1024},
        {"gpu": "a100:2", "block_network": False, "i6pn": None, "proxy": None},
        {"block_network": True},
        {"nonpreemptible": True, "single_use_containers": True, "max_inputs": 1},
        {"cpu": (1, 2), "memory": 256, "env": {"A": "1", "B": None}},
    ],
)
def test_values_that_make_sense_are_accepted(app, options):
    assert app.function(**options)(plain).name == "plain"


@pytest.mark.parametrize(
    "options",
    [
        {"enable_memory_snapshot": True},
        {"i6pn": True},
        {"network_file_systems": {"/mnt": object()}},
        {"proxy": object()},
        {"include_source": False},
    ],
)
def test_what_does_not_exist_yet_is_refused_with_what_to_do_instead(app, options):
    with pytest.raises(errors.UnimplementedError) as info:
        app.function(**options)

    assert info.value.hint


def test_old_names_are_refused_with_the_new_one(app):
    with pytest.raises(errors.DeprecationError, match="min_containers"):
        app.function(keep_warm=1)


def test_an_option_that_never_existed_is_a_type_error(app):
    with pytest.raises(TypeError, match="colour"):
        app.function(colour="blue")


def test_generators_have_no_retries_and_are_known_as_such(app):
    with pytest.raises(errors.InvalidError, match="Generator Functions do not support retries"):
        app.function(retries=0)(generator)

    function = app.function()(generator)

    assert function.is_generator
    with pytest.raises(errors.InvalidError, match="remote_gen"):
        function.remote(1)
    with pytest.raises(errors.InvalidError, match="Cannot `spawn` a generator function"):
        function.spawn(1)
    with pytest.raises(errors.ExecutionError, match="not been hydrated"):
        function.remote_gen(1)


def test_a_plain_function_has_no_remote_gen(app):
    with pytest.raises(errors.InvalidError, match=r"\.remote_gen"):
        app.function()(plain).remote_gen(1)


def test_a_function_inside_another_needs_to_be_serialized(app):
    def inner(x):
        return x

    with pytest.raises(errors.InvalidError, match="global scope"):
        app.function()(inner)
    assert app.function(serialized=True)(inner).name == "inner"
    assert app.function(serialized=True, name="double")(lambda x: 2 * x).local(2) == 4


def test_methods_classes_and_other_things_are_no_functions(app):
    with pytest.raises(errors.InvalidError, match="method"):
        app.function()(Holder.method)
    with pytest.raises(TypeError, match=r"Please use `@app\.cls` instead"):
        app.function()(Holder)
    with pytest.raises(errors.InvalidError):
        app.function()(3)


def test_the_second_function_of_a_name_wins_with_a_warning(app):
    app.function(name="f")(plain)
    with pytest.warns(errors.UserWarning, match="function name 'f' collision"):
        second = app.function(name="f")(generator)

    assert app.registered_functions == {"f": second}


def test_entry_points_are_called_like_functions_and_have_distinct_names(app):
    entrypoint = app.local_entrypoint()(plain)

    assert entrypoint(4) == 4
    assert app.registered_entrypoints == {"plain": entrypoint}
    with pytest.raises(errors.InvalidError, match="Duplicate"):
        app.local_entrypoint()(plain)


def test_an_included_app_brings_its_functions(app):
    other = cloudfn.App("other")
    function = other.function()(plain)

    assert app.include(other) is app
    assert app.registered_functions == {"plain": function}


def test_names_have_to_be_text():
    with pytest.raises(errors.InvalidError, match="Must be string"):
        cloudfn.App(3)


def test_a_deploy_needs_a_name_of_allowed_characters():
    with pytest.raises(errors.InvalidError, match="name"):
        cloudfn.App().deploy()
    with pytest.raises(errors.InvalidError, match="'a b'"):
        cloudfn.App("a b").deploy()


def test_spec_and_module_of_a_function_are_what_the_engine_needs(app):
    spec = app.function(timeout=7, max_containers=3)(asynchronous).spec

    assert (spec.module, spec.qualname) == (__name__, "asynchronous")
    assert (spec.is_async, spec.timeout, spec.startup_timeout) == (True, 7, 7)
    assert spec.autoscaler.max_containers == 3


def test_all_exceptions_are_found_where_modal_has_them():
    names = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }

    assert names == set(exception.__all__) - {"simulate_preemption"}


def test_every_name_of_the_package_can_be_had():
    for name in cloudfn.__all__:
        assert getattr(cloudfn, name) is not None
    assert set(cloudfn.__all__) <= set(dir(cloudfn))
    with pytest.raises(AttributeError):
        _ = cloudfn.nothing


def test_importing_the_package_imports_nothing_heavy():
    heavy = "asyncio inspect json socket logging dataclasses typing cloudpickle subprocess select"
    program = f"import sys, cloudfn; print(*set(sys.modules) & set({heavy.split()!r}))"

    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, cwd="."
    )

    assert done.stdout.split() == []


def test_outside_of_containers_there_is_no_input():
    assert cloudfn.is_local()
    assert cloudfn.current_input_id() is None
    assert cloudfn.current_function_call_id() is None
