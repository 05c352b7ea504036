"""GPU requests (C158), and whether this machine has GPUs."""

import pytest

import cloudfn
from cloudfn.agent.gpus import machine_gpus
from cloudfn.errors import InvalidError
from cloudfn.model.gpu import parse_gpu, parse_gpus


@pytest.mark.parametrize(
    ("value", "gpus"),
    [
        (None, ()),
        ("h100:2", ("H100:2",)),
        ("a100-80gb", ("A100-80GB",)),
        ("H100!", ("H100!",)),
        ("B200+:8", ("B200+:8",)),
        ("any", ("ANY",)),
        (["h100", "a100:2", "L4"], ("H100", "A100:2", "L4")),
        (("T4",), ("T4",)),
    ],
)
def test_types_are_upper_cased_and_lists_kept_in_order(value, gpus):
    assert parse_gpus(value) == gpus


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("A100:x", "Invalid GPU count .*'X'.*must be an integer"),
        ("A100:", "must be an integer"),
        ("A100:0", "must be at least 1"),
        ("A100:-1", "must be an integer"),
        (3, "Invalid GPU config: 3. Value must be a string or None"),
        ([], "at least one GPU"),
        (["A100", 3], "Invalid GPU config: 3"),
        ("", "no type"),
        (":2", "no type"),
    ],
)
def test_what_makes_no_sense_is_refused_in_the_decorator(value, message):
    with pytest.raises(InvalidError, match=message):
        parse_gpus(value)
    with pytest.raises(InvalidError, match=message):
        cloudfn.App("app").function(gpu=value)(_plain)


def test_a_variant_names_one_gpu_and_no_list():
    assert parse_gpu("a100") == ("A100",)
    with pytest.raises(InvalidError, match=r"\['A100'\]"):
        parse_gpu(["A100"])


def test_the_driver_says_how_many_there_are(tmp_path):
    assert machine_gpus(tmp_path) == 0

    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
    assert machine_gpus(tmp_path) == 2

    (tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    assert machine_gpus(tmp_path) == 1


def _plain():
    """Do nothing."""
