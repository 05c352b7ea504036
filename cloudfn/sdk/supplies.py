"""What a Function's containers get from the engine: declared here, named when the App is opened."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cloudfn.errors import InvalidError
from cloudfn.sdk.client import Client
from cloudfn.sdk.twins import Steps

if TYPE_CHECKING:
    from cloudfn.model.function import FunctionSpec
    from cloudfn.model.secret import SecretRef
    from cloudfn.sdk.secrets import Secret


class Supplies(NamedTuple):
    """Secrets of a Function, in their order."""

    secrets: tuple[Secret, ...] = ()

    def joined(self, others: Supplies) -> Supplies:
        """Return these with others, which come later."""
        return Supplies(self.secrets + others.secrets)

    def named(self, spec: FunctionSpec, engine: Client) -> Steps[FunctionSpec]:
        """Return a spec that names them, having given to the engine what has no name."""
        return replace(spec, secrets=(yield from self.refs(engine)))

    def refs(self, engine: Client) -> Steps[tuple[SecretRef, ...]]:
        """Return their references, having given to the engine what has no name."""
        refs: tuple[SecretRef, ...] = ()
        for secret in self.secrets:
            refs += ((yield from secret.ref(engine)),)
        return refs


def supplies_of(secrets: Collection[Secret] | None, what: str) -> Supplies:
    """Return what was declared.

    Raises:
        InvalidError: Something else than a Secret is among the secrets.
    """
    return Supplies(_secrets(secrets, what) if secrets else ())


def _secrets(secrets: Collection[Secret], what: str) -> tuple[Secret, ...]:
    from cloudfn.sdk.secrets import Secret

    if isinstance(secrets, Secret | str) or not isinstance(secrets, Collection):
        raise InvalidError(
            f"`secrets` of {what} must be a list of Secrets, not {type(secrets).__name__}."
        )
    for each in secrets:
        if not isinstance(each, Secret):
            raise InvalidError(
                f"`secrets` of {what} must hold Secrets, not {type(each).__name__}.",
                hint="Use cloudfn.Secret.from_name, from_dict, from_dotenv or from_local_environ.",
            )
    return tuple(secrets)
