"""Classes as they are declared: what makes no sense is refused at once."""
# mypy: ignore-errors

from __future__ import annotations

import enum

import pytest

import cloudfn
from cloudfn import errors
from cloudfn.errors import InvalidError
from cloudfn.model.cls import ParameterSpec, hooks, methods
from cloudfn.model.concurrency import Batching, Concurrency


class Base:
    name: str = cloudfn.parameter()

    @cloudfn.enter()
    def first(self): ...

    @cloudfn.enter()
    def replaced(self): ...

    @cloudfn.method()
    def run(self): ...


class Derived(Base):
    size: int = cloudfn.parameter(default=1)
    note: str = cloudfn.parameter(init=False, default="none")

    @cloudfn.enter()
    async def last(self): ...

    @cloudfn.enter()
    def second(self): ...

    def replaced(self): ...

    def run(self): ...

    @cloudfn.method()
    def items(self):
        yield 1


class Untyped:
    x = cloudfn.parameter()


class Floating:
    x: float = cloudfn.parameter()


class WrongDefault:
    x: int = cloudfn.parameter(default="1")


class WithConstructor:
    def __init__(self, x): ...


class WithBoth:
    x: int = cloudfn.parameter()

    def __init__(self): ...


class WithPlainConstructor:
    def __init__(self):
        self.x = 5

    @cloudfn.method()
    def get(self):
        return self.x


class TwoBatched:
    @cloudfn.batched(max_batch_size=2, wait_ms=1)
    def one(self, x): ...

    @cloudfn.batched(max_batch_size=2, wait_ms=1)
    def two(self, x): ...


class BatchedAndMore:
    @cloudfn.batched(max_batch_size=2, wait_ms=1)
    def one(self, x): ...

    @cloudfn.method()
    def two(self): ...


@cloudfn.concurrent(max_inputs=3)
class Slotted:
    @cloudfn.batched(max_batch_size=2, wait_ms=1)
    def one(self, x): ...


class Empty: ...


@pytest.fixture
def app():
    return cloudfn.App("classes")


def spec_of(app, cls):
    app.cls()(cls)
    (function,) = [
        each for each in app._functions.values() if each.spec.qualname == cls.__qualname__
    ]
    return function.spec


def test_a_class_is_one_function_with_its_methods_and_parameters(app):
    spec = spec_of(app, Derived)

    assert (spec.name, spec.qualname, spec.is_async) == ("Derived.*", "Derived", True)
    yields = {name: method.is_generator for name, method in spec.cls.methods.items()}
    assert yields == {"run": False, "items": True}
    assert spec.cls.parameters == {
        "name": ParameterSpec("str"),
        "size": ParameterSpec("int", required=False, default=1),
    }
    assert list(app.registered_classes) == ["Derived"]
    assert app.registered_functions == {}


def test_hooks_of_bases_come_first_and_asynchronous_ones_last():
    names = [hook.__qualname__ for hook in hooks(Derived, "enter")]

    assert names == ["Base.first", "Derived.replaced", "Derived.second", "Derived.last"]


def test_a_class_below_a_decorated_one_inherits_from_what_was_decorated(app):
    base = app.cls()(type("Decorated", (Base,), {"__qualname__": "Decorated"}))

    class Child(base): ...

    assert list(methods(Child)) == ["run"]


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (Untyped, "need to be type-annotated"),
        (Floating, "allowed types of parameters are str, int, bool, bytes"),
        (WrongDefault, "not of type int"),
        (WithConstructor, "constructor"),
        (WithBoth, "constructor"),
        (TwoBatched, "@batched"),
        (BatchedAndMore, "@batched"),
    ],
)
def test_classes_that_make_no_sense_are_refused(app, cls, text):
    """C103, C115."""
    with pytest.raises(InvalidError, match=text):
        app.cls()(cls)


def test_a_constructor_without_arguments_is_called(app):
    assert app.cls()(WithPlainConstructor)().get.local() == 5


def test_slots_and_batches_of_a_class_are_read_where_they_stand(app):
    spec = spec_of(app, Slotted)

    assert (spec.concurrency, spec.batching) == (Concurrency(3), Batching(2, 1))
    assert list(spec.cls.methods) == ["one"]


def test_misplaced_decorators_are_refused(app):
    """C115."""
    with pytest.raises(TypeError, match="must be used on a class"):
        app.cls()(len)
    with pytest.raises(InvalidError, match="forget parentheses"):
        app.cls(Empty)
    with pytest.raises(InvalidError, match="global scope"):
        app.cls()(type("Local", (), {"__qualname__": "f.<locals>.Local"}))
    for decorator in (cloudfn.method, cloudfn.enter, cloudfn.exit):
        with pytest.raises(InvalidError, match="forget parentheses"):
            decorator(len)
    for decorators in ((cloudfn.enter, cloudfn.method), (cloudfn.method, cloudfn.exit)):
        with pytest.raises(InvalidError, match="lifecycle decorator"):
            decorators[0]()(decorators[1]()(lambda self: None))
    with pytest.raises(InvalidError, match="takes arguments"):
        cloudfn.enter()(lambda self, x: None)


def test_options_that_classes_do_not_have_are_type_errors(app):
    for option in ({"schedule": cloudfn.Period(hours=1)}, {"name": "x"}, {"is_generator": True}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            app.cls(**option)


def test_options_of_variants_are_checked_at_once_and_leave_the_original_alone(app):
    """C110."""
    cls = app.cls()(Empty)

    with pytest.raises(TypeError):
        cls.with_options(min_containers=1)
    with pytest.raises(InvalidError, match="GPU"):
        cls.with_options(gpu=["A100", "H100"])
    with pytest.raises(InvalidError):
        cls.with_options(timeout=0)
    with pytest.raises(InvalidError):
        cls.with_concurrency(max_inputs=2, target_inputs=3)
    one = cls.with_options(timeout=5, max_containers=0)
    both = one.with_options(timeout=7).with_batching(max_batch_size=2, wait_ms=3)

    assert cls._options == {}
    assert one._options == {"timeout": 5, "max_containers": 0}
    assert both._options == {
        "timeout": 7, "max_containers": 0, "batching": {"max_batch_size": 2, "wait_ms": 3},
    }  # fmt: skip


def test_values_of_enumerations_are_those_that_they_stand_for(app):
    class Size(enum.StrEnum):
        SMALL = "s"

    assert app.cls()(Derived)(name=Size.SMALL).name == "s"


def test_a_second_class_of_a_name_goes_before_the_first(app):
    app.cls()(Empty)

    with pytest.warns(errors.UserWarning, match="'Empty' collision"):
        app.cls()(Empty)
