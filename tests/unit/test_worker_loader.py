"""Finding the user's function."""

import base64

import pytest

from cloudfn.errors import DeserializationError, ExecutionError, NotFoundError
from cloudfn.wire.current import Current
from cloudfn.worker.loader import failure, is_hidden, load_function
from cloudfn.worker.orders import ContainerOrder, FunctionOrder, TemplateOrder


class Group:
    @staticmethod
    def inner():
        return "inner"


class Wrapped:
    def __init__(self, raw):
        self.__cloudfn_raw__ = raw

    def __call__(self):
        raise RuntimeError


class Asked:
    def __cloudfn_raw__(self):
        return Group.inner


wrapped, asked, number = Wrapped(Group.inner), Asked(), 5


@pytest.mark.parametrize("qualname", ["Group.inner", "wrapped", "asked"])
def test_the_raw_function_is_found_by_its_qualified_name(qualname):
    assert load_function(FunctionOrder("f", __name__, qualname))() == "inner"


def test_a_name_that_is_not_there_is_explained():
    with pytest.raises(NotFoundError, match="serialized=True"):
        load_function(FunctionOrder("f", __name__, "Group.absent"))


def test_what_is_no_function_is_refused():
    with pytest.raises(ExecutionError, match="not a function"):
        load_function(FunctionOrder("f", __name__, "number"))


def test_a_damaged_serialized_function_is_named():
    damaged = base64.b64encode(b"damaged").decode()

    with pytest.raises(DeserializationError, match="the function 'f'"):
        load_function(FunctionOrder("f", "", "", serialized=damaged))


def test_frames_of_ours_and_of_the_import_system_are_hidden():
    assert is_hidden(load_function.__code__.co_filename)
    assert is_hidden("<frozen importlib._bootstrap>")
    assert not is_hidden(__file__)


def test_a_failure_is_bounded():
    from cloudfn.wire.codec import PickleContext

    told = failure(ValueError("x" * 10_000_000), PickleContext(main_module="program"))

    assert sum(map(len, told.values())) < 100_000


def test_orders_ignore_what_they_do_not_know():
    function = {"name": "f", "module": "m", "qualname": "f", "timeout": 5, "serialized": None}
    order = TemplateOrder.from_json(
        {"op": "template", "template": "te-1", "bundle": "/b", "module": "m"}
        | {"functions": [function], "env": {}, "cwd": None, "fork": False, "newer": 1}
    )

    assert order.functions == {"f": FunctionOrder("f", "m", "f")}
    assert (order.cwd, order.fork, order.import_paths) == ("/b", False, ())
    assert ContainerOrder.from_json({"container": "ct-1", "function": "f"}).nice == 0


def test_no_claim_is_current_until_one_is_set():
    current = Current()
    assert current.claim() is None

    current.seq, current.fence = 3, 1

    assert current.claim() == (3, 1)
