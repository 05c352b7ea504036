"""For which platform the image of a function is built, and what else is said."""

import pytest

from cloudfn.control.deploy.platforms import platform_for, platforms
from cloudfn.errors import InvalidError
from cloudfn.model.function import FunctionSpec, Resources
from cloudfn.model.gpu import Gpu
from cloudfn.providers.fleet import MachineClass

ARM = MachineClass("arm", 2, 7_000, architecture="arm64", max_machines=3)
AMD = MachineClass("amd", 2, 7_000, max_machines=3)
LARGE = MachineClass("large", 16, 60_000, max_machines=3)
L4 = MachineClass("l4", 4, 15_000, (Gpu(0, "", "NVIDIA L4", 23_034),), max_machines=3)
ARM_L4 = MachineClass(
    "g", 4, 15_000, (Gpu(0, "", "NVIDIA L4", 23_034),), architecture="arm64", price=9.0
)


def a_function(name="f", cpu=0.5, memory=512, **more):
    return FunctionSpec(
        name=name, module="m", qualname=name, resources=Resources(cpu=cpu, memory=memory), **more
    )


@pytest.mark.parametrize(
    ("classes", "function", "expected"),
    [
        ([ARM], a_function(), "linux/arm64"),
        ([AMD], a_function(), "linux/amd64"),
        # Work without GPUs stays away from machines that have some.
        ([ARM, L4], a_function(), "linux/arm64"),
        ([ARM, L4], a_function(gpu=("L4",)), "linux/amd64"),
        ([L4], a_function(), "linux/amd64"),
        # What is too large for the one goes to the other.
        ([ARM, LARGE], a_function(memory=30_000), "linux/amd64"),
        ([ARM, LARGE], a_function(cpu=8), "linux/amd64"),
        # Larger than all: cut down to the largest.
        ([ARM, LARGE], a_function(memory=90_000), "linux/amd64"),
        # Several: the cheaper; the same price: amd64.
        ([LARGE, ARM], a_function(), "linux/arm64"),
        ([ARM, AMD], a_function(), "linux/amd64"),
        ([ARM_L4, L4], a_function(gpu=("L4",)), "linux/amd64"),
        # Nobody knows any machines.
        ([], a_function(gpu=("L4",)), ""),
    ],
)
def test_the_platform_is_that_of_the_cheapest_class_that_suits(classes, function, expected):
    assert platform_for(function, classes) == expected


def test_each_function_of_an_app_has_its_own():
    functions = [a_function("small"), a_function("model", gpu=("L4",))]

    found = platforms(functions, [ARM, L4])

    assert found == {"small": "linux/arm64", "model": "linux/amd64"}


def test_a_gpu_that_no_class_has_is_refused_with_what_there_is():
    with pytest.raises(InvalidError, match="No machine class has machines with H100 or A100 for f"):
        platform_for(a_function(gpu=("H100", "A100")), [ARM, L4])
    with pytest.raises(InvalidError) as caught:
        platform_for(a_function(gpu=("H100",)), [ARM, L4])
    assert "arm (no GPU), l4 (NVIDIA L4)" in caught.value.hint
