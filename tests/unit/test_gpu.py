"""GPU requests (C158), which devices suit them, and which devices this machine has."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import cloudfn
from cloudfn.agent.gpus import machine_gpus, read_devices
from cloudfn.agent.machine import Machine
from cloudfn.errors import InvalidError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.gpu import (
    Gpu,
    GpuWish,
    described,
    parse_gpu,
    parse_gpu_memory,
    parse_gpus,
    suits,
    wish_for,
)
from cloudfn.model.variant import Variant, served
from cloudfn.settings import Gpus


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


# ------------------------------------------------------------------------------------ parts of one


@pytest.mark.parametrize(("value", "memory"), [(None, None), (0, None), (1, 1), (4096, 4096)])
def test_a_part_of_a_gpu_is_asked_for_in_mib_and_0_means_all_of_it(value, memory):
    assert parse_gpu_memory(value) == memory


@pytest.mark.parametrize("value", [-1, True, 0.5, "4096"], ids=repr)
def test_a_part_that_is_no_number_of_mib_is_refused_in_the_decorator(value):
    with pytest.raises(InvalidError, match=rf"`gpu_memory` must be a whole number.*{value!r}"):
        cloudfn.App("app").function(gpu="any", gpu_memory=value)(_plain)


@pytest.mark.parametrize(
    ("gpu", "message"),
    [(None, "there is no `gpu`"), ("H100:2", "asks for H100:2"), (["L4", "T4:4"], "asks for T4:4")],
)
def test_a_part_is_one_of_a_single_gpu(gpu, message):
    with pytest.raises(InvalidError, match=message):
        cloudfn.App("app").function(gpu=gpu, gpu_memory=1024)(_plain)


def test_functions_and_classes_may_ask_for_a_part():
    app = cloudfn.App("app")

    assert app.function(gpu="any", gpu_memory=4096)(_plain).spec.gpu_memory == 4096
    app.cls(gpu="any", gpu_memory=2048)(_Model)
    assert [each.spec.gpu_memory for each in app._functions.values()] == [4096, 2048]


def test_a_variant_may_ask_for_another_part_or_for_all_of_a_gpu():
    part = FunctionSpec("f", "m", "f", gpu=("ANY",), gpu_memory=4096)
    function = cloudfn.App("app").function(gpu="any", gpu_memory=4096)(_plain)

    assert function.with_options(gpu_memory=1024) is not function
    assert served(part, Variant(options={"gpu_memory": 1024})).gpu_memory == 1024
    whole = served(part, Variant(options={"gpu": ["H100:2"], "gpu_memory": None}))
    assert (whole.gpu, whole.gpu_memory) == (("H100:2",), None)
    with pytest.raises(InvalidError, match="asks for H100:2") as caught:
        served(part, Variant(options={"gpu": ["H100:2"]}))
    assert "or give 0" in str(caught.value.hint)
    with pytest.raises(InvalidError, match="asks for H100:2"):
        function.with_options(gpu="H100:2", gpu_memory=1024)


# ---------------------------------------------------------------------------------- what suits what

NAMES = {
    "T4": Gpu(0, name="Tesla T4", memory=15_360),
    "L4": Gpu(0, name="NVIDIA L4", memory=23_034),
    "A10": Gpu(0, name="NVIDIA A10", memory=23_028),
    "A10G": Gpu(0, name="NVIDIA A10G", memory=23_028),
    "L40S": Gpu(0, name="NVIDIA L40S", memory=46_068),
    "A100 of 40": Gpu(0, name="NVIDIA A100-SXM4-40GB", memory=40_960),
    "A100 of 80": Gpu(0, name="NVIDIA A100 80GB PCIe", memory=81_920),
    "H100": Gpu(0, name="NVIDIA H100 80GB HBM3", memory=81_559),
    "H100 slice": Gpu(0, name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", memory=9_984),
    "H200": Gpu(0, name="NVIDIA H200", memory=143_771),
    "B200": Gpu(0, name="NVIDIA B200", memory=183_359),
    "B300": Gpu(0, name="NVIDIA B300 SXM6 AC", memory=275_040),
    "RTX PRO 6000": Gpu(0, name="NVIDIA RTX PRO 6000 Blackwell Server Edition", memory=97_887),
    "RTX 6000 Ada": Gpu(0, name="NVIDIA RTX 6000 Ada Generation", memory=49_140),
    "RTX 4090": Gpu(0, name="NVIDIA GeForce RTX 4090", memory=24_564),
    "unknown": Gpu(0),
}


@pytest.mark.parametrize(
    ("kind", "suitable"),
    [
        ("ANY", set(NAMES)),
        ("T4", {"T4"}),
        ("L4", {"L4"}),
        ("A10", {"A10", "A10G"}),
        ("A10G", {"A10", "A10G"}),
        ("L40S", {"L40S"}),
        ("A100", {"A100 of 40", "A100 of 80"}),
        ("A100-40GB", {"A100 of 40"}),
        ("A100-80GB", {"A100 of 80"}),
        ("H100", {"H100"}),
        ("H100!", {"H100"}),
        ("H100-80GB", {"H100"}),
        ("MIG-1G.10GB", {"H100 slice"}),
        ("H200", {"H200"}),
        ("B200", {"B200"}),
        ("B200+", {"B200", "B300"}),
        ("B300", {"B300"}),
        ("RTX-PRO-6000", {"RTX PRO 6000"}),
        ("RTX-6000", {"RTX 6000 Ada"}),
        ("RTX4090", {"RTX 4090"}),
        ("RTX-4090", {"RTX 4090"}),
        ("V100", set()),
        ("80GB", set()),
        ("!", set()),
    ],
)
def test_a_type_is_matched_with_the_names_that_drivers_give(kind, suitable):
    assert {name for name, gpu in NAMES.items() if suits(kind, gpu)} == suitable


def test_where_nobody_knows_the_memory_the_name_tells_the_size():
    assert suits("A100-80GB", Gpu(0, name="NVIDIA A100-SXM4-80GB"))
    assert not suits("A100-80GB", Gpu(0, name="NVIDIA A100-SXM4-40GB"))


T4, A10G, OTHER_A10G = NAMES["T4"], Gpu(1, "GPU-b", "NVIDIA A10G", 23_028), Gpu(2, "GPU-c", "A10G")
BOX = (T4, A10G, OTHER_A10G)


@pytest.mark.parametrize(
    ("gpu", "memory", "wish"),
    [
        pytest.param((), None, None, id="nothing asked for"),
        pytest.param(("A10G",), None, GpuWish(("GPU-b", "GPU-c")), id="either of two"),
        pytest.param(("A10G:2",), None, GpuWish(("GPU-b", "GPU-c"), 2), id="both"),
        pytest.param(("A10G:3",), None, None, id="more than there are"),
        pytest.param(("H100",), None, None, id="not there"),
        pytest.param(("H100", "T4", "A10G"), None, GpuWish(("0",)), id="the first that exists"),
        pytest.param(("T4:2", "A10G:2"), None, GpuWish(("GPU-b", "GPU-c"), 2), id="enough of it"),
        pytest.param(("ANY",), None, GpuWish(("0", "GPU-b", "GPU-c")), id="any"),
        pytest.param(("ANY",), 20_000, GpuWish(("GPU-b",), 1, 20_000), id="any that is large"),
        pytest.param(("T4",), 20_000, None, id="a part that is more than all"),
        pytest.param(("T4", "A10G"), 20_000, GpuWish(("GPU-b",), 1, 20_000), id="the large one"),
    ],
)
def test_a_function_gets_the_first_request_that_the_machine_can_satisfy(gpu, memory, wish):
    assert wish_for(gpu, memory, BOX) == wish


@pytest.mark.parametrize(
    ("gpu", "memory", "devices", "message", "hint"),
    [
        (
            ("H100", "A100"),
            None,
            (),
            r"'f' asks for a GPU \(H100 or A100\), and this machine has none\.\n",
            "Leave `gpu` away",
        ),
        (
            ("H100:2",),
            None,
            (NAMES["H100"],),
            r"\(H100:2\), and this machine has 1 × NVIDIA H100 80GB HBM3\.\n",
            "Ask for one of those",
        ),
        (("H100",), None, BOX, r"has 1 × Tesla T4, 1 × NVIDIA A10G, 1 × A10G\.\n", "one of those"),
        (("H100",), None, (Gpu(0), Gpu(1)), "2 × a GPU of unknown type", "cloudfn[gpu]"),
        (("T4",), 20_000, BOX, r"20000 MiB of a GPU \(T4\), .* with 15360 MiB", "gpu_memory=15360"),
        (("A10G",), 9, (OTHER_A10G,), "whose memory nobody knows", "CLOUDFN_GPUS declares it"),
    ],
)
def test_what_a_machine_lacks_is_said_beside_what_it_has(gpu, memory, devices, message, hint):
    machine = Machine(2.0, 1_000, devices)
    spec = FunctionSpec("f", "m", "f", gpu=gpu, gpu_memory=memory)

    with pytest.raises(InvalidError, match=message) as caught:
        machine.check_gpus([FunctionSpec("plain", "m", "plain"), spec])

    assert hint in str(caught.value.hint)


def test_a_machine_takes_functions_whose_gpus_it_has():
    spec = FunctionSpec("f", "m", "f", gpu=("H100", "A10G:2"))

    Machine(2.0, 1_000, BOX).check_gpus([spec, FunctionSpec("plain", "m", "plain")])


# -------------------------------------------------------------------------- what the machine has


def test_without_nvml_the_devices_are_counted(tmp_path):
    assert machine_gpus(root=tmp_path) == ()

    for name in ("nvidia0", "nvidia1", "nvidia-uvm", "null"):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()

    assert machine_gpus(root=tmp_path) == (Gpu(0), Gpu(1))
    assert described(machine_gpus(root=tmp_path)) == "2 × a GPU of unknown type"


def test_the_drivers_files_tell_names_and_uuids(tmp_path):
    folder = tmp_path / "proc/driver/nvidia/gpus"
    for bus, uuid in (("0000:41:00.0", "GPU-????????-????"), ("0000:01:00.0", "GPU-8f1c")):
        (folder / bus).mkdir(parents=True)
        (folder / bus / "information").write_text(
            f"Model: \t\t NVIDIA A10G\nIRQ:   \t\t 33\nGPU UUID: \t {uuid}\n"
        )

    assert machine_gpus(root=tmp_path) == (
        Gpu(0, "GPU-8f1c", "NVIDIA A10G"),
        Gpu(1, "", "NVIDIA A10G"),
    )


def test_the_settings_choose_among_the_devices_by_number_and_by_uuid(tmp_path):
    folder = tmp_path / "proc/driver/nvidia/gpus"
    for number in range(3):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "information").write_text(f"GPU UUID: GPU-{number}")

    def chosen(*names: str) -> list[int]:
        return [gpu.index for gpu in machine_gpus(Gpus(chosen=names), tmp_path)]

    assert chosen("0", "GPU-2") == [0, 2]
    assert chosen("1", "7") == [1]
    assert chosen() == []


def test_the_settings_may_declare_what_is_there(tmp_path):
    declared = Gpus(declared=(("A10G", 24_576, ""), ("H100", 0, "GPU-x")))

    assert machine_gpus(declared, tmp_path) == (
        Gpu(0, "", "A10G", 24_576),
        Gpu(1, "GPU-x", "H100", 0),
    )


class Nvml:
    """The part of the module pynvml that is used, over devices that are dicts."""

    class NVMLError(Exception):
        pass

    def __init__(self, *devices: dict[str, Any]) -> None:
        self._devices = devices

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - its name
        return len(self._devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        if self._devices[index].get("lost"):
            raise self.NVMLError
        return self._devices[index]

    def nvmlDeviceGetUUID(self, device: dict[str, Any]) -> str:  # noqa: N802
        return str(device["uuid"])

    def nvmlDeviceGetName(self, device: dict[str, Any]) -> str:  # noqa: N802
        return str(device["name"])

    def nvmlDeviceGetMemoryInfo(self, device: dict[str, Any]) -> Any:  # noqa: N802
        return SimpleNamespace(total=device["total"] << 20, used=device["used"] << 20)

    def nvmlDeviceGetMigMode(self, device: dict[str, Any]) -> list[int]:  # noqa: N802
        if "slices" not in device:
            raise self.NVMLError
        return [int(bool(device["slices"])), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, _device: dict[str, Any]) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: dict[str, Any], index: int) -> Any:  # noqa: N802
        if index >= len(device["slices"]):
            raise self.NVMLError
        return device["slices"][index]


def device(uuid: str, name: str, total: int, used: int = 0, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "name": name, "total": total, "used": used, **more}


def test_nvml_tells_names_uuids_and_memory():
    nvml = Nvml(device("GPU-a", "NVIDIA A10G", 23_028, 512), device("GPU-b", "Tesla T4", 15_360))

    assert read_devices(nvml) == [
        (Gpu(0, "GPU-a", "NVIDIA A10G", 23_028), 512),
        (Gpu(1, "GPU-b", "Tesla T4", 15_360), 0),
    ]


def test_a_divided_gpu_counts_as_its_slices_and_a_lost_one_not_at_all():
    slices = [device(f"MIG-{n}", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4_864, n) for n in range(2)]
    nvml = Nvml(
        device("GPU-a", "", 0, lost=True),
        device("GPU-b", "NVIDIA A100-SXM4-40GB", 40_960, slices=slices),
        device("GPU-c", "NVIDIA A100-SXM4-40GB", 40_960, slices=[]),
    )

    assert [(gpu.index, gpu.device_id, used) for gpu, used in read_devices(nvml)] == [
        (1, "MIG-0", 0),
        (1, "MIG-1", 1),
        (2, "GPU-c", 0),
    ]


def _plain():
    """Do nothing."""


class _Model:
    @cloudfn.method()
    def run(self) -> Iterator[int]:
        yield 1
