"""For which platform a function's image is built, by the machines that there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudfn.errors import InvalidError
from cloudfn.model.cls import shown_name
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.fleet import PLATFORMS, MachineClass, price, suited

#: the first of them counts where machines cost the same
_ORDER = list(PLATFORMS.values())


def platforms(functions: Iterable[FunctionSpec], classes: Sequence[MachineClass]) -> dict[str, str]:
    """Return the platforms of functions, by their names.

    Raises:
        InvalidError: No machine class has machines for one of them.
    """
    return {each.name: platform_for(each, classes) for each in functions}


def platform_for(function: FunctionSpec, classes: Sequence[MachineClass]) -> str:
    """Return what the machines of a function are: of those that suit it, the cheapest.

    Args:
        function: What its containers ask for.
        classes: All machine classes; without any, nothing can be said.

    Raises:
        InvalidError: None of them has the GPU.
    """
    asks = function.resources
    fit = suited(classes, asks.cpu, asks.memory, function.gpu, function.gpu_memory)
    if fit:
        return min(fit, key=lambda each: (price(each), _ORDER.index(each.platform))).platform
    if not classes:
        return ""
    raise InvalidError(
        f"No machine class has machines with {' or '.join(function.gpu)} for"
        f" {shown_name(function.name)}.",
        hint=f"There are {', '.join(map(_shown, classes))}: ask for what one of them has, or add"
        " one with Terraform.",
    )


def _shown(machine_class: MachineClass) -> str:
    gpus = sorted({each.name for each in machine_class.gpus})
    return f"{machine_class.name} ({', '.join(gpus) or 'no GPU'})"
