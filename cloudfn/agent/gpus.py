"""Which GPUs this machine has, and how full they are, as their driver says.

NVML (`pip install cloudfn[gpu]`) knows all of it. Without it, names and UUIDs come from the
driver's files where it shows them, and otherwise there is nothing but a number of devices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloudfn.model.gpu import Gpu
from cloudfn.settings import Gpus

_DEVICE = re.compile(r"nvidia\d+")
#: what the driver's files are on Linux, and in its subsystem of Windows
_DRIVERS = ("dev/nvidiactl", "dev/dxg")
_MIB = 1 << 20


def machine_gpus(said: Gpus = Gpus(), root: Path = Path("/")) -> tuple[Gpu, ...]:  # noqa: B008 - frozen
    """Return the NVIDIA GPUs of this machine, or what somebody declared instead.

    Args:
        said: What the settings say.
        root: Where `proc` and `dev` are.
    """
    if said.declared is not None:
        return tuple(
            Gpu(index, uuid, name, memory)
            for index, (name, memory, uuid) in enumerate(said.declared)
        )
    found = found_gpus(root)
    if said.chosen is None:
        return found
    return tuple(gpu for gpu in found if {str(gpu.index), gpu.uuid} & set(said.chosen))


def found_gpus(root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Return the GPUs that the driver shows."""
    # NVML is asked where there is a driver alone: it is slow to say that there is none.
    if any((root / driver).exists() for driver in _DRIVERS) and (told := _ask()):
        return tuple(gpu for gpu, _ in told)
    return _shown_by_driver(root)


def memory_in_use() -> dict[str, int]:
    """Return the MiB in use on each device, by its id; nothing where nobody knows."""
    return {gpu.device_id: used for gpu, used in _ask()}


def read_devices(nvml: Any) -> list[tuple[Gpu, int]]:
    """Return the devices that NVML knows, with the MiB in use of each.

    A GPU that is divided by MIG counts as its slices. One that does not answer is left out.

    Args:
        nvml: The module `pynvml`, initialised.
    """
    found: list[tuple[Gpu, int]] = []
    for number in range(nvml.nvmlDeviceGetCount()):
        with suppress(nvml.NVMLError):
            device = nvml.nvmlDeviceGetHandleByIndex(number)
            for handle in _slices(nvml, device) or [device]:
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                gpu = Gpu(
                    number,
                    nvml.nvmlDeviceGetUUID(handle),
                    nvml.nvmlDeviceGetName(handle),
                    memory.total // _MIB,
                )
                found.append((gpu, memory.used // _MIB))
    return found


def _slices(nvml: Any, device: Any) -> list[Any]:
    """Return the MIG slices of a device; empty: it is not divided."""
    slices: list[Any] = []
    with suppress(nvml.NVMLError):
        if nvml.nvmlDeviceGetMigMode(device)[0]:
            for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
                with suppress(nvml.NVMLError):  # this place is empty
                    slices.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, number))
    return slices


def _ask() -> list[tuple[Gpu, int]]:
    """Return what NVML says; nothing where there is none, or where it fails."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        try:
            return read_devices(pynvml)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []


def _shown_by_driver(root: Path) -> tuple[Gpu, ...]:
    folder = root / "proc/driver/nvidia/gpus"
    # CUDA counts devices by their place on the bus, which is what the folders are called.
    shown = [_described_in(folder / bus / "information") for bus in sorted(_names(folder))]
    # Inside a Docker container the devices may be there without the driver's folder.
    bare = [Gpu(0) for name in _names(root / "dev") if _DEVICE.fullmatch(name)]
    return _numbered(shown or bare)


def _described_in(file: Path) -> Gpu:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return Gpu(0)
    facts = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    uuid = facts.get("GPU UUID", "")
    # Before anything has used the device, its UUID has question marks for digits.
    return Gpu(0, "" if "?" in uuid else uuid, facts.get("Model", ""))


def _numbered(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    return tuple(replace(gpu, index=number) for number, gpu in enumerate(gpus))


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
