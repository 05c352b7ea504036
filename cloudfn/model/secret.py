"""How a Function names what its containers get from the engine: secrets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloudfn.errors import PermissionDeniedError


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


def check_handed_on(refs: Iterable[Mapping[str, object]], own: Iterable[SecretRef]) -> None:
    """Check that user code gives others no secrets that it lacks: it would read them there.

    Args:
        refs: What it wants to hand on, as plain data.
        own: What its own function names.

    Raises:
        PermissionDeniedError: One is not its own.
    """
    known = {(ref.name, ref.object_id) for ref in own}
    for ref in map(secret_ref, map(dict, refs)):
        if (ref.name, ref.object_id) not in known:
            raise PermissionDeniedError(
                f"User code in a container may not hand on the secret {ref}, which its own "
                "function does not name.",
                hint="Name it in `@app.function(secrets=[…])`.",
            )
