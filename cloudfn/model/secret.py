"""How a Function names what its containers get from the engine: secrets. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A secret that a Function names; never its values."""

    #: that of a secret with a name: whatever it holds when a container starts
    name: str = ""
    #: that of one without
    object_id: str = ""
    #: variables that it has to have
    required_keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return repr(self.name) if self.name else self.object_id


def secret_ref(data: dict[str, object]) -> SecretRef:
    """Return the reference in plain data."""
    keys = data.get("required_keys") or ()
    assert isinstance(keys, list | tuple)
    return SecretRef(str(data.get("name", "")), str(data.get("object_id", "")), tuple(keys))
