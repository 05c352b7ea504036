"""GPUs: what functions ask for, what machines have, and which devices suit a request. Pure.

A request is `TYPE[:COUNT]`, one or several in order of preference. A type is a name of Modal's, or
any part of a device's own name: `T4`, `A100-80GB`, `RTX-4090`, `ANY`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cloudfn.errors import InvalidError

_ANY = "ANY"
#: types that mean several models
_MODELS = {"A10": ("A10", "A10G"), "A10G": ("A10G", "A10"), "B200+": ("B200", "B300")}
_WORD = re.compile(r"[A-Z0-9.]+")
_SIZE = re.compile(r"(\d+)GB")
#: how far a device's memory may be from the size in a type: drivers keep some for themselves
_TOLERANCE = 0.1
_MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device of a machine: a GPU, or a MIG slice of one."""

    #: its number in the order of the bus, from 0
    index: int
    #: what CUDA and Docker know it by; empty: by its number
    uuid: str = ""
    #: as its driver says, `NVIDIA A10G`; empty: nobody knows
    name: str = ""
    #: MiB; 0: nobody knows
    memory: int = 0

    @property
    def device_id(self) -> str:
        """Its name in `CUDA_VISIBLE_DEVICES` and in Docker's device requests."""
        return self.uuid or str(self.index)

    @property
    def shown(self) -> str:
        """Its name for people."""
        return self.name or "a GPU of unknown type"


@dataclass(frozen=True, slots=True)
class GpuWish:
    """What each container of a pool needs: some devices for itself, or a part of one."""

    #: ids of the devices that suit
    devices: tuple[str, ...]
    #: how many of them
    count: int = 1
    #: MiB of one device, whose rest others may have; 0: whole devices
    memory: int = 0


def parse_gpus(value: object) -> tuple[str, ...]:
    """Return the GPUs that a decorator asks for, upper-cased, the preferred one first.

    Raises:
        InvalidError: It is neither None, nor a string or list of strings of that form.
    """
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (_parse(value),)
    if not value:
        raise InvalidError(
            "Invalid GPU config: []. A list has to name at least one GPU.",
            hint="Leave `gpu` away for functions that need none.",
        )
    return tuple(_parse(each) for each in value)


def parse_gpu(value: object) -> tuple[str, ...]:
    """Do the same where one GPU may be named and no list of them."""
    if isinstance(value, str | None):
        return parse_gpus(value)
    raise InvalidError(
        f"Invalid GPU config: {value!r}. Value must be a string or None.",
        hint="A list of GPUs can be given in the decorator only.",
    )


def parse_gpu_memory(value: object) -> int | None:
    """Return the MiB of one GPU that a container asks for; None, as 0 means, for whole ones.

    Raises:
        InvalidError: It is no whole number of MiB.
    """
    if isinstance(value, bool) or not isinstance(value, int | None) or (value or 0) < 0:
        raise InvalidError(
            f"`gpu_memory` must be a whole number of MiB, not {value!r}.",
            hint="Leave it away for a GPU that no other container gets.",
        )
    return value or None


def check_gpu_memory(gpu: Sequence[str], memory: int | None) -> None:
    """Raise InvalidError where a part is asked for, but not of one GPU."""
    if memory is None:
        return
    if not gpu:
        raise InvalidError(
            "`gpu_memory` is a part of a GPU, and there is no `gpu`.",
            hint='Write gpu="any" beside it, or a type.',
        )
    if several := [each for each in gpu if split(each)[1] > 1]:
        raise InvalidError(
            f"`gpu_memory` is a part of one GPU, and `gpu` asks for {several[0]}.",
            hint="Leave `gpu_memory` away, or give 0, for whole GPUs.",
        )


def split(request: str) -> tuple[str, int]:
    """Return the type and the count of a parsed request."""
    kind, _, count = request.partition(":")
    return kind, int(count or 1)


def suits(kind: str, device: Gpu) -> bool:
    """Whether a device is of a type that was asked for."""
    if kind == _ANY:
        return True
    name = _WORD.findall(device.name.upper())
    return any(_is_model(model, name, device.memory) for model in _MODELS.get(kind, (kind,)))


