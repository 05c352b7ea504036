"""Paths in volumes, and where containers see them: checked on construction. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloudfn.errors import InvalidError

#: places that a container cannot do without
_TAKEN = frozenset({"/root", "/bin", "/dev", "/etc", "/lib", "/proc", "/sbin", "/sys", "/usr"})


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """A volume that containers of a Function see at a path."""

    path: str
    #: that of a volume with a name, and its id when it was declared
    name: str
    object_id: str
    read_only: bool = False
    #: the part of the volume that is seen; empty for all of it
    sub_path: str = ""


def mount_from_json(data: dict[str, Any]) -> VolumeMount:
    """Return the mount in plain data."""
    return VolumeMount(**{name: data[name] for name in VolumeMount.__slots__ if name in data})


def volume_path(path: str) -> str:
    """Return a path in a volume without what means nothing; the volume itself is "".

    Raises:
        InvalidError: It leads out of the volume, or is no path.
    """
    if not isinstance(path, str) or "\0" in path:
        raise InvalidError(f"{path!r} is no path in a volume.")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidError(f"The path {path!r} leads out of the volume.", hint="Leave `..` away.")
    return "/".join(parts)


def check_mount_path(path: str) -> str:
    """Return where a volume is to be seen.

    Raises:
        InvalidError: It is relative, or a place that containers need themselves.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidError(
            f"The mount path {path!r} of a Volume is not absolute.", hint="Begin it with a slash."
        )
    plain = "/" + volume_path(path)
    if plain == "/":
        raise InvalidError(
            "A Volume cannot be mounted at the root directory, `/`.",
            hint="Use a place of its own, such as /data.",
        )
    if plain in _TAKEN:
        raise InvalidError(
            f"A Volume cannot be mounted at {plain}, which containers need themselves.",
            hint="Use a place of its own, such as /data.",
        )
    return plain
