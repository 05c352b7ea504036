"""The port of the fleet: machines of an environment that can be had and given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from cloudfn.model.gpu import Gpu, wish_for

#: architectures of machines → what Docker calls them, the usual one first
PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
#: dollars an hour that are guessed for a core, a GiB, and a GPU of 24 GiB; larger ones cost more
#: than their size says
_CORE, _GIB, _GPU, _LARGER = 0.033, 0.0042, 0.7, 1.6
_USUAL = 24_576
#: what a Spot machine costs of that
_SPOT = 0.4
_ROUNDING = 1e-9


class InstanceState(StrEnum):
    """Where an instance is, as its provider sees it."""

    #: asked for, or booting; its agent has not joined
    PENDING = "pending"
    IN_SERVICE = "in service"
    #: prepared and put aside, mostly stopped: it comes into service faster than a new one
    WARM = "warm"
    #: it is being taken away, by us or by the provider
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class MachineClass:
    """One shape of machines."""

    name: str
    #: cores and MiB that containers may use
    cores: float
    memory: int
    gpus: tuple[Gpu, ...] = ()
    #: x86_64 | arm64
    architecture: str = "x86_64"
    max_machines: int = 0
    spot: bool = False
    #: US dollars an hour; None: unknown
    price: float | None = None
    #: the same of one that is warm; None: as much as of any other
    warm_price: float | None = None
    #: seconds from asking to joining, by experience or by guess
    boot_seconds: float = 90.0
    #: why no machine can be had just now, and why none may be ended; empty: nothing is in the way
    no_growth: str = ""
    no_retiring: str = ""

    @property
    def platform(self) -> str:
        """What images for its machines are built for."""
        return PLATFORMS[self.architecture]


class Sized(Protocol):
    """What has the size of a machine."""

    @property
    def cores(self) -> float: ...
    @property
    def memory(self) -> int: ...
    @property
    def gpus(self) -> tuple[Gpu, ...]: ...


K = TypeVar("K", bound=Sized)


def suited(
    kinds: Sequence[K], cpu: float, memory: int, gpu: tuple[str, ...], gpu_memory: int | None
) -> list[K]:
    """Return the kinds of machines that containers may be on. Pure.

    Args:
        kinds: What there is.
        cpu: Cores that a container asks for.
        memory: MiB of the same.
        gpu: GPUs of the same, the preferred one first; see `model.gpu`.
        gpu_memory: MiB of one of them; None: whole ones.
    """
    if gpu:
        fit = [each for each in kinds if wish_for(gpu, gpu_memory, each.gpus) is not None]
    else:
        # Those with GPUs only where there are no others.
        fit = [each for each in kinds if not each.gpus] or list(kinds)
    large = [each for each in fit if cpu <= each.cores + _ROUNDING and memory <= each.memory]
    # What is larger than any machine is cut down to the largest.
    return large or sorted(fit, key=lambda each: (each.cores, each.memory))[-1:]


def price(machine_class: MachineClass) -> float:
    """Return what a machine costs an hour, guessed where nobody knows: good for comparing."""
    if machine_class.price is not None:
        return machine_class.price
    gpus = sum(pow((each.memory or _USUAL) / _USUAL, _LARGER) for each in machine_class.gpus)
    guess: float = machine_class.cores * _CORE + machine_class.memory / 1024 * _GIB + gpus * _GPU
    return guess * (_SPOT if machine_class.spot else 1)


@dataclass(frozen=True, slots=True)
class Instance:
    """One machine as its provider sees it."""

    machine_id: str
    machine_class: str
    state: InstanceState
    zone: str = ""
    #: seconds since the epoch; None: unknown
    launched: float | None = None


class Grown(NamedTuple):
    """What came of asking for machines."""

    #: how many will come
    granted: int
    #: ids of those that are known already
    machine_ids: tuple[str, ...] = ()
    #: why not all, in the provider's words; empty: all were granted
    refused: str = ""


class Fleet(Protocol):
    """All machines of an environment. Blocks. Grow never removes; retire removes exactly these.

    Some may be warm: they count for nothing, and growing takes them first.
    """

    def classes(self) -> list[MachineClass]:
        """Return the shapes that machines can have."""
        ...

    def instances(self) -> list[Instance]:
        """Return all machines that exist or were asked for, known by id."""
        ...

    def grow(self, machine_class: str, count: int, token: str) -> Grown:
        """Ask for further machines. Idempotent for the same token.

        Never more than the class allows; what cannot be had is said, and not waited for.

        Raises:
            NotFoundError: There is no such class.
        """
        ...

    def retire(self, machine_ids: Sequence[str]) -> None:
        """End exactly these machines, and want so many fewer of their class. Idempotent."""
        ...

    def prepared(self, machine_id: str) -> None:
        """A machine that is to be warm has all that it needs, and may be put aside. Idempotent."""
        ...

    def joined(self, machine_id: str) -> None:
        """A machine's agent works: it is in service, and not taken away by chance. Idempotent."""
        ...

    def hold(self, machine_id: str) -> bool:
        """A machine that is being taken away still drains: wait for it for a while from now.

        Returns:
            Whether that is so; False where it is not being taken away, or is not waited for.
        """
        ...

    def drained(self, machine_id: str) -> None:
        """A machine that is being taken away needs no more time. Idempotent."""
        ...
