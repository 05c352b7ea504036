"""What this machine has, and what functions ask for that it has not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from cloudfn.agent.gpus import machine_gpus
from cloudfn.errors import InvalidError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.gpu import Gpu, lack_of, wish_for
from cloudfn.settings import Gpus

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Machine:
    """The resources of a machine."""

    cores: float
    #: MiB
    memory: int
    gpus: tuple[Gpu, ...] = ()

    def check_gpus(self, functions: Iterable[FunctionSpec]) -> None:
        """Raise InvalidError where a function asks for GPUs that this machine does not have."""
        for each in functions:
            if each.gpu and wish_for(each.gpu, each.gpu_memory, self.gpus) is None:
                asks = f"a GPU ({' or '.join(each.gpu)})"
                if each.gpu_memory is not None:
                    asks = f"{each.gpu_memory} MiB of {asks}"
                lack, hint = lack_of(each.gpu, each.gpu_memory, self.gpus)
                raise InvalidError(
                    f"The function {each.name!r} asks for {asks}, and {lack}.", hint=hint
                )

    def clipped(self, functions: Iterable[FunctionSpec]) -> list[str]:
        """Return a sentence for each function that asks for more than this machine has."""
        wishes = [(each.name, each.resources) for each in functions]
        return [
            f"{name} asks for {wish.cpu:g} cores and {wish.memory} MiB for a container; this "
            f"machine has {self.cores:g} and {self.memory}, so it gets what there is."
            for name, wish in wishes
            if wish.cpu > self.cores or wish.memory > self.memory
        ]


def this_machine(gpus: Gpus) -> Machine:
    """Return what the machine has on which this runs, as far as this process may use it.

    Args:
        gpus: What the settings say of its GPUs.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    return Machine(float(len(os.sched_getaffinity(0))), memory, machine_gpus(gpus))
