"""Variants of functions: ids, parameters, what a pool of one has."""

import pytest

from cloudfn.errors import InvalidError
from cloudfn.model.cls import ClsSpec, ParameterSpec, decoded, encoded
from cloudfn.model.concurrency import Concurrency
from cloudfn.model.function import AutoscalerSettings, FunctionSpec, Resources
from cloudfn.model.retry import Retries
from cloudfn.model.variant import Variant, base_id, complete, default_variant, parameters_of, served

MODEL = ClsSpec(
    parameters={
        "size": ParameterSpec("str"),
        "depth": ParameterSpec("int", required=False, default=3),
        "raw": ParameterSpec("bytes", required=False, default={"base64": "AAE="}),
    }
)
PLAIN = FunctionSpec(
    "f",
    "jobs",
    "f",
    autoscaler=AutoscalerSettings(min_containers=2, max_containers=5, buffer_containers=1),
    resources=Resources(cpu=1, memory=256),
    retries=Retries(max_retries=3),
    env={"A": "1"},
)


def defaults_only(**changes):
    cls = ClsSpec(parameters={"depth": ParameterSpec("int", required=False, default=3)})
    return FunctionSpec(
        "Model.*", "jobs", "Model", cls=cls, autoscaler=AutoscalerSettings(**changes)
    )


def test_an_id_is_that_of_the_function_with_a_digest():
    one, other = Variant({"size": "s"}), Variant({"size": "m"})

    assert base_id(one.id_for("fu-1")) == base_id("fu-1") == "fu-1"
    assert one.id_for("fu-1") != other.id_for("fu-1")


def test_the_order_of_parameters_and_options_makes_no_difference():
    one = Variant({"a": 1, "b": 2}, {"cpu": [1, None], "timeout": 5})
    other = Variant({"b": 2, "a": 1}, {"timeout": 5, "cpu": [1, None]})

    assert one.id_for("fu-1") == other.id_for("fu-1")


def test_an_explicit_default_is_the_same_as_none():
    given = complete(MODEL, {"size": "s", "depth": 3, "raw": b"\x00\x01"}, "Model")

    assert given == complete(MODEL, {"size": "s"}, "Model")
    assert decoded(given) == {"size": "s", "depth": 3, "raw": b"\x00\x01"}


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({}, InvalidError, "Missing required parameter: size"),
        ({"size": "s", "width": 1}, InvalidError, "Unknown parameter of Model: width"),
        ({"size": 1}, TypeError, "Expected str, got int"),
        ({"size": "s", "depth": True}, TypeError, "Expected int, got bool"),
        ({"size": "s" * 20_000}, InvalidError, "at most 16384"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(values, error, text):
    with pytest.raises(error, match=text):
        complete(MODEL, values, "Model")


def test_values_survive_their_encoding():
    values = {"a": "ü", "b": 2**70, "c": False, "d": b"\xff"}

    assert decoded(encoded(values)) == values


def test_a_variant_has_what_its_function_has_but_for_min_containers():
    spec = served(PLAIN, Variant())

    assert spec.autoscaler == AutoscalerSettings(max_containers=5, buffer_containers=1)
    assert (spec.resources, spec.retries, spec.env) == (PLAIN.resources, PLAIN.retries, PLAIN.env)


def test_options_replace_what_was_declared_one_by_one():
    options = {"cpu": [2, 4], "env": {}, "retries": {"max_retries": 0}, "buffer_containers": 0,
               "max_containers": 0, "timeout": 7, "concurrency": {"max_inputs": 4}}  # fmt: skip

    spec = served(PLAIN, Variant(options=options))

    assert spec.resources == Resources(cpu=2, cpu_limit=4, memory=256)
    assert (spec.env, spec.timeout, spec.retries) == ({}, 7, Retries(max_retries=0))
    assert spec.autoscaler == AutoscalerSettings(max_containers=None, buffer_containers=0)
    assert spec.concurrency == Concurrency(4)


def test_no_variant_has_what_is_no_option():
    with pytest.raises(InvalidError, match="min_containers"):
        Variant(options={"min_containers": 1})


def test_min_containers_of_a_class_are_kept_for_the_instance_with_the_defaults():
    spec = defaults_only(min_containers=2)
    standard = default_variant(spec)

    assert served(spec).autoscaler.min_containers == 0
    assert served(spec, standard).autoscaler.min_containers == 2
    assert served(spec, Variant({"depth": 4})).autoscaler.min_containers == 0
    assert served(spec, Variant({"depth": 3}, {"timeout": 9})).autoscaler.min_containers == 0


def test_a_class_with_a_required_parameter_has_no_standard_instance():
    assert default_variant(FunctionSpec("Model.*", "jobs", "Model", cls=MODEL)) is None
    assert default_variant(PLAIN) is None


def test_a_parameter_that_came_later_has_its_default_in_older_variants():
    spec = FunctionSpec("Model.*", "jobs", "Model", cls=MODEL)

    assert parameters_of(spec, Variant({"size": "s"})) == complete(MODEL, {"size": "s"}, "Model")
    with pytest.raises(InvalidError, match="Expected str, got int"):
        parameters_of(spec, Variant({"size": 5}))


def test_people_see_names_with_what_makes_them_different():
    assert Variant({"size": "s"}).shown("Model.*") == "Model(size='s')"
    assert Variant(options={"timeout": 5}).shown("f") == "f[timeout=5]"
    assert Variant().shown("Model.*") == "Model"


def test_a_class_survives_its_way_through_json():
    spec = FunctionSpec("Model.*", "jobs", "Model", cls=MODEL)

    assert FunctionSpec.from_json(spec.to_json()) == spec