def wish_for(gpu: Sequence[str], memory: int | None, devices: Sequence[Gpu]) -> GpuWish | None:
    """Return what containers get of a machine: the first request that it can ever satisfy.

    Args:
        gpu: The requests of a function, the preferred one first.
        memory: MiB of one device that it asks for; None: whole ones.
        devices: What the machine has.

    Returns:
        None where nothing is asked for, and where the machine has none of it.
    """
    for request in gpu:
        kind, count = split(request)
        found = [each for each in devices if suits(kind, each) and each.memory >= (memory or 0)]
        if len(found) >= count:
            return GpuWish(tuple(each.device_id for each in found), count, memory or 0)
    return None


def lack_of(gpu: Sequence[str], memory: int | None, devices: Sequence[Gpu]) -> tuple[str, str]:
    """Say what a machine has where `wish_for` finds nothing, and what to do about it."""
    if not devices:
        return (
            "this machine has none",
            "Leave `gpu` away to run it here, or deploy on a machine with a GPU.",
        )
    has = f"this machine has {described(devices)}"
    if any(not each.name for each in devices):
        return has, (
            "`pip install cloudfn[gpu]` lets cloudfn ask the driver for types; CLOUDFN_GPUS "
            'declares them; gpu="any" takes what there is.'
        )
    found = [each for each in devices if any(suits(split(request)[0], each) for request in gpu)]
    if memory is not None and found:
        if any(not each.memory for each in found):
            return f"{has}, whose memory nobody knows", (
                "`pip install cloudfn[gpu]` lets cloudfn ask the driver; CLOUDFN_GPUS declares it."
            )
        most = max(each.memory for each in found)
        return f"{has} with {most} MiB", f"At most gpu_memory={most} is possible here."
    return has, 'Ask for one of those, or for "any"; a list names several in order of preference.'


def visible(devices: Sequence[str]) -> dict[str, str]:
    """Return the variables that make CUDA see these devices and no others."""
    if not devices:
        return {"CUDA_VISIBLE_DEVICES": ""}
    # Numbers count by the bus, not by speed as CUDA's own do.
    return {"CUDA_VISIBLE_DEVICES": ",".join(devices), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def described(devices: Sequence[Gpu]) -> str:
    """Return what a machine has, for people: `2 × NVIDIA A10G`."""
    counts = Counter(each.shown for each in devices)
    return ", ".join(f"{count} × {name}" for name, count in counts.items())


def _is_model(model: str, name: Sequence[str], memory: int) -> bool:
    """Whether a device's name has the words of a model in a row, and its memory the model's."""
    words = _WORD.findall(model)
    sizes = [word for word in words if _SIZE.fullmatch(word)]
    if "MIG" in name and "MIG" not in words:
        return False  # a slice is less than what was asked for
    if not all(_has_size(size, name, memory) for size in sizes):
        return False
    wanted = "".join(word for word in words if word not in sizes)
    return bool(wanted) and any(
        "".join(name[start:end]) == wanted
        for start in range(len(name))
        for end in range(start + 1, len(name) + 1)
    )


def _has_size(size: str, name: Sequence[str], memory: int) -> bool:
    if not memory:
        return size in name
    wanted = int(size.removesuffix("GB")) * _MIB_PER_GIB
    return abs(memory - wanted) <= _TOLERANCE * wanted


def _parse(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"Invalid GPU config: {value!r}. Value must be a string or None.")
    kind, colon, count = value.strip().upper().partition(":")
    if not kind:
        raise InvalidError(
            f"Invalid GPU config: {value!r}. There is no type.", hint='Write "A100" or "A100:2".'
        )
    if not colon:
        return kind
    if not count.isdecimal():
        raise InvalidError(
            f"Invalid GPU count in {value!r}: {count!r}. Value must be an integer.",
            hint=f'Write "{kind}:2" for two of them.',
        )
    if int(count) < 1:
        raise InvalidError(
            f"Invalid GPU count in {value!r}: it must be at least 1.",
            hint="Leave `gpu` away for functions that need none.",
        )
    return f"{kind}:{int(count)}"
