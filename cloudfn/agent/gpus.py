"""How many GPUs this machine has, as its driver says; asks no library and no program."""

from __future__ import annotations

import re
from pathlib import Path

_DEVICE = re.compile(r"nvidia\d+")


def machine_gpus(root: Path = Path("/")) -> int:
    """Return how many NVIDIA GPUs the driver shows.

    Args:
        root: Where `proc` and `dev` are.
    """
    shown = _names(root / "proc/driver/nvidia/gpus")
    # Inside a Docker container the devices may be there without the driver's folder.
    return len(shown) or sum(bool(_DEVICE.fullmatch(name)) for name in _names(root / "dev"))


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
